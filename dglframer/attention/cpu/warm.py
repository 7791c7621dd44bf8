"""Compile the loops of the CPU backend before anybody waits for them; numba keeps them in its cache."""

import time

import numpy as np
import torch

from dglframer.attention.cpu.attention import CpuAttention
from dglframer.config.networks import CrystalFramerConfig
from dglframer.graphs.batch import Batch, pointers


def compile_loops() -> float:
    """One forward and one backward pass over an atom and its image, in float32; returns the seconds."""
    started = time.perf_counter()
    zero_E = torch.zeros(2, dtype=torch.int64)
    batch = Batch(
        numbers_N=torch.ones(1, dtype=torch.int64),
        src_E=zero_E,
        dst_E=zero_E,
        r_E3=torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 2.0]]),
        edge_ptr=pointers(torch.tensor([2])),
        atoms_B=torch.ones(1, dtype=torch.int64),
        lattice_B33=torch.from_numpy(2 * np.eye(3, dtype=np.float32)).unsqueeze(0),
        coords_N3=torch.zeros(1, 3),
        use_dgl=False,
    )
    settings = CrystalFramerConfig(heads=1, width=1)
    q, k, v = (torch.ones(1, 1, 1, requires_grad=True) for _ in range(3))
    sums = CpuAttention(batch, settings)(q, k, v, torch.ones(1, 1))
    torch.cat([part.flatten() for part in sums]).sum().backward()
    return time.perf_counter() - started
