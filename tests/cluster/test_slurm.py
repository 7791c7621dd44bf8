"""The workflow through a real Slurm, with jobs that are cancelled, run out of time and are preempted.

First run, with one attempt each: one of four trainings is cancelled, one hangs until its time is up,
the others finish; meanwhile the user edits the configuration, for a later run. Second run, as a user
would repeat the first: the first training is cancelled again and tried again with more memory, the second
makes room for an urgent job and is requeued by Slurm.
"""

import itertools
import json
import os
import re
import signal
from pathlib import Path

import pytest
from cluster.driver import LONGEST_SECONDS, ROOT, SEEDS, TINY, log_of, started
from cluster.slurm import Attempt, Cluster, Job, command, running_slurm, wait_for, why_not
from helpers.same_bytes import assert_same_bytes
from snakemake.utils import available_cpu_count

# The profile as it is, but for what this cluster has not: accounts, a database of finished jobs, and
# the many jobs for whose sake one asks for their state only now and then.
HERE = "--slurm-no-account --slurm-status-command squeue --latency-wait 5"
QUICK = f"{HERE} --slurm-init-seconds-before-status-checks 2 --seconds-between-status-checks 2"

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
]


def on_slurm() -> list[str]:
    """The options for a run with the profile."""
    return ["--profile", str(ROOT / "workflow" / "profiles" / "slurm"), *QUICK.split()]


def pause_one(folder: Path, seeds: set[int]) -> int:
    """Stop the process that trains the first of the seeds with a new checkpoint; returns the seed."""
    before = {seed: checkpoints(folder, seed) for seed in seeds}

    def saved() -> list[int]:
        return [seed for seed in seeds if checkpoints(folder, seed) - before[seed]]

    (seed, *_) = wait_for(saved, each=0.01)
    os.kill(pid_of_training(folder, seed), signal.SIGSTOP)
    return seed


def checkpoints(folder: Path, seed: int) -> set[Path]:
    """Those of one training."""
    return set((folder / "results" / "checkpoints" / f"seed-{seed}").glob("*/epoch-*"))


def pid_of_training(folder: Path, seed: int) -> int:
    """That of the `dglframer train` of a seed in ``folder``."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode().split("\0")
            if "train" in words[1:3] and f"results/models/seed-{seed}" in words:
                if (process / "cwd").resolve() == folder:
                    return int(process.name)
        except OSError:  # it has ended
            continue
    raise AssertionError(f"no training of seed {seed} runs any more")


def training(seed: int) -> str:
    """The comment that the plugin gives a training's job."""
    return f"rule_train_seed_wildcards_{seed}"


class Runs:
    """Both runs on the cluster, one without, and what Slurm said of the jobs."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.folder, self.cluster = folder / "cluster", cluster
        self.local = folder / "local"
        # Rules get no more threads here than jobs do there, and not every CPU's bits are the same for
        # any number (device.py).
        with started(self.local, "--cores", str(min(2, available_cpu_count()))) as driver:
            self.statuses = [self.first_run(), self.second_run()]
            assert driver.wait(LONGEST_SECONDS) == 0, log_of(self.local)
        self.jobs = cluster.jobs()
        self.attempts = cluster.attempts()
        self.restarts = command("scontrol", "show", "job", self.job(self.hung).id)

    def first_run(self) -> int:
        """Cancel a training; let another one hang, with a minute as its limit."""
        with started(self.folder, *on_slurm(), "--retries", "0") as driver:
            self.cancelled = pause_one(self.folder, {*SEEDS})
            edited = TINY | {"training": {**TINY["training"], "epochs": 3}}
            (self.folder / "tiny.json").write_text(json.dumps(edited))
            command("scancel", self.job(self.cancelled).id)
            self.hung = pause_one(self.folder, {*SEEDS} - {self.cancelled})
            command("scontrol", "update", f"JobId={self.job(self.hung).id}", "TimeLimit=1")
            return driver.wait(LONGEST_SECONDS)

    def second_run(self) -> int:
        """Cancel the first again as soon as it is back; let an urgent job take the node of the other."""
        known = self.job(self.cancelled)
        with started(self.folder, *on_slurm()) as driver:
            command("scancel", wait_for(lambda: self.newer(known)).id)
            pause_one(self.folder, {self.hung})
            urgent = "sbatch --partition=urgent --exclusive --output=/dev/null --comment=urgent"
            node = self.job(self.hung).node
            command(*urgent.split(), f"--nodelist={node}", "--wrap=sleep 1")
            return driver.wait(LONGEST_SECONDS)

    def newer(self, known: Job) -> Job | None:
        """The job that came after another one of the cancelled training."""
        job = self.job(self.cancelled)
        return None if job.id == known.id else job

    def job(self, seed: int) -> Job:
        """The last job of a training."""
        return self.cluster.jobs(training(seed))[-1]

    def of(self, seed: int) -> list[Job]:
        """The jobs of one training, in their order."""
        return [job for job in self.jobs if job.comment == training(seed)]

    def attempts_of(self, jobs: list[Job]) -> list[Attempt]:
        """Each time that one of these jobs ran."""
        ids = {job.id for job in jobs}
        return [attempt for attempt in self.attempts if attempt.job in ids]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Runs:
    with running_slurm() as cluster:
        return Runs(cluster, tmp_path_factory.mktemp("runs"))


def test_the_first_run_fails_and_the_second_finishes(runs):
    assert runs.statuses[0] != 0
    assert runs.statuses[1] == 0, log_of(runs.folder)
    assert (runs.folder / "results" / "report.html").is_file()


def test_cancelled_jobs_are_tried_again_with_more_memory(runs):
    first, second, third = runs.of(runs.cancelled)
    assert [first.state, second.state, third.state] == ["CANCELLED", "CANCELLED", "COMPLETED"]
    assert [first.memory, second.memory, third.memory] == ["8000M", "8000M", "16000M"]


def test_a_job_that_ran_out_of_time_goes_on_in_the_next(runs):
    first, second = runs.of(runs.hung)
    assert [first.state, second.state] == ["TIMEOUT", "COMPLETED"]


def test_a_preempted_job_is_requeued_by_slurm(runs):
    assert "Restarts=1" in runs.restarts, runs.restarts


def test_trainings_went_on_from_their_checkpoints(runs):
    for seed in (runs.cancelled, runs.hung):
        log = (runs.folder / "results" / "logs" / f"train-seed-{seed}.txt").read_text()
        assert re.search(r"going on after [1-9]\d* steps", log), log


def test_the_undisturbed_trainings_ran_once(runs):
    others = {*SEEDS} - {runs.cancelled, runs.hung}
    assert [[job.state for job in runs.of(seed)] for seed in others] == [["COMPLETED"]] * 2


def test_no_gpu_is_shared(runs):
    """Each training has one GPU, every time it runs; no other has it until it has ended."""
    trainings = runs.attempts_of([job for seed in SEEDS for job in runs.of(seed)])
    assert len(runs.attempts_of(runs.of(runs.hung))) == 3  # out of time, preempted, to the end
    assert {attempt.gpus for attempt in trainings} <= {frozenset("0"), frozenset("1")}
    overlapping = [
        (one, other) for one, other in itertools.combinations(trainings, 2) if one.overlaps(other)
    ]
    assert overlapping, "no two trainings ran at the same time"
    for one, other in overlapping:
        assert (one.node, one.gpus) != (other.node, other.gpus), (one, other)


def test_tuning_has_a_gpu(runs):
    tuning = [job for job in runs.jobs if job.comment == "rule_tune"]
    (attempt,) = runs.attempts_of(tuning)
    assert attempt.gpus in ({"0"}, {"1"})


def test_other_rules_run_once_without_a_gpu(runs):
    """Evaluation and report share a job, the others have one each."""
    others = [job for job in runs.jobs if not re.match("rule_(train|tune)|urgent", job.comment)]
    alone = "download crystals clean inspect split leakage graphs".split()
    names = [job.comment for job in others]
    assert sorted(names[:-1]) == sorted(f"rule_{name}" for name in alone), names
    assert {"results", "evaluate", "report"} <= {*names[-1].split("_")}
    assert {attempt.gpus for attempt in runs.attempts_of(others)} == {frozenset({"none"})}
    assert {job.state for job in others} == {"COMPLETED"}


@pytest.mark.parametrize(
    "name",
    [
        *(f"models/seed-{seed}/model.safetensors" for seed in SEEDS),
        "evaluation/predictions.parquet",
        "split.parquet",
        "graphs/manifest.json",
    ],
)
def test_the_same_bytes_as_without_a_cluster(runs, name):
    first, second = (folder / "results" / name for folder in (runs.folder, runs.local))
    assert_same_bytes(first, second)
