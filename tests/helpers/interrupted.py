"""Trainings in processes of their own, killed at chosen moments; for tests and benchmarks/.

Processes are forked from one that has imported everything, which saves seconds each. The moments
are counted in calls that writing consists of (fsync, rename, removal, writing tensors), so that a
kill can be aimed inside the writing of a checkpoint.

Run as a script this module is that one process: it reads a JSON line per order.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

TIMINGS = ("train_seconds", "waiting_seconds", "cpu_seconds", "val_seconds")


@dataclass(frozen=True)
class Ended:
    """A process that has ended: its status (negative: the signal) and what it said."""

    returncode: int
    stderr: str


class Nursery:
    """The process from which others are forked."""

    def __init__(self) -> None:
        command = [sys.executable, __file__]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, text=True, **pipes)

    def order(self, **content) -> int:
        """Send an order and return the number that comes back."""
        self.process.stdin.write(json.dumps(content) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        """End it."""
        self.process.stdin.close()
        self.process.wait()


@dataclass
class Training:
    """One training as a command line, started again and again until it is done."""

    nursery: Nursery
    config: Path
    graphs: Path
    split: Path
    out: Path
    seed: int = 0
    options: list[str] = field(default_factory=list)

    def arguments(self) -> list[str]:
        """Those of `dglframer`."""
        given = f"--config {self.config} --graphs {self.graphs} --split {self.split}".split()
        train = ["train", *given, "--seed", str(self.seed), "--out", str(self.out)]
        return [*train, "--device", "cpu", *self.options]

    def start(self, kill_at_call: int = 0) -> int:
        """Start a process that kills itself at a call (0: does not); returns its id."""
        self.log.unlink(missing_ok=True)
        arguments = self.arguments()
        return self.nursery.order(start=arguments, kill=kill_at_call, log=str(self.log))

    def wait(self, pid: int) -> Ended:
        """Wait for the end of a process."""
        return Ended(self.nursery.order(wait=pid), self.log.read_text())

    @property
    def log(self) -> Path:
        """Where the process that was started last writes."""
        return self.config.with_suffix(".log")

    def run(self, kill_at_call: int = 0) -> Ended:
        """Start it and wait for its end."""
        return self.wait(self.start(kill_at_call))

    def start_and_step(self) -> int:
        """Start it and return when it has begun with the steps."""
        pid = self.start()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            text = self.log.read_text() if self.log.exists() else ""
            if any(word in text for word in ("starting at", "going on after", "error:")):
                return pid
            time.sleep(0.01)
        raise TimeoutError(text)

    def run_for(self, seconds: float, number: int = signal.SIGKILL) -> Ended:
        """Start it and send a signal ``seconds`` after it has begun with the steps."""
        pid = self.start_and_step()
        time.sleep(seconds)
        os.kill(pid, number)
        return self.wait(pid)

    def calls(self) -> int:
        """How many calls a whole training makes; it is done afterwards."""
        done = self.run()
        assert done.returncode == 0, done.stderr
        return int(done.stderr.rsplit("CALLS", 1)[1])

    def results(self) -> dict[str, object]:
        """What must not depend on interruptions: weights, metrics without times, description."""
        lines = (self.out / "metrics.jsonl").read_text().splitlines()
        metrics = [without_times(json.loads(line)) for line in lines]
        description = json.loads((self.out / "model.json").read_text())
        description["history"]["last_epoch"] = metrics[-1]
        weights = (self.out / "model.safetensors").read_bytes()
        return {"weights": weights, "metrics": metrics, "description": description}

    def checkpoints(self) -> list[Path]:
        """Checkpoints that are in place, oldest first."""
        return sorted(self.out.glob("checkpoints/*/epoch-*"))


def without_times(metrics: dict) -> dict:
    """A line of metrics.jsonl without what depends on the clock."""
    return {key: value for key, value in metrics.items() if key not in TIMINGS}


def kill_and_rerun(training: Training, kills: int, calls: int, seed: int) -> list[dict]:
    """Kill ``kills`` times at random, run to the end; returns where each kill hit.

    ``calls``: those of a whole training. No start is allowed more than its share of them, so that
    every kill comes before the end.
    """
    generator = random.Random(seed)
    log = []
    for _ in range(kills):
        done = training.run(kill_at_call=generator.randint(1, calls // kills))
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        killed = done.returncode == -signal.SIGKILL
        inside = done.stderr.rsplit("KILLED in ", 1)[1].split()[0] if killed else None
        half_written = len(list(training.out.glob("checkpoints/*/.*.tmp-*")))
        log.append({"killed": killed, "inside": inside, "half_written": half_written})
    done = training.run()
    assert done.returncode == 0, done.stderr
    return log


def attend() -> None:
    """Carry out orders until the input ends."""
    warm_up()
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        elif (answer := os.fork()) == 0:
            child(order["start"], order["kill"], order["log"])
        print(answer, flush=True)


def warm_up() -> None:
    """Load what a training loads: modules, and compiled loops, by one step on one crystal."""
    import numpy as np
    import pyarrow.dataset  # noqa: F401
    import torch

    from dglframer.common.device import make_reproducible
    from dglframer.config.networks import CrystalFramerConfig
    from dglframer.graphs.batch import batch_graphs
    from dglframer.networks.crystalframer import CrystalFramer
    from dglframer.structures.crystal import Crystal
    from dglframer.structures.periodic_graph import build_graph

    make_reproducible(1, torch.device("cpu"))
    salt = Crystal("salt", np.array([11, 17], np.int16), 4 * np.eye(3), np.eye(3)[:2] / 2, {})
    small = CrystalFramerConfig(blocks=1, width=16, heads=2, feedforward=16, angle_bins=16)
    network = CrystalFramer(small).draw(0)
    network(batch_graphs([build_graph(salt, 5.0)])).sum().backward()


def child(arguments: list[str], kill_at_call: int, log: str) -> None:
    """Run the command line and kill this process at the wanted call."""
    import shutil

    import safetensors.torch

    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 2)
    os.dup2(descriptor, 1)
    calls = 0

    def watched(module, name):
        original = getattr(module, name)

        def call(*arguments, **options):
            nonlocal calls
            calls += 1
            if calls == kill_at_call:
                print(f"KILLED in {name}", file=sys.stderr, flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **options)

        setattr(module, name, call)

    for module, name in ((os, "fsync"), (os, "replace"), (shutil, "rmtree")):
        watched(module, name)
    watched(safetensors.torch, "save_file")
    import dglframer.networks.model_directory
    import dglframer.training.checkpoints
    from dglframer.cli.main import main

    for module in (dglframer.networks.model_directory, dglframer.training.checkpoints):
        module.save_file = safetensors.torch.save_file
    sys.argv = ["dglframer", *arguments]
    status = main()
    print(f"CALLS {calls}", file=sys.stderr, flush=True)
    os._exit(status)


if __name__ == "__main__":
    attend()
