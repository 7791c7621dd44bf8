"""A study that several workers share: every wanted trial finishes once, even if workers are killed.

All state is in the storage and there is no other lock, so the rules hold for SQLite, a journal and
any database. They rely on three guarantees: trials are numbered without gaps in the order of their
creation, only one worker gets a waiting trial, and a finished trial never changes again.

- A worker keeps a new trial if fewer than ``wanted`` earlier trials have not failed. That number can
  only fall, so never more than ``wanted`` trials finish.
- A worker renews the lease of its trial. If the worker is gone, the next worker to notice fails the
  trial and queues its parameters again, at most ``max_retries`` times; then a new trial replaces it.
- A worker leaves when ``wanted`` trials have finished, so no trial is left over.
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
from dglframer.common.progress import Advance, progress
from dglframer.tuning.leases import Watch, lease_of_this_process

log = logging.getLogger(__name__)

LEASE_SECONDS = 120.0  # a worker on another machine counts as dead after this silence
RENEWALS = 6  # of a lease in that time
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


class Impossible(Exception):
    """The values of a trial cannot be combined; it fails and a new trial replaces it."""


def work(
    study: optuna.Study,
    wanted: int,
    objective: Callable[[optuna.Trial], float],
    max_retries: int = 2,
    lease_seconds: float = LEASE_SECONDS,
) -> list[int]:
    """Run trials until ``wanted`` of the study have finished; returns the numbers of this worker's.

    Raises UserError if nearly every trial is Impossible. If the objective raises another exception,
    the trial is queued again and the exception is raised.
    """
    with progress("trials", wanted) as advance:
        return run_trials(study, wanted, objective, max_retries, lease_seconds, advance)


def run_trials(
    study: optuna.Study,
    wanted: int,
    objective: Callable[[optuna.Trial], float],
    max_retries: int,
    lease_seconds: float,
    advance: Advance,
) -> list[int]:
    """``work``; ``advance`` is told how many trials have finished."""
    watch = Watch(lease_seconds)
    ran: list[int] = []
    while True:
        requeue_lost(study, watch, max_retries)
        trials = study.get_trials(deepcopy=False)
        n_finished = sum(trial.state in FINISHED for trial in trials)
        advance(n_finished)
        if n_finished >= wanted:
            return ran
        check_possible(trials, wanted)
        waiting = any(trial.state == TrialState.WAITING for trial in trials)
        if not waiting and sum(trial.state != TrialState.FAIL for trial in trials) >= wanted:
            time.sleep(min(1.0, lease_seconds / 10))  # other workers run the last trials
            continue
        trial = study.ask()
        if is_surplus(study, trial.number, wanted):
            fail(study, trial, "not needed, other workers run enough trials")
        else:
            run(study, trial, objective, lease_seconds)
            ran.append(trial.number)


def run(
    study: optuna.Study,
    trial: optuna.Trial,
    objective: Callable[[optuna.Trial], float],
    lease_seconds: float,
) -> None:
    """Run one trial under a lease, and tell the study its result."""
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
        log.warning("trial %d counted as lost, another worker runs it again", trial.number)
    except BaseException:
        # A trial that failed without a reason is queued again. The first error matters, so one here is
        # suppressed.
        with suppress(Exception):
            study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
        raise


def fail(study: optuna.Study, trial: optuna.Trial, reason: str) -> None:
    """Fail a trial with a reason; it is not queued again."""
    log.info("trial %d: %s", trial.number, reason)
    trial.set_user_attr("reason", reason)
    study.tell(trial, state=TrialState.FAIL)


@contextmanager
def leased(trial: optuna.Trial, seconds: float) -> Iterator[None]:
    """Hold the lease of a trial; a thread renews it."""
    done = threading.Event()
    trial.set_user_attr("lease", lease_of_this_process())

    def renew() -> None:
        while not done.wait(seconds / RENEWALS):
            try:
                trial.set_user_attr("lease", lease_of_this_process())
            except UpdateFinishedTrialError:
                return
            except Exception as error:  # a full disk or an absent server may recover
                log.warning("trial %d: the lease could not be renewed: %s", trial.number, error)

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def requeue_lost(study: optuna.Study, watch: Watch, max_retries: int) -> None:
    """Fail the trials whose worker is gone, and queue the parameters of each lost trial again."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if watch.is_lost(trial.number, trial.user_attrs.get("lease")):
            log.warning("trial %d: its worker is gone", trial.number)
            # Another worker may do this at the same time; tell raises ValueError if it has.
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
    """The trial whose parameters these are, by number, and how often they were tried before."""
    attributes = trial.user_attrs
    return attributes.get("retry_of", trial.number), attributes.get("attempt", 0)


def place_in_study(trials: Sequence[FrozenTrial], number: int) -> int:
    """The number of a trial if no trial had been lost; a retry has the number of the lost trial."""
    by_number = {trial.number: trial for trial in trials}
    root = attempt(by_number[number])[0]
    return sum(other < root and attempt(trial)[1] == 0 for other, trial in by_number.items())


def is_surplus(study: optuna.Study, number: int, wanted: int) -> bool:
    """Whether a new trial is not needed: enough others come before it, or the same retry does."""
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
