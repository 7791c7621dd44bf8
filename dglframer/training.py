"""Training one model: AdamW, L1 loss, inverse-square-root rate, clipping, weight averaging.

The recipe is that of the CrystalFramer paper (docs/model.md, section 8).
"""

import copy
import json
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from dglframer.checkpoint import Target, TrainedModel
from dglframer.config import Config, ModelConfig, TrainingConfig
from dglframer.dataset import GraphDataset
from dglframer.errors import UserError
from dglframer.files import hash_of
from dglframer.loading import EpochShuffle, batches, calibration_batch, moved, prefetched
from dglframer.model import CrystalFramer, calibrate, initialise

log = logging.getLogger(__name__)

Metrics = dict[str, Any]

EDGES_PER_PREDICTION = 200_000  # bounds the memory of a batch to well under a gigabyte


def pick_device(name: str = "auto") -> torch.device:
    """The device to compute on; auto takes a CUDA device if torch can use one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def make_reproducible(threads: int, device: torch.device) -> None:
    """Fix what makes two runs on one machine differ: thread count and kernel choice."""
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=device.type != "cpu")


def optimizer_for(network: nn.Module, training: TrainingConfig) -> torch.optim.AdamW:
    """AdamW (0.9, 0.98) with the decay of weights and of biases apart."""
    named = list(network.named_parameters())
    groups = [
        {
            "params": [p for name, p in named if not name.endswith("bias")],
            "weight_decay": training.weight_decay,
        },
        {
            "params": [p for name, p in named if name.endswith("bias")],
            "weight_decay": training.bias_decay,
        },
    ]
    return torch.optim.AdamW(groups, lr=training.learning_rate, betas=(0.9, 0.98), eps=1e-8)


def rate_factor(step: int, training: TrainingConfig) -> float:
    """sqrt(T / (T + t)) after t optimiser steps."""
    return math.sqrt(training.decay_steps / (training.decay_steps + step))


def l1_loss(output_BT: Tensor, target_BT: Tensor) -> Tensor:
    """Mean over crystals, sum over targets, of the absolute error in normalised units."""
    return (output_BT - target_BT).abs().mean(0).sum()


class Trainer:
    """One network on its way through the epochs."""

    def __init__(
        self,
        model: ModelConfig,
        training: TrainingConfig,
        train_set: GraphDataset,
        val_set: GraphDataset,
        seed: int,
        device: torch.device,
    ):
        self.training, self.seed, self.device = training, seed, device
        self.train_set, self.val_set = train_set, val_set
        self.mean_T, self.std_T = train_set.target_statistics()
        if not (self.std_T > 0).all():
            raise UserError("a target has the same value for every training crystal")
        self.network = initialise(CrystalFramer(model, len(self.mean_T)), seed).to(device)
        calibrate(self.network, moved(calibration_batch(train_set, seed), device))
        self.averaged: AveragedModel | None = None
        self.optimizer = optimizer_for(self.network, training)
        self.shuffle = EpochShuffle(len(train_set), seed)
        self.step = 0

    @property
    def result(self) -> CrystalFramer:
        """The averaged network once averaging has begun, the current one before."""
        network = self.network if self.averaged is None else self.averaged.module
        assert isinstance(network, CrystalFramer)
        return network

    def epoch(self, epoch: int) -> Metrics:
        """Train for one epoch, validate, and return the epoch's metrics."""
        started = time.perf_counter()
        averaging = epoch >= self.training.epochs - self.training.averaged_epochs
        if averaging and self.averaged is None:
            self.averaged = AveragedModel(self.network)
        self.shuffle.epoch = epoch
        loader = batches(
            self.train_set,
            self.training.batch_size,
            self.shuffle,
            self.training.edges_per_batch,
        )
        losses = []
        working = 0.0
        for batch in prefetched(loader, self.device):
            resumed = time.perf_counter()
            losses.append(self.train_step(batch, averaging) * len(batch.ids))
            working += time.perf_counter() - resumed
        trained = time.perf_counter()
        val_mae_T = np.abs(predict(self.result, self.val_set, self.device) - self.targets()).mean(0)
        return {
            "epoch": epoch + 1,
            "step": self.step,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "averaged": averaging,
            "train_loss": sum(losses) / len(self.train_set),
            "val_loss": float(val_mae_T.sum()),
            "val_mae": dict(
                zip(
                    self.train_set.manifest["targets"],
                    (val_mae_T * self.std_T).tolist(),
                    strict=True,
                )
            ),
            "train_seconds": round(trained - started, 3),
            "waiting_seconds": round(trained - started - working, 3),
            "val_seconds": round(time.perf_counter() - trained, 3),
        }

    def train_step(self, batch: Any, averaging: bool) -> float:
        """One optimiser step; raises UserError with the batch's ids if the loss is not finite."""
        target_BT = (batch.targets_BT.cpu() - torch.from_numpy(self.mean_T)) / torch.from_numpy(
            self.std_T
        )
        loss = l1_loss(self.network(batch), target_BT.to(self.device, torch.float32))
        if not torch.isfinite(loss):
            raise UserError(f"step {self.step}: loss is {loss.item()} for {', '.join(batch.ids)}")
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(
            self.network.parameters(), self.training.gradient_clip_norm, error_if_nonfinite=True
        )
        if not averaging:  # the rate is frozen while weights are averaged
            for group in self.optimizer.param_groups:
                group["lr"] = self.training.learning_rate * rate_factor(self.step, self.training)
        self.optimizer.step()
        self.step += 1
        if self.averaged is not None:
            self.averaged.update_parameters(self.network)
        return loss.item()

    def targets(self) -> np.ndarray:
        """Normalised targets of the validation set, [G, T]."""
        return (self.val_set.targets[self.val_set.rows] - self.mean_T) / self.std_T


@torch.no_grad()
def predict(
    network: CrystalFramer, dataset: GraphDataset, device: torch.device, batch_size: int = 32
) -> np.ndarray:
    """Normalised predictions [G, T], float64, in the dataset's order."""
    network.eval()
    loader = batches(dataset, batch_size, edge_budget=EDGES_PER_PREDICTION)
    parts = [network(batch).double().cpu() for batch in prefetched(loader, device)]
    network.train()
    return torch.cat(parts).numpy()


def train_model(
    config: Config,
    train_set: GraphDataset,
    val_set: GraphDataset,
    seed: int,
    device: torch.device,
    metrics_path: Path | None = None,
    each_epoch: Callable[[Metrics], None] = lambda metrics: None,
) -> TrainedModel:
    """Train for config.training.epochs and return the (averaged) model.

    ``each_epoch`` sees the metrics of every epoch and may stop the run by raising.
    """
    trainer = Trainer(config.model, config.training, train_set, val_set, seed, device)
    log.info("seed %d: %d training crystals on %s", seed, len(train_set), device)
    started = time.perf_counter()
    lines: list[Metrics] = []
    for epoch in range(config.training.epochs):
        metrics = trainer.epoch(epoch)
        lines.append(metrics)
        if metrics_path is not None:
            append_line(metrics_path, metrics, first=epoch == 0)
        log.info("%s", progress_line(seed, metrics, config.training, started, len(train_set)))
        each_epoch(metrics)
    names = train_set.manifest["targets"].items()
    statistics = zip(names, trainer.mean_T.tolist(), trainer.std_T.tolist(), strict=True)
    targets = tuple(Target(name, unit, mean, std) for (name, unit), mean, std in statistics)
    history = {
        "seed": seed,
        "training": config.training.model_dump(mode="json"),
        "training_crystals": len(train_set),
        "data_manifest_hash": hash_of(train_set.manifest),
        "config_hash": hash_of(config.model_dump(mode="json")),
        "last_epoch": lines[-1],
    }
    cutoff = train_set.manifest["cutoff_angstrom"]
    return TrainedModel(copy.deepcopy(trainer.result).eval(), cutoff, targets, history)


def append_line(path: Path, metrics: Metrics, first: bool) -> None:
    """Add one JSON line; the first starts the file anew."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w" if first else "a", encoding="utf-8") as handle:
        handle.write(json.dumps(metrics) + "\n")


def progress_line(
    seed: int, metrics: Metrics, training: TrainingConfig, started: float, crystals: int
) -> str:
    """Epoch, losses, rate and time left, for a person to watch."""
    done = metrics["epoch"] / training.epochs
    left = (time.perf_counter() - started) * (1 / done - 1)
    maes = ", ".join(f"{name} {value:.4f}" for name, value in metrics["val_mae"].items())
    return (
        f"seed {seed} epoch {metrics['epoch']}/{training.epochs}  "
        f"train loss {metrics['train_loss']:.4f}  val MAE {maes}  "
        f"{crystals / metrics['train_seconds']:.0f} crystals/s  {left:.0f} s left"
    )
