"""The course of a training: lines for people, metrics.jsonl, events for TensorBoard."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dglframer.common.errors import DamagedFile, UserError
from dglframer.common.files import read_json_lines, write_text
from dglframer.training.epoch import EpochState

Metrics = dict[str, Any]

SECONDS_BETWEEN_LINES = 30.0  # inside an epoch


class Pace:
    """The rate of a training since this process began, and the time it still takes."""

    def __init__(self, seed: int, epochs: int, crystals: int, done: int):
        """``crystals`` of an epoch; ``done``: crystals over all epochs before this process began."""
        self.seed, self.epochs, self.crystals, self.done = seed, epochs, crystals, done
        self.started = self.last_line = time.perf_counter()

    def due(self) -> bool:
        """Whether it is time for a line inside an epoch."""
        return time.perf_counter() - self.last_line > SECONDS_BETWEEN_LINES

    def seconds_left(self, done: int) -> float:
        """Seconds until the last epoch ends, at the mean rate since this process began."""
        elapsed = time.perf_counter() - self.started
        return elapsed * (self.epochs * self.crystals - done) / max(done - self.done, 1)

    def inside(self, current: EpochState) -> str:
        """A line inside an epoch: its share that is done, loss so far, rate, time left."""
        self.last_line = time.perf_counter()
        loss_sum, counted = current.sums_2.tolist()
        left = self.seconds_left(current.number * self.crystals + current.crystals)
        return (
            f"seed {self.seed} epoch {current.number + 1}/{self.epochs}  "
            f"{100 * current.crystals / self.crystals:.0f} %  "
            f"train loss {loss_sum / max(counted, 1):.4f}  "
            f"{current.crystals / current.train_seconds:.0f} crystals/s  {left:.0f} s left"
        )

    def at_end(self, metrics: Metrics) -> str:
        """The line at the end of an epoch: losses, rate, time left."""
        self.last_line = time.perf_counter()
        left = self.seconds_left(metrics["epoch"] * self.crystals)
        maes = ", ".join(f"{name} {value:.4f}" for name, value in metrics["val_mae"].items())
        return (
            f"seed {self.seed} epoch {metrics['epoch']}/{self.epochs}  "
            f"train loss {metrics['train_loss']:.4f}  val MAE {maes}  "
            f"{self.crystals / metrics['train_seconds']:.0f} crystals/s  {left:.0f} s left"
        )


class MetricsLog:
    """Writes a line of JSON per epoch to ``path``, and events for TensorBoard to a folder, if given.

    ``lines`` are the metrics of the epochs before. The file is written whole each time: a Snakemake that
    was started beside this training has perhaps removed it, with its folder.
    """

    def __init__(self, path: Path | None, lines: Sequence[Metrics], events: Path | None = None):
        self.path, self.lines = path, list(lines)
        self.write()
        self.board = board(events, len(self.lines)) if events else None

    def add(self, metrics: Metrics) -> None:
        """Add the metrics of an epoch."""
        self.lines.append(metrics)
        self.write()
        if self.board is not None:
            for name in ("learning_rate", "train_loss", "val_loss"):
                self.board.add_scalar(name, metrics[name], metrics["epoch"])
            for name, value in metrics["val_mae"].items():
                self.board.add_scalar(f"val_mae/{name}", value, metrics["epoch"])
            self.board.flush()

    def write(self) -> None:
        """Write the file with all epochs, if there is to be one."""
        if self.path is not None:
            write_text(self.path, "".join(json.dumps(line) + "\n" for line in self.lines))


def board(folder: Path, epochs_done: int) -> Any:
    """A TensorBoard writer; it replaces the events of epochs after ``epochs_done``."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError(
            "training.tensorboard needs the package tensorboard: pip install tensorboard"
        ) from None
    return SummaryWriter(str(folder), purge_step=epochs_done + 1)


METRICS_FILE = "metrics.jsonl"


def read_metrics(model_folder: Path) -> list[Metrics]:
    """metrics.jsonl of a model directory, a dict per epoch.

    Raises DamagedFile if the file is missing or damaged, or if it holds no epoch.
    """
    path = Path(model_folder) / METRICS_FILE
    lines = read_json_lines(path)
    if not lines:
        raise DamagedFile(f"{path}: it holds no epoch")
    return lines
