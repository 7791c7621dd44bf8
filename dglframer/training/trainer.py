"""The training of one prepared network, epoch by epoch: steps, weight averaging, validation.

The losses, and the flags of steps that were not finite, stay on the device and are read every few
steps. Between two steps the trainer can be saved and restored (``training/snapshot.py``).
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from dglframer.common.errors import TrainingFailed
from dglframer.common.transforms import undo
from dglframer.config.training import TrainingConfig
from dglframer.graphs.batch import Batch
from dglframer.graphs.loading import graph_loader, moved, prefetched
from dglframer.networks.base import PropertyNetwork
from dglframer.networks.inference import predict
from dglframer.training.distributed import Processes, parts_by_edges
from dglframer.training.epoch import EpochState, begin_epoch, remaining_steps
from dglframer.training.metrics import Metrics
from dglframer.training.optimiser import (
    clip_and_step,
    is_out_of_memory,
    loss_and_gradients,
    optimizers_for,
)
from dglframer.training.prepare import Prepared
from dglframer.training.schedule import averaged_exponentially, averaged_over_steps, rate_factor
from dglframer.training.target_reference import reference_values

log = logging.getLogger(__name__)

STEPS_BETWEEN_READINGS = 16  # on a GPU: a reading waits for the device


class Trainer:
    """Trains a prepared network, one epoch after the other."""

    def __init__(self, prepared: Prepared, training: TrainingConfig, processes: Processes):
        self.training, self.processes, self.device = training, processes, processes.device
        self.train_set, self.val_set = prepared.train_set, prepared.val_set
        self.edges_G = self.train_set.edge_counts()
        self.known_GT = self.train_set.known()
        self.own_shards = self.train_set.share.size > 1
        self.train_crystals, self.val_known_T = len(self.train_set), self.val_set.known().sum(0)
        if self.own_shards:
            self.train_crystals = int(processes.sum_of(self.train_crystals))
            self.val_known_T = processes.sum_of(self.val_known_T).astype(np.int64)
        self.network, self.seed = prepared.network, prepared.seed
        self.transforms = prepared.transforms
        self.mean_T, self.std_T = prepared.mean_T, prepared.std_T
        self.slopes_T = prepared.slopes_T
        pooling = self.network.settings.pooling
        self.val_reference_GT = reference_values(self.val_set, self.slopes_T, pooling)
        self.statistics_2T = torch.tensor(np.stack([self.mean_T, self.std_T])).to(self.device)
        self.averaged: AveragedModel | None = None
        if training.average_decay is not None and not training.averaged_epochs:
            self.averaged = averaged_exponentially(self.network, training.average_decay)
        self.optimizers = optimizers_for(self.network, training)
        self.parameters = [p for p in self.network.parameters() if p.requires_grad]
        self.current: EpochState | None = None
        self.next_epoch = 0
        self.step = 0
        self.best: Metrics = {}
        self.nonfinite: list[dict[str, Any]] = []  # {step, ids} of the steps that were left out
        self.write_nonfinite: Callable[[list[dict[str, Any]]], None] = lambda nonfinite: None
        self.unread: list[tuple[int, tuple[str, ...], Tensor]] = []
        self.read_every = 1 if self.device.type == "cpu" else STEPS_BETWEEN_READINGS

    @property
    def result(self) -> PropertyNetwork:
        """The averaged network once averaging has begun, the current one before."""
        network = self.network if self.averaged is None else self.averaged.module
        assert isinstance(network, PropertyNetwork)
        return network

    def epoch(
        self,
        epoch: int,
        after_step: Callable[[], None] = lambda: None,
        each_val_batch: Callable[[], None] = lambda: None,
    ) -> Metrics:
        """Train for one epoch, or the rest of it, validate, and return the epoch's metrics.

        ``after_step`` may save a snapshot and raise, ``each_val_batch`` too. Raises TrainingFailed
        if no step of the epoch was finite.
        """
        current = self.begin(epoch)
        averaging = epoch >= self.training.epochs - self.training.averaged_epochs  # a fixed rate
        if averaging and self.averaged is None:
            self.averaged = averaged_over_steps(self.network)
        self.take_steps(current, averaging, after_step)
        self.read_flags()
        started = time.perf_counter()
        val_2T = self.validate(each_val_batch)
        metrics = self.metrics_of(current, averaging, val_2T, time.perf_counter() - started)
        if metrics["val_loss"] < self.best.get("val_loss", float("inf")):
            self.best = {key: metrics[key] for key in ("epoch", "val_loss")}
        self.current, self.next_epoch = None, epoch + 1
        return metrics

    def begin(self, epoch: int) -> EpochState:
        """The state of an epoch: the restored one, or a new one."""
        if self.current is None or self.current.number != epoch:
            self.current = begin_epoch(
                epoch, len(self.train_set), self.seed, self.device, self.train_set.share
            )
        return self.current

    def take_steps(
        self, current: EpochState, averaging: bool, after_step: Callable[[], None]
    ) -> None:
        """Take the remaining steps of an epoch, and count batches, crystals and seconds."""
        steps = remaining_steps(
            current, self.train_set, self.training, self.processes, self.known_GT
        )
        loader = graph_loader(self.train_set, [step.own for step in steps])
        all_batches = current.batch + len(steps)
        resumed, resumed_cpu = time.perf_counter(), time.process_time()
        for step, batch in zip(steps, prefetched(loader, self.device), strict=True):
            received = time.perf_counter()
            current.waiting_seconds += received - resumed
            ids = tuple(self.train_set.ids[index] for index in step.named)
            done = (current.number + (current.batch + 0.5) / all_batches) / self.training.epochs
            weight_T = None if step.weight_T is None else step.weight_T.to(self.device)
            self.train_step(batch, averaging, step.share, ids, weight_T, done, step.crystals)
            current.batch += 1
            current.crystals += step.crystals
            current.train_seconds += time.perf_counter() - resumed
            current.cpu_seconds += time.process_time() - resumed_cpu
            after_step()
            resumed, resumed_cpu = time.perf_counter(), time.process_time()

    def metrics_of(
        self, current: EpochState, averaging: bool, val_2T: np.ndarray, val_seconds: float
    ) -> Metrics:
        """The line of metrics.jsonl of an epoch; ``val_2T``: what ``validate`` returns."""
        loss_sum, crystals = current.sums_2.tolist()
        if not crystals:
            raise TrainingFailed(
                f"epoch {current.number + 1}: no step had a finite loss and gradient"
            )
        targets = self.train_set.manifest["targets"]
        return {
            "epoch": current.number + 1,
            "step": self.step,
            "learning_rate": self.optimizers[0].param_groups[0]["lr"],
            "averaged": averaging,
            "train_loss": loss_sum / crystals,
            "val_loss": float(val_2T[0].sum()),
            "val_mae": dict(zip(targets, val_2T[1].tolist(), strict=True)),
            "val_labels": dict(zip(targets, self.val_known_T.tolist(), strict=True)),
            "nonfinite_steps": len(self.nonfinite),
            "split_batches": current.splits,
            "train_seconds": round(current.train_seconds, 3),
            "waiting_seconds": round(current.waiting_seconds, 3),
            "cpu_seconds": round(current.cpu_seconds, 3),
            "val_seconds": round(val_seconds, 3),
        }

    def train_step(
        self,
        batch: Batch,
        averaging: bool,
        share: float = 1.0,
        ids: Sequence[str] = (),
        weight_T: Tensor | None = None,
        done: float = 0.0,
        crystals: int | None = None,
    ) -> Tensor:
        """Take one optimiser step; returns the loss, a scalar on the device.

        ``share`` is the weight of this process's batch in the whole batch, ``ids`` are the crystals
        of the whole, ``crystals`` is their number if not all have ids here, ``weight_T`` the weights of
        its targets, ``done`` the share of the training that lies behind. If the loss or a gradient is
        not finite the step changes nothing; ``read_flags`` reports it later.
        """
        loss, *gradients = self.processes.sum(self.gradients(batch, share, weight_T))
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient.contiguous()  # the fused optimiser goes by memory order
        if not averaging:  # the rate is frozen while weights are averaged
            factor = rate_factor(self.step, done, self.training)
            for optimizer in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = group["initial_lr"] * factor
        finite = clip_and_step(self.optimizers, self.training.gradient_clip_norm, loss)
        ids = tuple(ids) or batch.ids
        if self.current is not None:
            seen_2 = torch.stack([loss.double(), torch.ones_like(loss, dtype=torch.float64)])
            self.current.sums_2 += torch.where(finite, seen_2 * (crystals or len(ids)), 0.0)
        self.unread.append((self.step, ids, finite))
        self.step += 1
        if self.averaged is not None and finite:  # torch's average waits for the device as well
            self.averaged.update_parameters(self.network)
        return loss

    def gradients(self, batch: Batch, share: float, weight_T: Tensor | None = None) -> list[Tensor]:
        """Loss and gradients. A batch that does not fit into the memory is halved until it does."""
        try:
            target_BT = self.normalised(batch)
            precision = self.training.precision
            return loss_and_gradients(
                self.network, self.parameters, batch, target_BT, share, precision, weight_T
            )
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if len(batch.ids) == 1:
                raise TrainingFailed(f"{batch.ids[0]} alone does not fit into the memory") from None
        # Outside the handler the memory of the failed attempt is free again.
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        log.warning("step %d: out of memory, %d crystals in halves", self.step, len(batch.ids))
        if self.current is not None:
            self.current.splits += 1
        index_of = {id: index for index, id in enumerate(self.train_set.ids)}
        indices = np.array([index_of[id] for id in batch.ids])
        halves = parts_by_edges(indices, self.edges_G, 2)
        results = []
        for half in halves:
            rows = [self.train_set[index] for index in half]
            part = moved(self.train_set.collate(rows), self.device)
            results.append(self.gradients(part, share * len(half) / len(batch.ids), weight_T))
        return [first + second for first, second in zip(*results, strict=True)]

    def normalised(self, batch: Batch) -> Tensor:
        """The batch's targets in normalised units, [B, T], float32."""
        assert batch.targets_BT is not None
        mean_T, std_T = self.statistics_2T
        return ((batch.targets_BT - mean_T) / std_T).float()

    def read_flags(self) -> None:
        """Record the steps that were left out since the last reading.

        Raises TrainingFailed if there are ``training.stop_after_nonfinite`` of them in all.
        """
        if not self.unread:
            return
        flags = torch.stack([finite for _, _, finite in self.unread]).tolist()
        bad = [(step, ids) for (step, ids, _), finite in zip(self.unread, flags, strict=True)
               if not finite]  # fmt: skip
        self.unread.clear()
        for step, ids in bad:
            self.nonfinite.append({"step": step, "ids": list(ids)})
            log.warning("step %d left out, loss or gradient not finite: %s", step, ", ".join(ids))
        if bad:
            self.write_nonfinite(self.nonfinite)
        if len(self.nonfinite) >= self.training.stop_after_nonfinite:
            last = self.nonfinite[-1]
            raise TrainingFailed(
                f"{len(self.nonfinite)} steps had a loss or gradient that is not finite; the last "
                f"is step {last['step']}: {', '.join(last['ids'])}"
            )

    def validate(self, each_batch: Callable[[], None] = lambda: None) -> np.ndarray:
        """Mean absolute errors of each target over its known labels in the validation set.

        [2, T]: in normalised units (of transformed targets: of what is learned), in the user's unit.
        """
        rank, size = self.processes.rank, self.processes.size
        own = range(len(self.val_set)) if self.own_shards else range(rank, len(self.val_set), size)
        sums_2T = torch.zeros(2, len(self.mean_T), dtype=torch.float64, device=self.device)
        if own:
            output_GT = predict(self.result, self.val_set, self.device, 32, own, each_batch)
            learned_GT = self.val_set.targets[self.val_set.rows[own]]
            errors_2GT = np.abs(
                [
                    output_GT - (learned_GT - self.mean_T) / self.std_T,
                    self.in_user_units(output_GT * self.std_T + self.mean_T, own)
                    - self.in_user_units(learned_GT, own),
                ]
            )
            known_GT = self.val_set.known()[own]
            sums_2T += torch.from_numpy(np.where(known_GT, errors_2GT, 0).sum(1)).to(self.device)
        [total_2T] = self.processes.sum([sums_2T])
        return total_2T.cpu().numpy() / self.val_known_T

    def in_user_units(self, learned_GT: np.ndarray, own: range) -> np.ndarray:
        """What is learned of the validation crystals ``own``, with references and without transforms."""
        if self.val_reference_GT is not None:
            learned_GT = learned_GT + self.val_reference_GT[own]
        columns = zip(self.transforms, learned_GT.T, strict=True)
        return np.stack([undo(transform, values_G) for transform, values_G in columns], axis=1)
