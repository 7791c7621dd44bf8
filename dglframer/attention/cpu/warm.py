"""Compile the loops for CPUs before anybody waits for them; numba keeps them in its cache."""

import time

import numpy as np
import torch

from dglframer.attention.cpu.attention import CpuAttention
from dglframer.config.networks import CrystalFramerConfig
from dglframer.graphs.batch import batch_graphs
from dglframer.structures.crystal import Crystal
from dglframer.structures.periodic_graph import build_graph


def compile_loops() -> float:
    """The graph of a crystal, and a forward and a backward pass over it in float32; returns the seconds."""
    started = time.perf_counter()
    sites_N3 = np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]])  # equivalent ones: their loops run, too
    crystal = Crystal("warm", np.array([1, 1], np.int16), 3 * np.eye(3), sites_N3, {})
    batch = batch_graphs([build_graph(crystal, 3.0)], group="proper").without_dgl()
    settings = CrystalFramerConfig(heads=1, width=1)
    q, k, v = (torch.ones(1, 1, 1, requires_grad=True) for _ in range(3))
    sums = CpuAttention(batch, settings)(q, k, v, torch.ones(1, 1))
    torch.cat([part.flatten() for part in sums]).sum().backward()
    return time.perf_counter() - started
