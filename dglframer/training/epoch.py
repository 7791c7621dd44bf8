"""An epoch: the order of its crystals, its batches, each process's share, and how far it has come."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dglframer.config.training import TrainingConfig
from dglframer.graphs.dataset import GraphDataset
from dglframer.graphs.loading import BudgetedBatches, EpochShuffle
from dglframer.training.distributed import Processes, parts_by_edges


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


def begin_epoch(number: int, crystals: int, seed: int, device: torch.device) -> EpochState:
    """An epoch with nothing done. Its order follows from the seed and its number alone."""
    shuffle = EpochShuffle(crystals, seed)
    shuffle.epoch = number
    sums_2 = torch.zeros(2, dtype=torch.float64, device=device)
    return EpochState(number, np.fromiter(shuffle, np.int64), sums_2)


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
