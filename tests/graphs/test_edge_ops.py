"""The operations on edges: by DGL, by torch, and by their definition."""

import pytest
import torch
from helpers import crystals
from helpers.attention import random

from dglframer.graphs.batch import Batch, batch_graphs
from dglframer.graphs.edge_ops import DglOps, TorchOps, edge_ops
from dglframer.structures.periodic_graph import build_graph

HEADS = 4
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5}


@pytest.fixture(params=TOLERANCE, ids=str)
def batch(request) -> Batch:
    three = (crystals.triclinic(), crystals.rocksalt(), crystals.lonely())
    return batch_graphs([build_graph(one, 6.0) for one in three], request.param)


def both_ops(batch: Batch):
    assert batch.graph is not None
    return DglOps(batch.graph), TorchOps(batch.src_E, batch.dst_E, batch.edge_ptr)


def assert_equal_with_gradients(results, inputs) -> None:
    first, second = results
    tolerance = TOLERANCE[first.dtype]
    assert abs(first - second).max() <= tolerance * max(1, abs(first).max())
    weights = random(*first.shape, like=first, seed=9)
    grads = [torch.autograd.grad((result * weights).sum(), inputs) for result in results]
    for one, other in zip(*grads, strict=True):
        assert abs(one - other).max() <= tolerance * max(1, abs(one).max())
        assert abs(one).max() > 0


def test_dgl_and_torch_agree(batch):
    like, n_atoms, n_edges = batch.r_E3, len(batch.numbers_N), len(batch.src_E)
    q, k = (random(n_atoms, HEADS, 8, like=like, seed=seed).requires_grad_() for seed in range(2))
    alpha = random(n_edges, HEADS, like=like, seed=2).requires_grad_()
    x = random(n_edges, 5, like=like, seed=3).requires_grad_()
    ops = both_ops(batch)
    assert_equal_with_gradients([op.dot(q, k) for op in ops], (q, k))
    assert_equal_with_gradients([op.softmax(alpha) for op in ops], (alpha,))
    assert_equal_with_gradients([op.source_sum(alpha, k) for op in ops], (alpha, k))
    assert_equal_with_gradients([op.edge_sum(x) for op in ops], (x,))


def test_softmax_by_definition(batch):
    logits = 5 * random(len(batch.src_E), HEADS, like=batch.r_E3, seed=0)
    for op in both_ops(batch):
        alpha = op.softmax(logits)
        for i in range(len(batch.numbers_N)):
            mine = batch.dst_E == i
            assert torch.allclose(alpha[mine], torch.softmax(logits[mine], 0), atol=1e-6)


def test_a_batch_without_dgl_uses_torch(batch):
    assert isinstance(edge_ops(batch), DglOps)
    assert isinstance(edge_ops(batch.without_dgl()), TorchOps)
