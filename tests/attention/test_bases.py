"""The bases of position, and their sums over edges, against their definitions."""

import numpy as np
import pytest
import torch
from helpers import crystals
from helpers.attention import random

from dglframer.attention.constants import SELF_DISTANCE_SQUARED
from dglframer.attention.frames import max_axes
from dglframer.attention.gaussians import (
    angle_functions,
    angle_matrix,
    angle_matrix_on,
    chebyshev_matrix,
    chebyshev_terms,
    distance_basis,
)
from dglframer.attention.reference import bases as module
from dglframer.attention.reference.bases import basis_sums
from dglframer.config.networks import CrystalFramerConfig
from dglframer.graphs.batch import Batch, batch_graphs
from dglframer.graphs.edge_ops import edge_ops
from dglframer.structures.periodic_graph import build_graph

HEADS = 4
WIDTH = 0.005
DTYPES = {torch.float64: 1e-12, torch.float32: 2e-5}


@pytest.fixture(params=DTYPES, ids=str)
def dtype(request):
    return request.param


@pytest.fixture
def batch(triclinic, rocksalt, dtype) -> Batch:
    lonely = crystals.lonely()
    return batch_graphs([build_graph(c, 6.0) for c in (triclinic, rocksalt, lonely)], dtype)


def geometry(batch: Batch):
    d2_E = batch.r_E3.square().sum(-1)
    return d2_E, batch.r_E3 / d2_E.sqrt().clamp(min=1e-6)[:, None]


def assert_equal_with_gradients(results, inputs, tolerance):
    """Two tensors from the same inputs agree, and so do their gradients."""
    first, second = results
    assert abs(first - second).max() <= tolerance * max(1, abs(first).max())
    weights = random(*first.shape, like=first, seed=9)
    grads = [torch.autograd.grad((result * weights).sum(), inputs) for result in results]
    for one, other in zip(*grads, strict=True):
        assert abs(one - other).max() <= tolerance * max(1, abs(one).max())
        assert abs(one).max() > 0


def attention_inputs(batch: Batch, dtype: torch.dtype):
    d2_E, u_E3 = geometry(batch)
    logits = random(len(batch.src_E), HEADS, like=d2_E, seed=0) - 0.25 * d2_E[:, None]
    axes = max_axes(logits, u_E3, d2_E, batch.edge_ptr, WIDTH)
    return logits, d2_E, u_E3, axes


def in_gaussians(sums, settings):
    """Distances [N, H, K] and Gaussians of cosines [N, 3, H, K] from the sums of functions."""
    distances_HNK, cosines_HNQ = sums
    matrix_KQ = angle_matrix_on(settings, cosines_HNQ.dtype, cosines_HNQ.device)
    cosines_HN3K = cosines_HNQ.unflatten(2, (3, -1)) @ matrix_KQ.T
    return distances_HNK.transpose(0, 1), cosines_HN3K.permute(1, 2, 0, 3)


def direct_sums(alpha, basis, u, d2, axes, dst, n_atoms, settings):
    """The sums from their definition, row by row, with whole Gaussians."""
    centres = torch.linspace(-1, 1, settings.angle_bins, dtype=alpha.dtype)
    width = settings.angle_width_bins * 2 / (settings.angle_bins - 1)
    dist = torch.zeros(n_atoms, *alpha.shape[1:], basis.shape[1], dtype=alpha.dtype)
    dist.index_add_(0, dst, alpha[:, :, None] * basis[:, None, :])
    angle = torch.zeros(n_atoms, 3, alpha.shape[1], settings.angle_bins, dtype=alpha.dtype)
    for i in range(n_atoms):
        mine = ((dst == i) & (d2 > SELF_DISTANCE_SQUARED)).nonzero().flatten()
        for row in range(axes.ptr[i], axes.ptr[i + 1]):
            cosines = (u[mine] @ axes.axes_P3L[row]).unflatten(1, (3, -1))
            gauss = torch.exp(-0.5 * ((cosines[..., None] - centres) / width) ** 2)
            share = axes.share_PL[row].unflatten(0, (3, -1))[..., None]
            angle[i] = angle[i] + share * (alpha[mine][:, None, :, None] * gauss).sum(0)
    return dist, angle


@pytest.mark.parametrize("changes", [{}, {"angle_bins": 16, "angle_width_bins": 1.0}], ids=str)
def test_basis_sums_by_definition(batch, dtype, changes):
    settings = CrystalFramerConfig(heads=HEADS, **changes)
    logits, d2, u, axes = attention_inputs(batch, dtype)
    alpha = edge_ops(batch).softmax(logits).requires_grad_()
    basis = distance_basis(d2.sqrt(), settings)
    ours = in_gaussians(basis_sums(alpha, basis, u, d2, axes, batch.edge_ptr, settings), settings)
    exact = direct_sums(alpha, basis, u, d2, axes, batch.dst_E, len(batch.numbers_N), settings)
    flat = [torch.cat([sums.flatten(1) for sums in pair], 1) for pair in (ours, exact)]
    assert_equal_with_gradients(flat, (alpha,), DTYPES[dtype])


def test_windowed_sums_cut_what_the_definition_has_beyond(batch, dtype):
    whole, cut = (
        CrystalFramerConfig(heads=HEADS),
        CrystalFramerConfig(heads=HEADS, window_sigmas=4.0),
    )
    logits, d2, u, axes = attention_inputs(batch, dtype)
    alpha = edge_ops(batch).softmax(logits)
    sums = [
        in_gaussians(
            basis_sums(alpha, distance_basis(d2.sqrt(), m), u, d2, axes, batch.edge_ptr, m), m
        )
        for m in (whole, cut)
    ]
    for one, other in zip(*sums, strict=True):
        assert 0 < abs(one - other).max() < 4e-4  # exp(-8) at four widths


def test_chunks_do_not_change_the_sums(batch, dtype, monkeypatch):
    """A budget so small that every atom is a chunk of its own."""
    settings = CrystalFramerConfig(heads=HEADS)
    logits, d2, u, axes = attention_inputs(batch, dtype)
    alpha = edge_ops(batch).softmax(logits)
    basis = distance_basis(d2.sqrt(), settings)
    whole = basis_sums(alpha, basis, u, d2, axes, batch.edge_ptr, settings)
    monkeypatch.setattr(module, "CHUNK_VALUES", 1)
    assert len(module.atom_chunks(batch.edge_ptr, 1)) == len(batch.numbers_N)
    for one, other in zip(
        whole, basis_sums(alpha, basis, u, d2, axes, batch.edge_ptr, settings), strict=True
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("changes", [{}, {"angle_bins": 16, "angle_width_bins": 1.0}], ids=str)
def test_chebyshev_terms_are_enough(changes, dtype):
    settings = CrystalFramerConfig(**changes)
    c = torch.linspace(-1, 1, 1001, dtype=dtype)
    functions = torch.stack(list(angle_functions(c, settings)), 1)
    assert functions.shape[1] == chebyshev_terms(settings, dtype)
    ours = functions.double() @ torch.from_numpy(angle_matrix(settings, dtype)).T
    centres = torch.linspace(-1, 1, settings.angle_bins, dtype=torch.float64)
    width = settings.angle_width_bins * 2 / (settings.angle_bins - 1)
    exact = torch.exp(-0.5 * ((c.double()[:, None] - centres) / width) ** 2)
    assert abs(ours - exact).max() < {torch.float32: 3e-6, torch.float64: 1e-13}[dtype]


def test_too_few_chebyshev_terms_are_noticed():
    """The error falls as stated: with 28 terms it is near 7e-4."""
    c = np.linspace(-1, 1, 1001)
    polynomials = np.cos(np.arccos(c)[:, None] * np.arange(28))
    exact = np.exp(-0.5 * ((c[:, None] - np.linspace(-1, 1, 64)) / (8 / 63)) ** 2)
    error = abs(polynomials @ chebyshev_matrix(64, 4.0, 28).T - exact).max()
    assert 2e-4 < error < 2e-3
