"""Failure drills: trainings killed, stopped and damaged at random; their results beside undisturbed ones.

    python benchmarks/failure_drills.py --results results

Takes graphs and split of a finished run, trains a small model on them, writes
benchmarks/results/failure_drills.json and the table of docs/measured/failure_drills.md. `--page` does
only the last. The processes are real and so are the signals (tests/helpers/interrupted.py).
"""

import json
import os
import platform
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pages import publish

ROOT = Path(__file__).resolve().parents[1]
RESULTS_FILE = ROOT / "benchmarks" / "results" / "failure_drills.json"
PAGE = ROOT / "docs" / "measured" / "failure_drills.md"
BEGIN = "<!-- table: written by benchmarks/failure_drills.py -->"
END = "<!-- end of table -->"
SETTINGS = {
    "crystalframer": {"blocks": 1, "width": 16, "heads": 2, "feedforward": 16, "angle_bins": 16},
    "training": {"epochs": 8, "averaged_epochs": 3, "batch_size": 32, "checkpoint_minutes": 0},
}
SEED = 20


class Drills:
    """An undisturbed training, and disturbed ones that are compared with it."""

    def __init__(self, results: Path, folder: Path):
        sys.path.insert(0, str(ROOT / "tests"))
        from helpers.interrupted import Nursery, Training

        self.nursery, self.folder, self.generator = Nursery(), folder, random.Random(SEED)
        self.config = folder / "config.json"
        self.config.write_text(json.dumps(SETTINGS))

        def training(name: str) -> Any:
            split = results / "split.parquet"
            return Training(self.nursery, self.config, results / "graphs", split, folder / name)

        self.training = training
        self.whole = training("whole")
        self.calls = self.whole.calls()

    def same(self, training: Any) -> bool:
        """Whether weights, metrics and predictions are those of the undisturbed training."""
        first, second = self.whole.results(), training.results()
        predictions = [self.predictions(one) for one in (self.whole, training)]
        return first == second and np.array_equal(*predictions)

    def predictions(self, training: Any) -> np.ndarray:
        """Of the model, on the test crystals."""
        import torch

        from dglframer.data.split import read_split
        from dglframer.graphs.dataset import GraphDataset
        from dglframer.networks.inference import predict
        from dglframer.networks.model_directory import load_model

        dataset = GraphDataset(training.graphs, read_split(training.split)["test"])
        return predict(load_model(training.out).network, dataset, torch.device("cpu"))

    def kills_in_writes(self, count: int) -> dict[str, Any]:
        """kill -9 at a random call of the operating system that writes."""
        from helpers.interrupted import kill_and_rerun

        training = self.training("kills")
        log = kill_and_rerun(training, count, self.calls, SEED)
        where = Counter(one["inside"] for one in log if one["killed"])
        half = sum(one["half_written"] > 0 for one in log)
        found = ", ".join(f"{name} {n}" for name, n in where.most_common())
        return {
            "what": "kill -9 at a random call that writes, one training",
            "times": sum(where.values()),
            "seen": f"inside {found}; {half} left something half-written",
            "same": self.same(training),
        }

    def kills_by_the_clock(self, count: int) -> dict[str, Any]:
        """kill -9 at a random time after the first step."""
        training = self.training("clock")
        steps = []
        for _ in range(count):
            ended = training.run_for(self.generator.uniform(0, 0.4))
            assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
            steps.append(newest_step(training))
        assert training.run().returncode == 0
        return {
            "what": "kill -9 at a random time, one training",
            "times": count,
            "seen": f"steps done after each: {', '.join(map(str, steps))}",
            "same": self.same(training),
        }

    def stops(self, number: signal.Signals, count: int) -> dict[str, Any]:
        """A signal that asks to stop, then the same command again."""
        statuses, same = Counter(), True
        for k in range(count):
            training = self.training(f"{number.name}-{k}")
            ended = training.run_for(self.generator.uniform(0, 0.3), number)
            statuses[ended.returncode] += 1
            assert training.run().returncode == 0
            same &= self.same(training)
        text = ", ".join(f"{status} ({n} times)" for status, n in statuses.items())
        what = f"{number.name}, a training each"
        return {"what": what, "times": count, "seen": f"exit status {text}", "same": same}

    def damage(self, count: int) -> dict[str, Any]:
        """One random byte of the newest checkpoint changed, between two starts."""
        noticed, same = 0, True
        for k in range(count):
            training = self.training(f"damage-{k}")
            training.run(kill_at_call=self.calls // 2)
            file = self.generator.choice(sorted(training.checkpoints()[-1].iterdir()))
            data = bytearray(file.read_bytes())
            data[self.generator.randrange(len(data))] ^= 1 << self.generator.randrange(8)
            file.write_bytes(data)
            ended = training.run()
            noticed += "damaged checkpoint" in ended.stderr and ended.returncode == 0
            same &= self.same(training)
        what = "one bit of the newest checkpoint flipped, a training each"
        seen = f"{noticed} noticed and said, the checkpoint before was used"
        return {"what": what, "times": count, "seen": seen, "same": same}

    def second_process(self, count: int) -> dict[str, Any]:
        """Another process started on the directory of a running training."""
        training = self.training("second")
        first = training.start_and_step()
        os.kill(first, signal.SIGSTOP)  # so that it cannot end before the others come
        statuses = Counter(training.run().returncode for _ in range(count))
        os.kill(first, signal.SIGCONT)
        assert training.wait(first).returncode == 0
        text = ", ".join(f"{status} ({n} times)" for status, n in statuses.items())
        what = "a second process on the directory of a running training"
        seen = f"exit status of the second {text}"
        return {"what": what, "times": count, "seen": seen, "same": self.same(training)}


def newest_step(training: Any) -> int:
    """Steps done, as the newest checkpoint says."""
    newest = training.checkpoints()[-1:]
    values = [json.loads((one / "state.json").read_text())["values"] for one in newest]
    return values[0]["step"] if values else 0


def measure(results: Path) -> dict[str, Any]:
    """All drills."""
    import torch

    from dglframer.common.device import settle_mkl

    settle_mkl()  # for the predictions, which are made in this process
    folder = Path(tempfile.mkdtemp())
    drills = Drills(results, folder)
    rows: list[Callable[[], dict[str, Any]]] = [
        lambda: drills.kills_in_writes(20),
        lambda: drills.kills_by_the_clock(20),
        lambda: drills.stops(signal.SIGTERM, 5),
        lambda: drills.stops(signal.SIGUSR1, 5),
        lambda: drills.damage(10),
        lambda: drills.second_process(3),
    ]
    steps = newest_step(drills.whole)
    done = []
    for row in rows:
        done.append(row())
        print(done[-1], flush=True)
    drills.nursery.close()
    shutil.rmtree(folder)
    return {
        "machine": f"{platform.machine()}, CPU, Python {platform.python_version()}",
        "torch": torch.__version__,
        "steps": steps,
        "calls": drills.calls,
        "drills": done,
    }


def rendered(numbers: dict[str, Any]) -> str:
    """The table."""
    lines = [
        f"A small model, {numbers['steps']} steps, a checkpoint after each "
        f"({numbers['calls']} calls that write); {numbers['machine']}, torch {numbers['torch']}.",
        "",
        "| what was done | times | what was seen | weights, metrics, predictions |",
        "|---|---|---|---|",
    ]
    for row in numbers["drills"]:
        result = "the same bits" if row["same"] else "**differ**"
        lines.append(f"| {row['what']} | {row['times']} | {row['seen']} | {result} |")
    return "\n".join(lines)


def main() -> None:
    publish(
        __doc__ or "",
        {"--results": {"type": Path, "default": Path("results")}},
        lambda args: measure(args.results.resolve()),
        RESULTS_FILE,
        (PAGE, BEGIN, END),
        rendered,
    )


if __name__ == "__main__":
    main()
