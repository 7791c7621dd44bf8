"""The logarithms of the weights, and fixed frames as axes, from their definitions."""

import math

import torch
from helpers import crystals
from helpers.attention import random

from dglframer.attention.frames import single_frames
from dglframer.attention.reference.weights import log_weights
from dglframer.graphs.batch import batch_graphs
from dglframer.graphs.edge_ops import edge_ops
from dglframer.structures.periodic_graph import build_graph


def test_log_weights_by_definition():
    """q_i . k_j / sqrt(D) - decay_i |r|^2, edge by edge."""
    batch = batch_graphs([build_graph(crystals.triclinic(), 4.0)], torch.float64)
    atoms, heads, width = len(batch.numbers_N), 2, 5
    q, k = (random(atoms, heads, width, like=batch.r_E3, seed=seed) for seed in range(2))
    decay = random(atoms, heads, like=batch.r_E3, seed=2).abs()
    d2 = batch.r_E3.square().sum(-1)
    for ops in (edge_ops(batch), edge_ops(batch.without_dgl())):
        found = log_weights(ops, q, k, decay, d2, batch.dst_E)
        assert found.shape == (len(batch.src_E), heads)
        for e, (j, i) in enumerate(zip(batch.src_E, batch.dst_E, strict=True)):
            for h in range(heads):
                expected = float(q[i, h] @ k[j, h]) / math.sqrt(width) - float(decay[i, h] * d2[e])
                assert abs(found[e, h] - expected) < 1e-12


def test_a_single_frame_is_one_row_of_axes_for_each_atom():
    """Column = axis * heads + head."""
    frames = random(4, 2, 3, 3, like=torch.zeros(0, dtype=torch.float64), seed=0)
    axes = single_frames(frames)
    assert axes.ptr.tolist() == [0, 1, 2, 3, 4]
    assert axes.axes_P3L.shape == (4, 3, 6) and torch.equal(
        axes.share_PL, torch.ones(4, 6).double()
    )
    for head in range(2):
        for axis in range(3):
            column = axes.axes_P3L[:, :, axis * 2 + head]
            assert torch.equal(column, frames[:, head, axis])
