"""An epoch: the order of its crystals, its batches, each process's share, and how far it has come."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dglframer.common.errors import UserError
from dglframer.config.training import TrainingConfig
from dglframer.graphs.dataset import GraphDataset
from dglframer.graphs.loading import BudgetedBatches, EpochShuffle
from dglframer.graphs.own_shards import WHOLE, Share
from dglframer.training.distributed import Processes, parts_by_edges
from dglframer.training.optimiser import label_weights, weights_of


@dataclass
class EpochState:
    """The order of an epoch's crystals, and the progress through it."""

    number: int
    order_G: np.ndarray
    sums_2: Tensor  # on the device, float64: loss x crystals, crystals; of the finite steps
    batch: int = 0  # batches done
    crystals: int = 0  # crystals in these batches
    splits: int = 0  # batches halved because the memory was too small
    train_seconds: float = 0.0
    waiting_seconds: float = 0.0
    cpu_seconds: float = 0.0  # of all threads of the process


@dataclass(frozen=True)
class Step:
    """One optimiser step as this process sees it."""

    own: np.ndarray  # indices of the crystals that it computes
    named: np.ndarray  # indices of the whole batch; with own shards only of those that it has
    share: float  # the weight of its crystals in the loss
    crystals: int  # of the whole batch
    weight_T: Tensor | None  # of the targets in the loss; None if no training label is missing


def begin_epoch(
    number: int, crystals: int, seed: int, device: torch.device, share: Share = WHOLE
) -> EpochState:
    """An epoch with nothing done.

    Its order follows from the seed and its number alone; that of the crystals of one process, which
    reads its own shards, also from its rank and the number of processes.
    """
    shuffle = EpochShuffle(crystals, seed, share)
    shuffle.epoch = number
    sums_2 = torch.zeros(2, dtype=torch.float64, device=device)
    return EpochState(number, np.fromiter(shuffle, np.int64), sums_2)


def remaining_steps(
    current: EpochState,
    train_set: GraphDataset,
    training: TrainingConfig,
    processes: Processes,
    known_GT: np.ndarray,
) -> list[Step]:
    """The steps of the epoch that are not done yet, equally many in all processes."""
    if train_set.share.size > 1:
        return own_steps(current, train_set, training, processes, known_GT)
    edges_G, every_label = train_set.edge_counts(), known_GT.all()
    steps = []
    for indices in remaining_batches(current, train_set, training):
        own, share = own_share(indices, edges_G, processes)
        weight_T = None if every_label else label_weights(known_GT[indices])
        steps.append(Step(own, indices, share, len(indices), weight_T))
    return steps


def own_steps(
    current: EpochState,
    train_set: GraphDataset,
    training: TrainingConfig,
    processes: Processes,
    known_GT: np.ndarray,
) -> list[Step]:
    """Steps of batches to which each process brings crystals of its own shards.

    Of ``batch_size`` crystals each process brings about the same number, and of the budgets it has
    its part. A process whose crystals are used up computes one of them again with weight 0. Raises
    UserError if there are more processes than crystals in a batch.
    """
    rank, size = processes.rank, processes.size
    count = training.batch_size // size + (rank < training.batch_size % size)
    if training.batch_size < size:
        raise UserError(f"training.batch_size: {training.batch_size} crystals, {size} processes")

    def part(budget: int | None) -> int | None:
        return None if budget is None else max(1, budget // size)

    batches = list(
        BudgetedBatches(
            current.order_G,
            count,
            (train_set.edge_counts(), part(training.edges_per_batch)),
            (train_set.atom_counts(), part(training.atoms_per_batch)),
        )
    )
    n_steps = int(processes.sum_of(np.eye(size)[rank] * len(batches)).max())
    sizes_SX = np.zeros(
        (n_steps, 1 + known_GT.shape[1])
    )  # crystals, and known labels of each target
    for step, indices in enumerate(batches):
        sizes_SX[step] = [len(indices), *known_GT[indices].sum(0)]
    sizes_SX = processes.sum_of(sizes_SX)
    every_label = (sizes_SX[:, 1:] == sizes_SX[:, :1]).all()
    if training.drop_last and n_steps > 1 and sizes_SX[-1, 0] < training.batch_size:
        n_steps -= 1
    steps = []
    for step in range(current.batch, n_steps):
        indices = batches[step] if step < len(batches) else current.order_G[:0]
        own = indices if len(indices) else current.order_G[:1]
        crystals, known_T = int(sizes_SX[step, 0]), sizes_SX[step, 1:]
        weight_T = None if every_label else weights_of(crystals, known_T)
        steps.append(Step(own, indices, len(indices) / crystals, crystals, weight_T))
    return steps


def remaining_batches(
    current: EpochState, train_set: GraphDataset, training: TrainingConfig
) -> list[np.ndarray]:
    """The batches of the epoch that are not done yet, as indices, for all processes together."""
    batches = list(
        BudgetedBatches(
            current.order_G,
            training.batch_size,
            (train_set.edge_counts(), training.edges_per_batch),
            (train_set.atom_counts(), training.atoms_per_batch),
        )
    )
    if training.drop_last and len(batches) > 1 and len(batches[-1]) < training.batch_size:
        batches.pop()
    return batches[current.batch :]


def own_share(
    indices: np.ndarray, edges_G: np.ndarray, processes: Processes
) -> tuple[np.ndarray, float]:
    """The crystals of a batch that this process computes, and their weight in the batch's loss.

    A process that gets no crystal computes the first one with weight 0.
    """
    if processes.size == 1:
        return indices, 1.0
    part = parts_by_edges(indices, edges_G, processes.size)[processes.rank]
    return part if len(part) else indices[:1], len(part) / len(indices)
