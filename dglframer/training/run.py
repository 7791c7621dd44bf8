"""One training from start to end, fresh or from its newest checkpoint, to the same bits."""

import copy
import logging
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dglframer.common.elements import SYMBOLS, element_counts
from dglframer.common.errors import DamagedFile, Interrupted, UserError
from dglframer.common.files import hash_of, remove_left_overs, write_json
from dglframer.common.machine import machine
from dglframer.common.own_code import code
from dglframer.common.progress import progress
from dglframer.config import Config, hash_of_config
from dglframer.config.networks import symmetry_group
from dglframer.config.stages import stage_settings
from dglframer.graphs.dataset import GraphDataset
from dglframer.graphs.held_out import visible_datasets
from dglframer.graphs.own_shards import WHOLE, Share
from dglframer.networks.model_directory import TRAINED_ON, Target, TrainedModel, save_model
from dglframer.training.checkpoints import (
    Checkpoints,
    WhenChanged,
    open_checkpoints,
    read_snapshot,
)
from dglframer.training.distributed import Processes
from dglframer.training.lock import locked
from dglframer.training.metrics import Metrics, MetricsLog, Pace
from dglframer.training.prepare import origin, prepare
from dglframer.training.signals import StopRequest
from dglframer.training.snapshot import Snapshot, restore, snapshot_of
from dglframer.training.trainer import Trainer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingJob:
    """A training as the command line asks for it."""

    config: Config
    seed: int
    graphs: Path  # folder of shards
    split: Path  # split.parquet
    out: Path  # the model directory
    checkpoints: Path  # the run directory, which one process at a time may use
    restart: bool = False
    when_changed: WhenChanged = "refuse"
    own_shards: bool = False  # each of several processes reads its own alone


def train_seed(job: TrainingJob, processes: Processes, stop: StopRequest) -> None:
    """Train a model and write its directory; the first process holds the run directory and writes.

    Raises InUse if another process has the run directory, UserError if it holds checkpoints of
    another configuration or other data, Interrupted if asked to stop.
    """
    config, leads = job.config, processes.leads
    share = Share(processes.rank, processes.size) if job.own_shards else WHOLE
    with locked(job.checkpoints) if leads else nullcontext():
        train_set, val_set = visible_datasets(
            job.graphs, job.split, group=symmetry_group(config.encoder_settings), share=share
        )
        check_shares(train_set, val_set, processes)
        identity = identity_of(config, train_set, val_set, job.seed)
        if leads:
            remove_left_overs(job.out)
            checkpoints = open_checkpoints(job.checkpoints, identity, job.restart, job.when_changed)
        else:
            checkpoints = Checkpoints(job.checkpoints, identity)
        prepared = prepare(config, train_set, val_set, job.seed, processes.device, processes)
        trainer = Trainer(prepared, config.training, processes)
        last = TrainingRun(trainer, checkpoints, stop, job.out / "metrics.jsonl").finish()
        if leads or trainer.own_shards:
            model = finished_model(config, trainer, last)
            if leads:
                save_model(model, job.out)
                write_json(job.out / TRAINED_ON, {"machine": machine(), "code": code()})


def check_shares(train_set: GraphDataset, val_set: GraphDataset, processes: Processes) -> None:
    """Raise an error unless the shards of all processes hold all crystals, and each some for training."""
    if train_set.share.size == 1:
        return
    found = processes.sum_of([len(train_set), len(val_set), len(train_set) == 0])
    wanted = [len(train_set.wanted), len(val_set.wanted)]
    if found[:2].tolist() != wanted:
        raise DamagedFile(f"{train_set.graphs}: the shards have not all crystals of the split")
    if found[2]:
        raise UserError("a process has no training crystal in its shards: take fewer processes")


def train_model(
    config: Config,
    train_set: GraphDataset,
    val_set: GraphDataset,
    seed: int,
    device: torch.device,
    each_epoch: Callable[[Metrics], None] = lambda metrics: None,
) -> TrainedModel:
    """Train in this process, without writing a file, and return the (averaged) model.

    ``each_epoch`` gets the metrics of every epoch and may end the training by raising.
    """
    prepared = prepare(config, train_set, val_set, seed, device)
    trainer = Trainer(prepared, config.training, Processes(device))
    last = TrainingRun(trainer).finish(each_epoch)
    return finished_model(config, trainer, last)


class TrainingRun:
    """Takes a trainer to its last epoch: resumes it, saves its state, stops if asked to."""

    def __init__(
        self,
        trainer: Trainer,
        checkpoints: Checkpoints | None = None,
        stop: StopRequest | None = None,
        metrics_path: Path | None = None,
    ):
        self.trainer, self.checkpoints = trainer, checkpoints
        self.stop, self.metrics_path = stop or StopRequest(), metrics_path
        self.lines: list[Metrics] = []  # of the epochs that are done
        self.saved: Path | None = None  # the newest checkpoint
        if checkpoints is not None and trainer.processes.leads:
            trainer.write_nonfinite = checkpoints.write_nonfinite

    def finish(self, each_epoch: Callable[[Metrics], None] = lambda metrics: None) -> Metrics:
        """Train to the end and return the metrics of the last epoch; may raise Interrupted."""
        trainer = self.trainer
        self.resume()
        metrics_log = self.open_log()
        n_epochs = trainer.training.epochs
        with progress(f"seed {trainer.seed}", n_epochs) as self.advance:
            for epoch in range(trainer.next_epoch, n_epochs):
                metrics = trainer.epoch(epoch, self.after_step, self.each_val_batch)
                metrics_log.add(metrics)
                self.lines = metrics_log.lines
                log.info("%s", self.pace.at_end(metrics))
                self.after_epoch()
                each_epoch(metrics)
        return metrics_log.lines[-1]

    def open_log(self) -> MetricsLog:
        """The log of the metrics, with the epochs that are done; only the first process writes."""
        leads, events = self.trainer.processes.leads, None
        if self.trainer.training.tensorboard and leads and self.checkpoints:
            events = self.checkpoints.folder / "tensorboard"
        return MetricsLog(self.metrics_path if leads else None, self.lines, events)

    def resume(self) -> None:
        """Continue from the newest checkpoint, if there is one."""
        trainer = self.trainer
        processes, training = trainer.processes, trainer.training
        found = None
        if self.checkpoints is not None:
            newest = self.checkpoints.newest() if processes.leads else None
            read = (str(newest), read_snapshot(newest)) if newest else None
            found = processes.from_leader(read)  # other hosts need not see the folder
        crystals, done = trainer.train_crystals, 0
        name = f"seed {trainer.seed}, {crystals} training crystals on {trainer.device}"
        if processes.size > 1:
            name += f" x {processes.size} processes"
        if found is None:
            log.info("%s: starting at epoch 1", name)
        else:
            where, snapshot = found
            restore(trainer, snapshot)
            self.saved = Path(where)
            self.lines = snapshot.values["lines"]
            done = trainer.next_epoch * crystals
            done += trainer.current.crystals if trainer.current else 0
            log.info("%s: going on after %d steps, from %s", name, trainer.step, where)
        self.pace = Pace(trainer.seed, training.epochs, crystals, done)
        self.last_save = time.monotonic()

    def after_step(self) -> None:
        """Save if it is time to; save and raise Interrupted if a process was asked to stop."""
        trainer = self.trainer
        if trainer.step % trainer.read_every == 0:
            trainer.read_flags()
            self.stop_if_asked()
        minutes = (time.monotonic() - self.last_save) / 60
        if self.checkpoints and minutes >= trainer.training.checkpoint_minutes:
            self.save()
        if trainer.current:
            share = trainer.current.crystals / trainer.train_crystals
            self.advance(trainer.next_epoch + share, "of the epochs")
        if self.pace.due() and trainer.current:
            log.info("%s", self.pace.inside(trainer.current))

    def after_epoch(self) -> None:
        """Save, and stop if asked to."""
        self.save()
        self.stop_if_asked()

    def each_val_batch(self) -> None:
        """Stop if asked to. Several processes do not: they cannot agree on it during a validation."""
        if self.trainer.processes.size == 1:
            self.stop_if_asked()

    def stop_if_asked(self) -> None:
        """Save and raise Interrupted if any process has been asked to stop."""
        if not self.trainer.processes.any(self.stop.signal is not None):
            return
        self.save()
        reason = f"stopped by {self.stop.signal or 'a signal to another process'}"
        where = f"; the same command goes on from {self.saved}" if self.saved else ""
        raise Interrupted(f"{reason} after {self.trainer.step} steps{where}")

    def save(self) -> None:
        """Write a checkpoint of the state now."""
        self.last_save = time.monotonic()
        if self.checkpoints is None or not self.trainer.processes.leads:
            return
        self.trainer.read_flags()
        state = snapshot_of(self.trainer)
        current = self.trainer.current
        snapshot = Snapshot(state.tensors, {**state.values, "lines": self.lines})
        batch = current.batch if current else 0
        self.saved = self.checkpoints.save(snapshot, self.trainer.next_epoch, batch)


def finished_model(config: Config, trainer: Trainer, last: Metrics) -> TrainedModel:
    """The content of the model directory; ``last``: metrics of the last epoch."""
    train_set = trainer.train_set
    names = train_set.manifest["targets"].items()
    statistics = zip(
        *(names, trainer.mean_T.tolist(), trainer.std_T.tolist()),
        *(trainer.transforms, trainer.slopes_T),
        strict=True,
    )
    targets = tuple(
        Target(name, unit, mean, std, transform, slopes)
        for (name, unit), mean, std, transform, slopes in statistics
    )
    history = {
        "seed": trainer.seed,
        "training": config.training.model_dump(mode="json"),
        "training_crystals": trainer.train_crystals,
        "data_manifest_hash": hash_of(train_set.manifest),
        "config_hash": hash_of_config(config),
        "last_epoch": last,
        **origin(config.training),
    }
    cutoff = train_set.manifest["cutoff_angstrom"]
    network = copy.deepcopy(trainer.result).eval()
    elements = element_counts(train_set.compositions())
    if trainer.own_shards:
        counts = trainer.processes.sum_of([elements.get(symbol, 0) for symbol in SYMBOLS])
        elements = {symbol: int(n) for symbol, n in zip(SYMBOLS, counts, strict=True) if n}
    return TrainedModel(network, cutoff, targets, history, elements)


def identity_of(
    config: Config, train_set: GraphDataset, val_set: GraphDataset, seed: int
) -> dict[str, Any]:
    """Everything that a training's result depends on; a checkpoint of another identity is not used."""
    manifest, processes = train_set.manifest, train_set.share.size
    data = {key: value for key, value in manifest.items() if not isinstance(value, list)}
    return {
        "settings": stage_settings(config, "train"),
        "seed": seed,
        **origin(config.training),
        **({"own_shards_of_processes": processes} if processes > 1 else {}),
        "data": {
            **data,
            "manifest_hash": hash_of(manifest),
            "train_ids_hash": hash_of(train_set.wanted),
            "val_ids_hash": hash_of(val_set.wanted),
        },
    }
