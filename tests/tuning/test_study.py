"""Several workers on one study: each trial finishes once, even if workers are killed, on each storage."""

import multiprocessing
import os
import signal
import time
from collections import Counter
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.trial import TrialState
from sqlalchemy.exc import OperationalError

from dglframer.common.errors import DamagedFile, UserError
from dglframer.tuning import leases
from dglframer.tuning import storage as study_storage
from dglframer.tuning import study as study_module
from dglframer.tuning.journal import LOCK_SECONDS, Journal, check
from dglframer.tuning.leases import Watch, lease_of_this_process, place, started
from dglframer.tuning.storage import open_study
from dglframer.tuning.study import FINISHED, Impossible, attempt, place_in_study, work

fork = multiprocessing.get_context("fork")
SECONDS = 1.5  # of a lease, in these tests
TEST_LOCK_SECONDS = 3


@pytest.fixture(autouse=True)
def quick_locks(monkeypatch):
    """The lock of a killed writer is broken after three seconds, not after thirty."""
    monkeypatch.setattr(
        "dglframer.tuning.journal.Journal.__init__.__defaults__", (TEST_LOCK_SECONDS,)
    )


def opened(spec: str, folder: Path, seed: int | None = None) -> optuna.Study:
    sampler = optuna.samplers.RandomSampler(seed=seed)
    return open_study(spec, folder, "study", sampler, optuna.pruners.NopPruner())


def plain(trial: optuna.Trial) -> float:
    return trial.suggest_float("x", 0, 1)


def quick(trial: optuna.Trial) -> float:
    x = plain(trial)
    trial.report(x, 1)
    if x > 0.9:
        raise optuna.TrialPruned
    return x


def worker(spec: str, folder: Path, wanted: int, objective=quick, max_retries: int = 9) -> None:
    """One process of the tests."""
    work(opened(spec, folder), wanted, objective, max_retries, SECONDS)


def start(*arguments) -> multiprocessing.process.BaseProcess:
    process = fork.Process(target=worker, args=arguments)
    process.start()
    return process


def states(study: optuna.Study) -> Counter:
    return Counter(trial.state.name for trial in study.trials)


def assert_exactly(study: optuna.Study, wanted: int) -> None:
    """There are ``wanted`` finished trials, each with its own place; no trial waits or runs."""
    trials = study.get_trials()
    assert [trial.number for trial in trials] == list(range(len(trials)))
    done = [trial for trial in trials if trial.state in FINISHED]
    assert len(done) == wanted
    assert len({place_in_study(trials, trial.number) for trial in done}) == wanted
    assert len({trial.params["x"] for trial in done}) == wanted
    assert not states(study)["RUNNING"] and not states(study)["WAITING"]


@pytest.mark.parametrize(("spec", "wanted"), [("journal", 400), ("sqlite", 40)])
def test_eight_workers_and_three_kills(tmp_path, spec, wanted):
    kills = [tmp_path / f"kill-{k}" for k in range(3)]

    def reach() -> float:
        """Trials of lower numbers may end; enough are left that no worker is done before the next kill."""
        done = sum(kill.exists() for kill in kills)
        return wanted * (done + 2) / 5 if done < len(kills) else float("inf")

    def unhurried(trial: optuna.Trial) -> float:
        time.sleep(16 / wanted)
        while trial.number >= reach():
            time.sleep(0.01)
        return quick(trial)

    processes = [start(spec, tmp_path, wanted, unhurried) for _ in range(8)]
    study = opened(spec, tmp_path)
    for k, victim in enumerate(processes[:3]):
        while len(study.get_trials(deepcopy=False)) < wanted * (k + 1) / 5:
            assert any(process.is_alive() for process in processes)
            time.sleep(0.01)
        os.kill(victim.pid, signal.SIGKILL)
        kills[k].touch()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [-9] * 3 + [0] * 5
    assert_exactly(study, wanted)


def test_a_killed_trial_is_run_again_with_its_parameters(tmp_path):
    def hangs_in_the_third(trial: optuna.Trial) -> float:
        value = plain(trial)
        if trial.number == 2:
            time.sleep(60)
        return value

    victim = start("sqlite", tmp_path, 4, hangs_in_the_third)
    study = opened("sqlite", tmp_path)
    while len(study.trials) < 3 or not study.trials[2].params:
        time.sleep(0.01)
    victim.kill()
    victim.join()
    began = time.monotonic()
    work(study, 4, plain)
    passed = time.monotonic() - began
    assert passed < study_module.LEASE_SECONDS / 2, (
        "a dead process of this machine is noticed at once"
    )
    assert_exactly(study, 4)
    lost, retry = study.trials[2], study.trials[3]
    assert lost.state == TrialState.FAIL and retry.params == lost.params
    assert attempt(retry) == (2, 1)
    places = [place_in_study(study.trials, number) for number in (0, 1, 3, 4)]
    assert places == [0, 1, 2, 3]


def test_a_worker_killed_in_an_append_stops_nobody(tmp_path, monkeypatch):
    """Killed with half a line written and the lock held; the folder is relative, as in the workflow."""
    monkeypatch.chdir(tmp_path)
    folder = Path("results/tune")

    def half_and_dead(handle, data: bytes) -> None:
        handle.seek(0, os.SEEK_END)
        handle.write(data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    def deadly(trial: optuna.Trial) -> float:
        if trial.number == 1:
            monkeypatch.setattr("dglframer.tuning.journal.write_all", half_and_dead)
        return plain(trial)

    victim = start("journal", folder, 4, deadly)
    victim.join(60)
    assert victim.exitcode == -signal.SIGKILL
    (lock,) = (tmp_path / folder).glob("*.lock")
    assert not (tmp_path / folder / "study.journal").read_bytes().endswith(b"\n")
    began = time.monotonic()
    heir = start("journal", folder, 4)
    heir.join(60)
    passed = time.monotonic() - began
    assert heir.exitcode == 0 and passed < 30 - LOCK_SECONDS + TEST_LOCK_SECONDS
    assert not lock.exists()
    assert_exactly(opened("journal", folder), 4)


def test_a_trial_that_kills_its_worker_is_given_up_after_max_retries(tmp_path):
    def deadly(trial: optuna.Trial) -> float:
        value = plain(trial)
        if attempt(trial.study.trials[trial.number])[0] == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return value

    codes = []
    while not codes or codes[-1] != 0:
        process = start("journal", tmp_path, 3, deadly, 2)
        process.join()
        codes.append(process.exitcode)
    assert codes == [-9, -9, -9, 0]
    study = opened("journal", tmp_path)
    assert_exactly(study, 3)
    assert Counter(attempt(trial)[0] for trial in study.trials)[1] == 3


def test_a_worker_on_another_machine_is_dead_after_silence(tmp_path, monkeypatch):
    study = opened("sqlite", tmp_path)
    elsewhere = {**lease_of_this_process(), "place": "another machine"}
    study.ask().set_user_attr("lease", elsewhere)
    began = time.monotonic()
    work(study, 1, plain, lease_seconds=0.5)
    assert time.monotonic() - began > 0.5
    assert states(study) == {"FAIL": 1, "COMPLETE": 1}


def test_a_living_worker_keeps_its_trial_however_long_it_takes(tmp_path, monkeypatch):
    def slow(trial: optuna.Trial) -> float:
        time.sleep(4.0)
        return plain(trial)

    process = start("sqlite", tmp_path, 1, slow)
    study = opened("sqlite", tmp_path)
    while not any("lease" in trial.user_attrs for trial in study.trials):
        time.sleep(0.01)
    monkeypatch.setattr(leases, "place", lambda: "another machine")
    # Its own process renews every 0.25 s; a slow disk may take the rest of the time.
    work(study, 1, plain, lease_seconds=2.5)
    process.join()
    assert states(study) == {"COMPLETE": 1}


def test_whoever_lost_a_trial_does_not_bring_its_result(tmp_path):
    study = opened("journal", tmp_path)

    def loses(trial: optuna.Trial) -> float:
        if trial.number == 0:
            study.tell(0, state=TrialState.FAIL)
        return plain(trial)

    work(study, 1, loses)
    assert states(study) == {"FAIL": 1, "COMPLETE": 1}


def test_an_error_gives_the_trial_back(tmp_path):
    study = opened("sqlite", tmp_path)

    def breaks(trial: optuna.Trial) -> float:
        plain(trial)
        raise DamagedFile("shard")

    with pytest.raises(DamagedFile):
        work(study, 1, breaks)
    work(study, 1, plain)
    assert_exactly(study, 1)
    assert study.trials[0].params == study.trials[1].params


def test_impossible_trials_do_not_count_and_do_not_go_on_for_ever(tmp_path):
    study = opened("journal", tmp_path)

    def odd(trial: optuna.Trial) -> float:
        if trial.number % 2:
            raise Impossible("heads must divide width")
        return plain(trial)

    work(study, 3, odd)
    assert len([trial for trial in study.trials if trial.state in FINISHED]) == 3
    assert study.trials[1].user_attrs["reason"] == "impossible: heads must divide width"

    def never(trial: optuna.Trial) -> float:
        raise Impossible("heads must divide width")

    with pytest.raises(UserError, match="heads must divide width"):
        work(study, 5, never)


def test_finished_work_is_not_done_again(tmp_path):
    study = opened("journal", tmp_path)
    assert work(study, 3, plain) == [0, 1, 2]
    assert work(study, 3, plain) == work(study, 2, plain) == []
    assert work(study, 4, plain) == [3]


def test_a_process_is_known_by_its_start_and_not_by_its_number_alone():
    own = lease_of_this_process()
    assert started(os.getpid()) == own["started"] is not None
    watch = Watch(60)
    parent = {**own, "pid": os.getppid(), "started": started(os.getppid())}
    assert not watch.is_lost(0, parent)
    assert watch.is_lost(0, {**parent, "started": "1"})
    assert watch.is_lost(0, own), "it is asked while it runs none"
    child = fork.Process(target=time.sleep, args=(60,))
    child.start()
    lease = {**own, "pid": child.pid, "started": started(child.pid)}
    assert not watch.is_lost(0, lease)
    os.kill(child.pid, signal.SIGKILL)
    while not watch.is_lost(0, lease):  # a zombie: its parent has not waited for it
        time.sleep(0.01)
    child.join()
    assert place() == own["place"]


@pytest.fixture
def journal(tmp_path) -> Path:
    """A journal with three trials."""
    work(opened("journal", tmp_path), 3, plain)
    return tmp_path / "study.journal"


@pytest.mark.parametrize("cut", [1, 7, 20])
def test_a_torn_last_line_is_cut_off(journal, cut, caplog):
    whole = journal.read_bytes()
    lines = whole.splitlines(keepends=True)
    journal.write_bytes(whole[:-cut])
    study = opened("journal", journal.parent)
    assert journal.read_bytes().startswith(b"".join(lines[:-1]) + b"{")
    assert lines[-1] not in journal.read_bytes()
    assert "cut off" in caplog.text
    work(study, 5, plain)
    check(journal)
    assert states(study)["COMPLETE"] == 5


def test_a_line_torn_while_others_work_is_cut_off_by_the_next(journal):
    first, second = (JournalStorage(Journal(journal)) for _ in range(2))
    with open(journal, "ab") as handle:
        handle.write(b'{"op_code": 4, "worker_')
    first.create_new_trial(0)
    assert second.get_all_trials(0)[-1].number == 3
    check(journal)


@pytest.mark.parametrize("garbage", [b"\0" * 40, b'{"half": ', b'"text"', b"{}", b"\xff\xfe"])
def test_damage_in_the_middle_is_reported_with_its_line(journal, garbage):
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[4] = garbage + b"\n"
    journal.write_bytes(b"".join(lines))
    with pytest.raises(DamagedFile, match=r"study.journal, line 5: .*head -n 4"):
        opened("journal", journal.parent)
    assert journal.read_bytes() == b"".join(lines), "nothing is repaired by guessing"


def test_a_full_disk_leaves_the_journal_as_it_was(journal, monkeypatch):
    before = journal.read_bytes()
    storage = JournalStorage(Journal(journal))

    def half(handle, data: bytes) -> None:
        handle.seek(0, os.SEEK_END)
        handle.write(data[:10])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("dglframer.tuning.journal.write_all", half)
        with pytest.raises(OSError, match="No space"):
            storage.create_new_trial(0)
    assert journal.read_bytes() == before
    storage.create_new_trial(0)
    check(journal)


@pytest.mark.parametrize(("spec", "file"), [("sqlite", "sqlite3"), ("journal", "journal")])
def test_a_file_that_is_no_study_is_named(tmp_path, spec, file):
    (tmp_path / f"study.{file}").write_bytes(b"not a study\n" * 100)
    with pytest.raises(DamagedFile, match=f"study.{file}"):
        opened(spec, tmp_path)


def test_a_study_by_url_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY", f"sqlite:///{tmp_path / 'elsewhere.db'}")
    assert work(opened("env:STUDY", tmp_path), 2, plain) == [0, 1]
    assert (tmp_path / "elsewhere.db").is_file()
    monkeypatch.delenv("STUDY")
    with pytest.raises(UserError, match="STUDY is not set"):
        opened("env:STUDY", tmp_path)


def test_no_password_in_errors(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("STUDY", "mysql+nodriver://me:s3cret@nowhere.invalid/db")
    with pytest.raises(UserError) as error:
        opened("env:STUDY", tmp_path)
    assert "s3cret" not in str(error.value) + caplog.text
    assert error.value.__cause__ is None and error.value.__suppress_context__


def test_sqlite_gives_one_waiting_trial_to_one_worker(tmp_path, monkeypatch):
    """Between reading a trial's state and changing it, nobody else can change it."""
    opened("sqlite", tmp_path)
    monkeypatch.setattr(study_storage, "SQLITE_SECONDS", 0.1)
    url = f"sqlite:///{tmp_path}/study.sqlite3"
    first, second = (study_storage.sqlite_storage(url).engine.connect() for _ in range(2))
    with first, second:
        first.exec_driver_sql("SELECT state FROM trials")
        with pytest.raises(OperationalError, match="locked"):
            second.exec_driver_sql("SELECT state FROM trials")
        first.rollback()
        second.exec_driver_sql("SELECT state FROM trials")
