"""Predictions of a network for the graphs of a dataset."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from dglframer.config.networks import symmetry_group
from dglframer.graphs.batch import EDGES_PER_BATCH
from dglframer.graphs.dataset import GraphDataset
from dglframer.graphs.loading import batches, prefetched
from dglframer.networks.base import PropertyNetwork


@torch.no_grad()
def predict(
    network: PropertyNetwork,
    dataset: GraphDataset,
    device: torch.device,
    batch_size: int = 32,
    indices: Sequence[int] | None = None,
    each_batch: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Normalised predictions [G, T], float64, in the dataset's order or that of ``indices``.

    ``each_batch`` is called after each batch, and may raise. The network is left in training mode.
    """
    network.eval()
    dataset = dataset.in_group(symmetry_group(network.settings))
    loader = batches(dataset, batch_size, indices, EDGES_PER_BATCH)
    parts = []
    for batch in prefetched(loader, device):
        parts.append(network(batch).double().cpu())
        each_batch()
    network.train()
    return torch.cat(parts).numpy()
