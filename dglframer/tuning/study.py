"""A study that several workers share: every wanted trial once, whoever is killed.

The storage alone keeps the books; there is no other lock, so the rules hold for SQLite, a journal
and any database. Its guarantees that are used: trials are numbered without gaps in the order of
their creation, only one worker gets a waiting trial, and a finished trial never changes again.

- A worker may keep a new trial if fewer than ``wanted`` trials before it have not failed. The trials
  before it can only become fewer, so that never more than ``wanted`` finish.
- Whoever runs a trial renews its lease. A trial whose worker is gone is failed by whoever notices,
  and its parameters are queued again, at most ``max_retries`` times; then another takes its place.
- A worker leaves when ``wanted`` trials have finished, so that none is left to nobody.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from dglframer.common.errors import UserError
from dglframer.tuning.leases import Watch, lease_of_this_process

log = logging.getLogger(__name__)

LEASE_SECONDS = 120.0  # silence after which a worker on another machine is taken for dead
RENEWALS = 6  # of a lease within that time
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


class Impossible(Exception):
    """The values of a trial cannot be combined; it fails and another takes its place."""


def work(
    study: optuna.Study,
    wanted: int,
    objective: Callable[[optuna.Trial], float],
    max_retries: int = 2,
    lease_seconds: float = LEASE_SECONDS,
) -> list[int]:
    """Run trials until ``wanted`` of the study have finished; returns the numbers of those run here.

    Raises UserError if nearly every trial is Impossible. Any other exception of the objective gives
    its trial back and ends the work.
    """
    watch = Watch(lease_seconds)
    ran: list[int] = []
    while True:
        requeue_lost(study, watch, max_retries)
        trials = study.get_trials(deepcopy=False)
        if sum(trial.state in FINISHED for trial in trials) >= wanted:
            return ran
        check_possible(trials, wanted)
        waiting = any(trial.state == TrialState.WAITING for trial in trials)
        if not waiting and sum(trial.state != TrialState.FAIL for trial in trials) >= wanted:
            time.sleep(min(1.0, lease_seconds / 10))  # others run the last trials
            continue
        trial = study.ask()
        if is_surplus(study, trial.number, wanted):
            fail(study, trial, "another worker was quicker")
        else:
            run(study, trial, objective, lease_seconds)
            ran.append(trial.number)


def run(
    study: optuna.Study,
    trial: optuna.Trial,
    objective: Callable[[optuna.Trial], float],
    lease_seconds: float,
) -> None:
    """One trial, from its lease to its end."""
    try:
        with leased(trial, lease_seconds):
            try:
                value = objective(trial)
            except optuna.TrialPruned:
                study.tell(trial, state=TrialState.PRUNED)
            except Impossible as error:
                fail(study, trial, f"impossible: {error}")
            else:
                study.tell(trial, value)
    except UpdateFinishedTrialError:
        log.warning("trial %d was taken for lost and is run elsewhere", trial.number)
    except BaseException:
        with suppress(Exception):  # without a reason it is queued again; the error matters more
            study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
        raise


def fail(study: optuna.Study, trial: optuna.Trial, reason: str) -> None:
    """End a trial that is not to be queued again."""
    log.info("trial %d: %s", trial.number, reason)
    trial.set_user_attr("reason", reason)
    study.tell(trial, state=TrialState.FAIL)


@contextmanager
def leased(trial: optuna.Trial, seconds: float) -> Iterator[None]:
    """Hold the lease of a trial, renewed by a thread."""
    done = threading.Event()
    trial.set_user_attr("lease", lease_of_this_process())

    def renew() -> None:
        while not done.wait(seconds / RENEWALS):
            try:
                trial.set_user_attr("lease", lease_of_this_process())
            except UpdateFinishedTrialError:
                return
            except Exception as error:  # a full disk, a server that is away: perhaps not for long
                log.warning("trial %d: its lease could not be renewed: %s", trial.number, error)

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def requeue_lost(study: optuna.Study, watch: Watch, max_retries: int) -> None:
    """Fail the trials whose worker is gone, and queue the parameters of every lost trial again."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if watch.is_lost(trial.number, trial.user_attrs.get("lease")):
            log.warning("trial %d: its worker is gone", trial.number)
            # Another worker may do the same at the same time; ValueError: tell saw it finished.
            with suppress(UpdateFinishedTrialError, ValueError):
                study.tell(trial.number, state=TrialState.FAIL)
    trials = study.get_trials(deepcopy=False)
    queued = {attempt(trial) for trial in trials}
    for trial in trials:
        root, tries = attempt(trial)
        lost = trial.state == TrialState.FAIL and "reason" not in trial.user_attrs
        if lost and tries < max_retries and (root, tries + 1) not in queued:
            attributes = {"retry_of": root, "attempt": tries + 1}
            study.enqueue_trial(trial.params, user_attrs=attributes)


def attempt(trial: FrozenTrial) -> tuple[int, int]:
    """The number of the trial whose parameters these are, and how often it was tried before."""
    attributes = trial.user_attrs
    return attributes.get("retry_of", trial.number), attributes.get("attempt", 0)


def place_in_study(trials: Sequence[FrozenTrial], number: int) -> int:
    """The number of a trial if nothing had ever been lost: retries have that of the lost one."""
    by_number = {trial.number: trial for trial in trials}
    root = attempt(by_number[number])[0]
    return sum(other < root and attempt(trial)[1] == 0 for other, trial in by_number.items())


def is_surplus(study: optuna.Study, number: int, wanted: int) -> bool:
    """Whether enough trials stand before a new one, or another retry of the same trial."""
    trials = study.get_trials(deepcopy=False)
    before = [trial for trial in trials if trial.number < number]
    (own,) = (attempt(trial) for trial in trials if trial.number == number)
    twin = own[1] > 0 and own in map(attempt, before)
    return twin or sum(trial.state != TrialState.FAIL for trial in before) >= wanted


def check_possible(trials: Sequence[FrozenTrial], wanted: int) -> None:
    """Raise UserError if the search finds hardly any values that can be combined."""
    reasons = [str(trial.user_attrs.get("reason", "")) for trial in trials]
    refused = [reason for reason in reasons if reason.startswith("impossible")]
    if len(refused) > 20 + 5 * wanted:
        raise UserError(f"tune.search: {len(refused)} trials failed; the last: {refused[-1]}")
