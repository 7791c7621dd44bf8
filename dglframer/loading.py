"""In which order and in what portions the graphs of a dataset reach the network."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch.utils.data import Sampler

from dglframer.batch import Batch
from dglframer.dataset import GraphDataset


class EpochShuffle(Sampler):
    """A permutation that depends on (seed, epoch) alone; set ``epoch`` before each pass."""

    def __init__(self, length: int, seed: int):
        self.length, self.seed, self.epoch = length, seed, 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        generator = np.random.default_rng([self.seed, self.epoch])
        return iter(generator.permutation(self.length).tolist())


class Portions(Sampler):
    """Arrays of at most ``count`` indices, closed before their edges exceed ``edge_budget``.

    Every index comes once, in the order of ``indices``; a crystal larger than the budget is a
    portion of its own.
    """

    def __init__(
        self, indices: Iterable[int], edges_G: np.ndarray, count: int, edge_budget: int | None
    ):
        self.indices, self.edges_G = indices, edges_G
        self.count, self.edge_budget = count, edge_budget or int(edges_G.sum())

    def __iter__(self) -> Iterator[np.ndarray]:
        order = np.fromiter(self.indices, np.int64)
        edges_after = np.cumsum(self.edges_G[order])  # of all crystals up to each, itself included
        first = edges_before = 0
        while first < len(order):
            fitting = np.searchsorted(edges_after, edges_before + self.edge_budget, side="right")
            stop = max(first + 1, min(int(fitting), first + self.count))
            yield order[first:stop]
            first, edges_before = stop, edges_after[stop - 1]


def batches(
    dataset: GraphDataset,
    batch_size: int,
    indices: Iterable[int] | None = None,
    edge_budget: int | None = None,
) -> Iterable[Batch]:
    """A loader over the dataset, or the given indices in their order; a short last batch is kept."""
    order = range(len(dataset)) if indices is None else indices
    return graph_loader(dataset, Portions(order, dataset.edge_counts(), batch_size, edge_budget))


def graph_loader(
    dataset: GraphDataset, portions: Iterable[Sequence[int] | np.ndarray]
) -> Iterable[Batch]:
    """A GraphDataLoader that makes one batch of each portion."""
    from dglframer.dgl_import import GraphDataLoader

    return GraphDataLoader(dataset, collate_fn=dataset.collate, batch_sampler=portions)


def prefetched(loader: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """The loader's batches on ``device``, each made and moved while the one before is worked on."""
    with ThreadPoolExecutor(1) as worker:
        source = iter(loader)

        def fetch() -> Batch | None:
            batch = next(source, None)
            return None if batch is None else moved(batch, device)

        pending = worker.submit(fetch)
        while (batch := pending.result()) is not None:
            pending = worker.submit(fetch)
            yield batch


def moved(batch: Batch, device: torch.device) -> Batch:
    """The batch on ``device``, through pinned memory; a CPU batch is returned as it is."""
    return batch if device.type == "cpu" else batch.pinned().to(device)


def calibration_batch(dataset: GraphDataset, seed: int, crystals: int = 64) -> Batch:
    """A fixed, seeded sample of the dataset, independent of how batches are drawn."""
    chosen = np.random.default_rng([seed, 0xCA1]).permutation(len(dataset))[:crystals]
    return dataset.collate(dataset.rows[np.sort(chosen)])
