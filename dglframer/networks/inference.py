"""Predictions of a network for the graphs of a dataset."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from dglframer.common.threads import dense_layers
from dglframer.config.networks import symmetry_group
from dglframer.graphs.batch import EDGES_PER_BATCH
from dglframer.graphs.dataset import GraphDataset
from dglframer.graphs.loading import batches, prefetched
from dglframer.networks.base import PropertyNetwork


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
    return predict_and_embed(network, dataset, device, batch_size, indices, each_batch)[0]


@torch.no_grad()
def predict_and_embed(
    network: PropertyNetwork,
    dataset: GraphDataset,
    device: torch.device,
    batch_size: int = 32,
    indices: Sequence[int] | None = None,
    each_batch: Callable[[], None] = lambda: None,
    embed: bool = False,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Predictions as in ``predict``, and with ``embed`` what the head sees of each crystal, [G, W]."""
    network.eval()
    dataset = dataset.in_group(symmetry_group(network.settings))
    loader = batches(dataset, batch_size, indices, EDGES_PER_BATCH)
    outputs, vectors = [], []
    for batch in prefetched(loader, device):
        with dense_layers(network.dense_rows(batch)):
            vectors_BW = network.crystal_features(batch)
            outputs.append(network.head(vectors_BW).double().cpu())
        if embed:
            vectors.append(vectors_BW.cpu())
        each_batch()
    network.train()
    return torch.cat(outputs).numpy(), torch.cat(vectors).numpy() if embed else None
