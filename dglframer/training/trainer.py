"""One network on its way through the epochs: steps, weight averaging, validation.

A step's loss, and whether it was finite, stay on the device and are read now and then. Between two
steps the trainer can be saved and restored (``run_state``).
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
from dglframer.config.networks import EncoderConfig
from dglframer.config.training import TrainingConfig
from dglframer.graphs.batch import Batch
from dglframer.graphs.dataset import GraphDataset
from dglframer.graphs.loading import (
    BudgetedBatches,
    EpochShuffle,
    batches,
    calibration_batch,
    graph_loader,
    moved,
    prefetched,
)
from dglframer.networks.base import PropertyNetwork
from dglframer.networks.build import build
from dglframer.training.distributed import Processes, parts_by_edges
from dglframer.training.metrics import Metrics
from dglframer.training.optimiser import (
    clip_and_step,
    is_out_of_memory,
    loss_and_gradients,
    optimizer_for,
    rate_factor,
)
from dglframer.training.prepare import adopt_weights, freeze, starting_model, statistics
from dglframer.training.snapshot import EpochState

log = logging.getLogger(__name__)

EDGES_PER_PREDICTION = 200_000  # bounds the memory of a batch to well under a gigabyte
STEPS_BETWEEN_READINGS = 16  # of a GPU, which would have to be waited for


class Trainer:
    """One network on its way through the epochs."""

    def __init__(
        self,
        model: EncoderConfig,
        training: TrainingConfig,
        train_set: GraphDataset,
        val_set: GraphDataset,
        seed: int,
        device: torch.device,
        processes: Processes | None = None,
    ):
        self.training, self.seed, self.device = training, seed, device
        self.processes = processes or Processes(device)
        train_set = train_set.at_most(training.max_atoms)
        self.train_set, self.val_set = train_set, val_set
        self.edges_G = train_set.edge_counts()
        start = starting_model(model, training, train_set)
        self.mean_T, self.std_T = statistics(training, start, train_set)
        self.network = build(model, len(self.mean_T)).draw(seed).to(device)
        if start is None:
            self.network.calibrate(moved(calibration_batch(train_set, seed), device))
        else:
            adopt_weights(self.network, start, train_set)
        freeze(self.network, training.freeze)
        self.statistics_2T = torch.tensor(np.stack([self.mean_T, self.std_T])).to(device)
        self.averaged: AveragedModel | None = None
        self.optimizer = optimizer_for(self.network, training)
        self.parameters = [p for p in self.network.parameters() if p.requires_grad]
        self.current: EpochState | None = None
        self.next_epoch = 0
        self.step = 0
        self.best: Metrics = {}
        self.nonfinite: list[dict[str, Any]] = []  # {step, ids} of the steps left out
        self.write_down: Callable[[list[dict[str, Any]]], None] = lambda nonfinite: None
        self.unread: list[tuple[int, tuple[str, ...], Tensor]] = []
        self.read_every = 1 if device.type == "cpu" else STEPS_BETWEEN_READINGS

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

        ``after_step`` may save a snapshot and raise, ``each_val_batch`` too.
        """
        averaging = epoch >= self.training.epochs - self.training.averaged_epochs
        if averaging and self.averaged is None:
            self.averaged = AveragedModel(self.network)
        current = self.begin(epoch)
        portions = self.portions(current)
        mine = [self.my_part(portion) for portion in portions]
        loader = graph_loader(self.train_set, [part for part, _ in mine])
        resumed, resumed_cpu = time.perf_counter(), time.process_time()
        for portion, (_, share), batch in zip(
            portions, mine, prefetched(loader, self.device), strict=True
        ):
            received = time.perf_counter()
            current.waiting_seconds += received - resumed
            ids = tuple(self.train_set.ids[index] for index in portion)
            self.train_step(batch, averaging, share, ids)
            current.batch += 1
            current.crystals += len(portion)
            current.train_seconds += time.perf_counter() - resumed
            current.cpu_seconds += time.process_time() - resumed_cpu
            after_step()
            resumed, resumed_cpu = time.perf_counter(), time.process_time()
        self.read_flags()
        started = time.perf_counter()
        val_mae_T = self.validate(each_val_batch)
        loss_sum, crystals = current.sums_2.tolist()
        if not crystals:
            raise TrainingFailed(f"epoch {epoch + 1}: no step had a finite loss and gradient")
        metrics = {
            "epoch": epoch + 1,
            "step": self.step,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "averaged": averaging,
            "train_loss": loss_sum / crystals,
            "val_loss": float(val_mae_T.sum()),
            "val_mae": dict(
                zip(
                    self.train_set.manifest["targets"],
                    (val_mae_T * self.std_T).tolist(),
                    strict=True,
                )
            ),
            "nonfinite_steps": len(self.nonfinite),
            "split_batches": current.splits,
            "train_seconds": round(current.train_seconds, 3),
            "waiting_seconds": round(current.waiting_seconds, 3),
            "cpu_seconds": round(current.cpu_seconds, 3),
            "val_seconds": round(time.perf_counter() - started, 3),
        }
        if metrics["val_loss"] < self.best.get("val_loss", float("inf")):
            self.best = {key: metrics[key] for key in ("epoch", "val_loss")}
        self.current, self.next_epoch = None, epoch + 1
        return metrics

    def begin(self, epoch: int) -> EpochState:
        """The state of an epoch: as it was left, or new."""
        if self.current is None or self.current.number != epoch:
            shuffle = EpochShuffle(len(self.train_set), self.seed)
            shuffle.epoch = epoch
            sums_2 = torch.zeros(2, dtype=torch.float64, device=self.device)
            self.current = EpochState(epoch, np.fromiter(shuffle, np.int64), sums_2)
        return self.current

    def portions(self, current: EpochState) -> list[np.ndarray]:
        """The batches of the epoch that are still to come, as indices, of all processes together."""
        training = self.training
        portions = list(
            BudgetedBatches(
                current.order_G,
                training.batch_size,
                (self.edges_G, training.edges_per_batch),
                (self.train_set.atom_counts(), training.atoms_per_batch),
            )
        )
        if training.drop_last and len(portions) > 1 and len(portions[-1]) < training.batch_size:
            portions.pop()
        return portions[current.batch :]

    def my_part(self, portion: np.ndarray) -> tuple[np.ndarray, float]:
        """What this process computes of a batch, and the share that has in its loss.

        Where there is nothing left for it, it computes one crystal that counts for nothing.
        """
        if self.processes.size == 1:
            return portion, 1.0
        part = parts_by_edges(portion, self.edges_G, self.processes.size)[self.processes.rank]
        return part if len(part) else portion[:1], len(part) / len(portion)

    def train_step(
        self, batch: Batch, averaging: bool, share: float = 1.0, ids: Sequence[str] = ()
    ) -> Tensor:
        """One optimiser step; returns the loss, a scalar on the device.

        ``share``: of this process's batch in the whole, whose crystals are ``ids``. If the loss or
        a gradient is not finite the step changes nothing; ``read_flags`` speaks of it later.
        """
        loss, *gradients = self.processes.sum(self.gradients(batch, share))
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient.contiguous()  # the fused optimiser goes by memory order
        if not averaging:  # the rate is frozen while weights are averaged
            for group in self.optimizer.param_groups:
                group["lr"] = self.training.learning_rate * rate_factor(self.step, self.training)
        finite = clip_and_step(self.optimizer, self.training.gradient_clip_norm, loss)
        ids = tuple(ids) or batch.ids
        if self.current is not None:
            seen_2 = torch.stack([loss.double(), torch.ones_like(loss, dtype=torch.float64)])
            self.current.sums_2 += torch.where(finite, seen_2 * len(ids), 0.0)
        self.unread.append((self.step, ids, finite))
        self.step += 1
        if self.averaged is not None:
            self.averaged.update_parameters(self.network)
        return loss

    def gradients(self, batch: Batch, share: float) -> list[Tensor]:
        """Loss and gradients; a batch that does not fit into the memory is halved until it does."""
        try:
            target_BT = self.normalised(batch)
            precision = self.training.precision
            return loss_and_gradients(
                self.network, self.parameters, batch, target_BT, share, precision
            )
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if len(batch.ids) == 1:
                raise TrainingFailed(f"{batch.ids[0]} alone does not fit into the memory") from None
        # Here, outside the handler, what the attempt held is free.
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
            results.append(self.gradients(part, share * len(half) / len(batch.ids)))
        return [first + second for first, second in zip(*results, strict=True)]

    def normalised(self, batch: Batch) -> Tensor:
        """The batch's targets in normalised units, [B, T], float32."""
        assert batch.targets_BT is not None
        mean_T, std_T = self.statistics_2T
        return ((batch.targets_BT - mean_T) / std_T).float()

    def read_flags(self) -> None:
        """Note which steps were left out since the last reading; raises UserError at too many."""
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
            self.write_down(self.nonfinite)
        if len(self.nonfinite) >= self.training.stop_after_nonfinite:
            last = self.nonfinite[-1]
            raise TrainingFailed(
                f"{len(self.nonfinite)} steps had a loss or gradient that is not finite; the last "
                f"is step {last['step']}: {', '.join(last['ids'])}"
            )

    def validate(self, each_batch: Callable[[], None] = lambda: None) -> np.ndarray:
        """Mean absolute error on the validation set of each target, [T], normalised units."""
        rank, size = self.processes.rank, self.processes.size
        mine = range(rank, len(self.val_set), size)
        error_T = torch.zeros(len(self.mean_T), dtype=torch.float64, device=self.device)
        if mine:
            output = predict(self.result, self.val_set, self.device, 32, mine, each_batch)
            error_T += torch.from_numpy(np.abs(output - self.targets()[mine]).sum(0)).to(
                self.device
            )
        [total_T] = self.processes.sum([error_T])
        return total_T.cpu().numpy() / len(self.val_set)

    def targets(self) -> np.ndarray:
        """Normalised targets of the validation set, [G, T]."""
        return (self.val_set.targets[self.val_set.rows] - self.mean_T) / self.std_T


@torch.no_grad()
def predict(
    network: PropertyNetwork,
    dataset: GraphDataset,
    device: torch.device,
    batch_size: int = 32,
    indices: Sequence[int] | None = None,
    each_batch: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Normalised predictions [G, T], float64, in the dataset's order or that of ``indices``."""
    network.eval()
    loader = batches(dataset, batch_size, indices, EDGES_PER_PREDICTION)
    parts = []
    for batch in prefetched(loader, device):
        parts.append(network(batch).double().cpu())
        each_batch()
    network.train()
    return torch.cat(parts).numpy()
