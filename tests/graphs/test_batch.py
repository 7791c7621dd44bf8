"""A batch from the arrays of its crystals."""

import numpy as np
import torch
from helpers import crystals
from helpers.attention import random

from dglframer.graphs.batch import batch_graphs, cell_or_zeros, make_batch
from dglframer.graphs.edge_ops import TorchOps, edge_ops
from dglframer.structures.periodic_graph import build_graph


def test_a_molecule_has_a_cell_of_zeros_and_a_crystal_its_own():
    lattice_33 = crystals.triclinic().lattice_33
    assert cell_or_zeros(lattice_33) is lattice_33
    np.testing.assert_array_equal(cell_or_zeros(None), np.zeros((3, 3)))


def test_targets_are_those_that_were_given_or_none():
    graphs = [build_graph(one, 4.0) for one in (crystals.rocksalt(), crystals.lonely())]
    arrays = (
        [one.numbers_N for one in graphs],
        [one.edges.src_E for one in graphs],
        [one.edges.dst_E for one in graphs],
        [one.vectors_E3 for one in graphs],
        [one.lattice_33 for one in graphs],
        [one.coords_N3 for one in graphs],
    )
    assert make_batch(*arrays).targets_BT is None
    batch = make_batch(*arrays, targets=np.array([[1.5], [2.5]]))
    assert torch.equal(batch.targets_BT, torch.tensor([[1.5], [2.5]], dtype=torch.float64))


def test_operations_without_dgl_know_the_edges_of_each_atom():
    graphs = [build_graph(one, 4.0) for one in (crystals.triclinic(), crystals.lonely())]
    batch = batch_graphs(graphs, torch.float64).without_dgl()
    ops = edge_ops(batch)
    assert isinstance(ops, TorchOps)
    x_EF = random(len(batch.src_E), 3, like=batch.r_E3, seed=0)
    expected = torch.zeros(len(batch.numbers_N), 3, dtype=torch.float64)
    expected.index_add_(0, batch.dst_E, x_EF)
    assert abs(ops.edge_sum(x_EF) - expected).max() < 1e-12
