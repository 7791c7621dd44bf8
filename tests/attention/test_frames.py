"""Frames against their definition, and the compiled search for them against that of torch."""

import numpy as np
import pytest
import torch
from helpers import crystals
from helpers.attention import of_atoms, random

from dglframer.attention.constants import SELF_DISTANCE_SQUARED
from dglframer.attention.cpu.attention import CpuAttention, RowOfHeads
from dglframer.attention.frames import WeightedAxes, max_axes, same_in_all_heads, tie_share
from dglframer.attention.gaussians import cosine_functions
from dglframer.attention.reference.weights import log_weights
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


def attention_inputs(batch: Batch, dtype: torch.dtype):
    d2_E, u_E3 = geometry(batch)
    logits = random(len(batch.src_E), HEADS, like=d2_E, seed=0) - 0.25 * d2_E[:, None]
    axes = max_axes(logits, u_E3, d2_E, batch.edge_ptr, WIDTH)
    return logits, d2_E, u_E3, axes


def frames_of(axes: WeightedAxes) -> torch.Tensor:
    """[N, H, 3, 3] with the axes as rows; every atom has one view."""
    assert (axes.share_PL == 1).all()
    return axes.axes_P3L.unflatten(2, (3, -1)).permute(0, 3, 2, 1)


def test_frames_are_right_handed_and_orthonormal(batch, dtype):
    *_, axes = attention_inputs(batch, dtype)
    assert len(axes.share_PL) > len(batch.numbers_N)  # rocksalt: several axes
    frames = axes.axes_P3L.unflatten(2, (3, -1)).permute(0, 3, 2, 1)
    frames = frames[axes.share_PL.unflatten(1, (3, -1))[:, 0] > 0]
    identity = torch.eye(3, dtype=dtype)
    assert abs(frames @ frames.transpose(-1, -2) - identity).max() < DTYPES[dtype] * 10
    assert abs(torch.linalg.det(frames) - 1).max() < DTYPES[dtype] * 10


@pytest.mark.parametrize("width", [None, 1e-7], ids=["first", "average"])
def test_frames_by_definition(triclinic, dtype, width):
    """Without ties: largest weight, then largest (1 - |cos|) x weight, found one by one."""
    one = batch_graphs([build_graph(triclinic, 6.0)], dtype)
    logits, d2, u, _ = attention_inputs(one, dtype)
    frames = frames_of(max_axes(logits, u, d2, one.edge_ptr, width))
    for i in range(len(one.numbers_N)):
        mine = ((one.dst_E == i) & (d2 > SELF_DISTANCE_SQUARED)).nonzero().flatten()
        for h in range(HEADS):
            weight = logits[mine, h].double().exp()
            e1 = u[mine][weight.argmax()].double()
            adjusted = (1 - (u[mine].double() @ e1).abs()) * weight
            e2 = u[mine][adjusted.argmax()].double()
            e2 = torch.nn.functional.normalize(e2 - (e1 @ e2) * e1, dim=0)
            expected = torch.stack([e1, e2, torch.linalg.cross(e1, e2)])
            assert abs(frames[i, h] - expected).max() < 10 * DTYPES[dtype]


def test_tied_frames_by_definition(dtype):
    """Four images, two of which nearly tie for each axis: directions and shares worked out by hand."""
    u = torch.eye(3, dtype=dtype)[[0, 0, 1, 2]]
    u[1] = torch.tensor([-1.0, 0, 0])
    d2 = torch.ones(4, dtype=dtype)
    gap = WIDTH / 2
    logits = torch.tensor([[0.0], [-gap], [-1.0], [-1.0 - gap]], dtype=dtype)
    axes = max_axes(logits, u, d2, torch.tensor([0, 4]), WIDTH)
    rest = (1 - 0.25) ** 2  # the share of half a width, before they are made to add to one
    x, y, z = torch.eye(3, dtype=dtype)
    expected = {
        (x, y, z): 1.0,
        (x, z, -y): rest,
        (-x, y, -z): rest,
        (-x, z, y): rest**2,
    }
    assert len(axes.share_PL) == len(expected)
    for frame, share in expected.items():
        frame_33 = torch.stack(frame, 1)
        match = (axes.axes_P3L - frame_33).abs().amax((1, 2)).argmin()
        assert abs(axes.axes_P3L[match] - frame_33).max() < DTYPES[dtype]
        assert abs(axes.share_PL[match] - share / (1 + rest) ** 2).max() < 100 * DTYPES[dtype]


def found_by_loops(attention: CpuAttention, inputs) -> tuple[np.ndarray, np.ndarray]:
    """(rows of each atom [N], rows [R, 4, 8]) of axes x, y, z and their shares, by the compiled search."""
    row = RowOfHeads(attention, 0, *inputs)
    like, n_atoms = inputs[0], len(inputs[0])
    functions = 3 * cosine_functions(attention.settings, like.dtype)
    sums = like.new_empty(row.heads, n_atoms, attention.settings.distance_bins + functions)
    row.forward(sums, searches=True)
    counts = np.concatenate([np.diff(axes[0]) for _, axes in row.axes])
    rows = [axes[1][: 32 * axes[0][-1]].reshape(-1, 4, 8) for _, axes in row.axes]
    return counts, np.concatenate(rows)


@pytest.mark.parametrize("ties", ["first", "average"])
def test_compiled_and_torch_frames_agree(dtype, ties):
    one = batch_graphs([build_graph(crystals.triclinic(), 6.0)], dtype)
    settings = CrystalFramerConfig(
        heads=HEADS, width=8 * HEADS, frame_ties=ties, frame_tie_width=1e-7
    )
    attention = CpuAttention(one, settings)
    inputs = [x.detach() for x in of_atoms(one, settings)]
    counts, rows = found_by_loops(attention, inputs)
    q, k, _, decay = inputs
    logits = log_weights(edge_ops(one), q, k, decay, attention.d2_E, one.dst_E)
    width = 1e-7 if ties == "average" else None
    axes = max_axes(logits, attention.u_E3, attention.d2_E, one.edge_ptr, width)
    # Two images of an atom's own, opposite to each other, tie without any symmetry.
    single_N = axes.ptr.diff().numpy() == 1
    assert ((counts == 3) == single_N).all() and single_N.sum() >= 2
    starts_N = (np.cumsum(counts) - counts)[single_N]
    ours_N34H = np.stack([rows[first : first + 3, :, :HEADS] for first in starts_N])
    theirs_P3KH = axes.axes_P3L.unflatten(2, (3, -1))[axes.ptr[:-1][torch.from_numpy(single_N)]]
    expected_NK3H = theirs_P3KH.transpose(1, 2).numpy()
    assert abs(ours_N34H[:, :, :3] - expected_NK3H).max() < 10 * DTYPES[dtype]
    assert abs(ours_N34H[:, :, 3] - 1).max() < DTYPES[dtype]


@pytest.mark.parametrize("width", [0.005, 0.1])
def test_axes_that_see_the_same_are_merged(dtype, width):
    """Rocksalt: every frame of the tied ones sees the same along each of its axes, or two opposite things."""
    one = batch_graphs([build_graph(crystals.rocksalt(), 6.0)], dtype)
    settings = CrystalFramerConfig(heads=HEADS, width=8 * HEADS, frame_tie_width=width)
    attention = CpuAttention(one, settings)
    inputs = [x.detach() for x in of_atoms(one, settings)]
    counts, rows = found_by_loops(attention, inputs)
    q, k, _, decay = inputs
    logits = log_weights(edge_ops(one), q, k, decay, attention.d2_E, one.dst_E)
    every = max_axes(logits, attention.u_E3, attention.d2_E, one.edge_ptr, width)
    assert counts.sum() < len(every.share_PL)
    shares = rows[:, 3].sum(0)
    assert abs(shares - 3 * len(counts)).max() < 1e-4  # of three axes of each atom


def test_the_share_of_a_tie_falls_to_nothing_at_the_width():
    share = tie_share(torch.tensor([0.0, 0.5, 1.0, 1.5, 9.0]) * 0.005, 0.005)
    assert share.tolist() == pytest.approx([1, 0.5625, 0, 0, 0])


def test_one_head_has_the_axes_of_all():
    """Columns are axis by axis, and in each the heads."""
    axes_P3L = torch.arange(18.0).view(2, 3, 3)
    axes = WeightedAxes(torch.tensor([0, 2]), axes_P3L, torch.arange(6.0).view(2, 3))
    every = same_in_all_heads(axes, 4)
    assert every.axes_P3L.shape == (2, 3, 12) and every.ptr is axes.ptr
    for column in range(12):
        assert torch.equal(every.axes_P3L[:, :, column], axes_P3L[:, :, column // 4])
        assert torch.equal(every.share_PL[:, column], axes.share_PL[:, column // 4])
