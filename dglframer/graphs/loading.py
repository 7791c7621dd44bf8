"""The order and the batches in which the graphs of a dataset reach the network."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch.utils.data import Sampler

from dglframer.graphs.batch import Batch
from dglframer.graphs.dataset import GraphDataset
from dglframer.graphs.own_shards import WHOLE, Share


class EpochShuffle(Sampler):
    """A permutation that depends on seed and epoch alone; set ``epoch`` before each pass.

    With a ``share`` it is one of the crystals of that process, and depends on its rank and the number
    of processes as well.
    """

    def __init__(self, length: int, seed: int, share: Share = WHOLE):
        self.length, self.seed, self.epoch, self.share = length, seed, 0, share

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        of_process = list(self.share) if self.share.size > 1 else []
        generator = np.random.default_rng([self.seed, self.epoch, *of_process])
        return iter(generator.permutation(self.length).tolist())


class BudgetedBatches(Sampler):
    """A batch sampler: at most ``count`` indices each, closed before they exceed a budget.

    Every index comes once, in the order of ``indices``. A crystal larger than a budget is a batch of
    its own. ``budgets``: pairs of the sizes [G] (atoms or edges) and the limit for a batch, or None.
    """

    def __init__(self, indices: Iterable[int], count: int, *budgets: tuple[np.ndarray, int | None]):
        self.indices, self.count = indices, count
        self.budgets = [(sizes_G, limit) for sizes_G, limit in budgets if limit is not None]

    def __iter__(self) -> Iterator[np.ndarray]:
        order = np.fromiter(self.indices, np.int64)
        # sums of the sizes before each crystal, and of all
        totals = [
            (np.append(0, np.cumsum(sizes_G[order])), limit) for sizes_G, limit in self.budgets
        ]
        first = 0
        while first < len(order):
            stop = min(first + self.count, len(order))
            for up_to, limit in totals:
                stop = min(
                    stop, int(np.searchsorted(up_to, up_to[first] + limit, side="right")) - 1
                )
            stop = max(stop, first + 1)
            yield order[first:stop]
            first = stop


def batches(
    dataset: GraphDataset,
    batch_size: int,
    indices: Iterable[int] | None = None,
    edge_budget: int | None = None,
) -> Iterable[Batch]:
    """A loader over the dataset, or over ``indices`` in their order; a short last batch is kept."""
    order = range(len(dataset)) if indices is None else indices
    return graph_loader(
        dataset, BudgetedBatches(order, batch_size, (dataset.edge_counts(), edge_budget))
    )


def graph_loader(
    dataset: GraphDataset, batch_sampler: Iterable[Sequence[int] | np.ndarray]
) -> Iterable[Batch]:
    """DGL's GraphDataLoader over the batches of indices of ``batch_sampler``."""
    from dglframer.common.dgl_import import GraphDataLoader

    return GraphDataLoader(dataset, collate_fn=dataset.collate, batch_sampler=batch_sampler)


def prefetched(loader: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """The loader's batches on ``device``; a thread makes and moves the next one during the current one."""
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
    """A seeded sample of the dataset that does not depend on the batches."""
    chosen = np.random.default_rng([seed, 0xCA1]).permutation(len(dataset))[:crystals]
    return dataset.collate(dataset.rows[np.sort(chosen)])
