"""Training one model from start to end: fresh or from a checkpoint, to the same bits."""

import copy
import logging
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from dglframer.common.errors import Interrupted
from dglframer.common.files import hash_of, remove_left_overs
from dglframer.config import Config, hash_of_config
from dglframer.config.stages import stage_settings
from dglframer.graphs.dataset import GraphDataset
from dglframer.graphs.held_out import visible_datasets
from dglframer.networks.model_directory import Target, TrainedModel, save_model
from dglframer.training.checkpoints import (
    Checkpoints,
    WhenChanged,
    open_checkpoints,
    read_snapshot,
)
from dglframer.training.distributed import Processes
from dglframer.training.lock import locked
from dglframer.training.metrics import Metrics, MetricsLog, Pace
from dglframer.training.prepare import origin
from dglframer.training.signals import StopRequest
from dglframer.training.snapshot import Snapshot, restore, snapshot_of
from dglframer.training.trainer import Trainer

log = logging.getLogger(__name__)


def train_seed(
    config: Config,
    graphs: Path,
    split: Path,
    seed: int,
    out: Path,
    run_directory: Path,
    restart: bool,
    when_changed: WhenChanged,
    stop: StopRequest,
    processes: Processes,
) -> None:
    """Train one model to a model directory; the first process holds the run directory and writes.

    Raises InUse if another run has the directory, UserError if its checkpoints are of another
    configuration or data, Interrupted if asked to stop.
    """
    with locked(run_directory) if processes.leads else nullcontext():
        train_set, val_set = visible_datasets(graphs, split)
        identity = identity_of(config, train_set, val_set, seed)
        if processes.leads:
            remove_left_overs(out)
            checkpoints = open_checkpoints(run_directory, identity, restart, when_changed)
        else:
            checkpoints = Checkpoints(run_directory, identity)
        model = train_model(
            config,
            train_set,
            val_set,
            seed,
            processes.device,
            out / "metrics.jsonl",
            checkpoints=checkpoints,
            stop=stop,
            processes=processes,
        )
        if processes.leads:
            save_model(model, out)


def train_model(
    config: Config,
    train_set: GraphDataset,
    val_set: GraphDataset,
    seed: int,
    device: torch.device,
    metrics_path: Path | None = None,
    each_epoch: Callable[[Metrics], None] = lambda metrics: None,
    checkpoints: Checkpoints | None = None,
    stop: StopRequest | None = None,
    processes: Processes | None = None,
) -> TrainedModel:
    """Train for config.training.epochs and return the (averaged) model.

    With ``checkpoints`` it goes on from the newest and writes more. ``stop`` makes it save and raise
    Interrupted. ``each_epoch`` sees the metrics of every epoch and may stop the run by raising.
    """
    processes = processes or Processes(device)
    trainer = Trainer(
        config.encoder_settings, config.training, train_set, val_set, seed, device, processes
    )
    run = Run(trainer, checkpoints, stop or StopRequest())
    lines = run.resume()
    events = None
    if config.training.tensorboard and processes.leads and checkpoints:
        events = checkpoints.folder / "tensorboard"
    metrics_log = MetricsLog(metrics_path if processes.leads else None, lines, events)
    for epoch in range(trainer.next_epoch, config.training.epochs):
        metrics = trainer.epoch(epoch, run.after_step, run.each_val_batch)
        metrics_log.add(metrics)
        run.lines = metrics_log.lines
        log.info("%s", run.pace.at_end(metrics))
        run.after_epoch()
        each_epoch(metrics)
    return finished_model(config, trainer, seed, metrics_log.lines[-1])


class Run:
    """When the state of a trainer is saved, and when the run stops."""

    def __init__(self, trainer: Trainer, checkpoints: Checkpoints | None, stop: StopRequest):
        self.trainer, self.checkpoints, self.stop = trainer, checkpoints, stop
        self.lines: list[Metrics] = []
        self.saved: Path | None = None
        if checkpoints is not None and trainer.processes.leads:
            trainer.write_down = checkpoints.write_nonfinite

    def resume(self) -> list[Metrics]:
        """Go on from the newest checkpoint, if there is one; returns the metrics so far."""
        trainer = self.trainer
        processes, training = trainer.processes, trainer.training
        found = None
        if self.checkpoints is not None:
            newest = self.checkpoints.newest() if processes.leads else None
            where = processes.from_leader(str(newest) if newest else None)
            found = Path(where) if where else None
        crystals, done = len(trainer.train_set), 0
        name = f"seed {trainer.seed}, {crystals} training crystals on {trainer.device}"
        if processes.size > 1:
            name += f" x {processes.size} processes"
        if found is None:
            log.info("%s: starting at epoch 1", name)
        else:
            snapshot = read_snapshot(found)
            restore(trainer, snapshot)
            self.saved = found
            self.lines = snapshot.values["lines"]
            done = trainer.next_epoch * crystals
            done += trainer.current.crystals if trainer.current else 0
            log.info("%s: going on after %d steps, from %s", name, trainer.step, found)
        self.pace = Pace(trainer.seed, training.epochs, crystals, done)
        self.last_save = time.monotonic()
        return self.lines

    def after_step(self) -> None:
        """Save if it is time or a process was asked to stop; then raise Interrupted."""
        trainer = self.trainer
        if trainer.step % trainer.read_every == 0:
            trainer.read_flags()
            self.stop_if_asked()
        minutes = (time.monotonic() - self.last_save) / 60
        if self.checkpoints and minutes >= trainer.training.checkpoint_minutes:
            self.save()
        if self.pace.due() and trainer.current:
            log.info("%s", self.pace.inside(trainer.current))

    def after_epoch(self) -> None:
        """Save, and stop if asked to."""
        self.save()
        self.stop_if_asked()

    def each_val_batch(self) -> None:
        """Stop if asked to; several processes cannot agree on that in the midst of a validation."""
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


def finished_model(config: Config, trainer: Trainer, seed: int, last: Metrics) -> TrainedModel:
    """The model directory's content."""
    train_set = trainer.train_set
    names = train_set.manifest["targets"].items()
    statistics = zip(names, trainer.mean_T.tolist(), trainer.std_T.tolist(), strict=True)
    targets = tuple(Target(name, unit, mean, std) for (name, unit), mean, std in statistics)
    history = {
        "seed": seed,
        "training": config.training.model_dump(mode="json"),
        "training_crystals": len(train_set),
        "data_manifest_hash": hash_of(train_set.manifest),
        "config_hash": hash_of_config(config),
        "last_epoch": last,
        **origin(config.training),
    }
    cutoff = train_set.manifest["cutoff_angstrom"]
    return TrainedModel(copy.deepcopy(trainer.result).eval(), cutoff, targets, history)


def identity_of(
    config: Config, train_set: GraphDataset, val_set: GraphDataset, seed: int
) -> dict[str, Any]:
    """What makes a training the one it is: a checkpoint is only used by the same."""
    manifest = train_set.manifest
    data = {key: value for key, value in manifest.items() if not isinstance(value, list)}
    return {
        "settings": stage_settings(config, "train"),
        "seed": seed,
        **origin(config.training),
        "data": {
            **data,
            "manifest_hash": hash_of(manifest),
            "train_ids_hash": hash_of(train_set.ids),
            "val_ids_hash": hash_of(val_set.ids),
        },
    }
