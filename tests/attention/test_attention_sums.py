"""The pieces of attention: two implementations each, and a direct formula where there is one."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers.crystals import crystal

from dglframer.attention import basis_sums as module
from dglframer.attention.basis_sums import basis_sums
from dglframer.attention.cpu import attention as fast
from dglframer.attention.frames import Views, max_views
from dglframer.attention.gaussians import (
    SELF_DISTANCE_SQUARED,
    angle_functions,
    angle_matrix,
    chebyshev_matrix,
    chebyshev_terms,
    distance_basis,
)
from dglframer.attention.geometry import Geometry
from dglframer.attention.reference import attention_sums, reference_sums
from dglframer.config.networks import ModelConfig
from dglframer.graphs.batch import Batch, batch_graphs
from dglframer.graphs.edge_ops import DglOps, TorchOps, edge_ops
from dglframer.structures.periodic_graph import build_graph

HEADS = 4
WIDTH = 0.005
DTYPES = {torch.float64: 1e-12, torch.float32: 2e-5}


@pytest.fixture(params=DTYPES, ids=str)
def dtype(request):
    return request.param


@pytest.fixture
def batch(triclinic, rocksalt, dtype) -> Batch:
    lonely = crystal("He", "He", 30 * np.eye(3), [[0, 0, 0]])
    return batch_graphs([build_graph(c, 6.0) for c in (triclinic, rocksalt, lonely)], dtype)


def random(*shape: int, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def both_ops(batch: Batch):
    assert batch.graph is not None
    return DglOps(batch.graph), TorchOps(batch.src_E, batch.dst_E, batch.edge_ptr)


def geometry(batch: Batch):
    d2_E = batch.r_E3.square().sum(-1)
    return d2_E, batch.r_E3 / d2_E.sqrt().clamp(min=1e-6)[:, None]


def assert_equal_with_gradients(results, inputs, tolerance):
    """Two tensors from the same inputs agree, and so do their gradients."""
    first, second = results
    assert abs(first - second).max() <= tolerance * max(1, abs(first).max())
    weights = random(*first.shape, dtype=first.dtype, seed=9)
    grads = [torch.autograd.grad((result * weights).sum(), inputs) for result in results]
    for one, other in zip(*grads, strict=True):
        assert abs(one - other).max() <= tolerance * max(1, abs(one).max())
        assert abs(one).max() > 0


def test_ops_agree(batch, dtype):
    n_atoms, n_edges = len(batch.numbers_N), len(batch.src_E)
    q, k = (random(n_atoms, HEADS, 8, dtype=dtype, seed=seed).requires_grad_() for seed in range(2))
    alpha = random(n_edges, HEADS, dtype=dtype, seed=2).requires_grad_()
    x = random(n_edges, 5, dtype=dtype, seed=3).requires_grad_()
    ops = both_ops(batch)
    tolerance = DTYPES[dtype]
    assert_equal_with_gradients([op.dot(q, k) for op in ops], (q, k), tolerance)
    assert_equal_with_gradients([op.softmax(alpha) for op in ops], (alpha,), tolerance)
    assert_equal_with_gradients([op.source_sum(alpha, k) for op in ops], (alpha, k), tolerance)
    assert_equal_with_gradients([op.edge_sum(x) for op in ops], (x,), tolerance)


def test_softmax_by_definition(batch, dtype):
    logits = 5 * random(len(batch.src_E), HEADS, dtype=dtype)
    for op in both_ops(batch):
        alpha = op.softmax(logits)
        for i in range(len(batch.numbers_N)):
            mine = batch.dst_E == i
            assert torch.allclose(alpha[mine], torch.softmax(logits[mine], 0), atol=1e-6)


def test_a_batch_without_dgl_uses_torch(batch):
    assert isinstance(edge_ops(batch), DglOps)
    assert isinstance(edge_ops(batch.without_dgl()), TorchOps)


def attention_inputs(batch: Batch, dtype: torch.dtype):
    d2_E, u_E3 = geometry(batch)
    logits = random(len(batch.src_E), HEADS, dtype=dtype) - 0.25 * d2_E[:, None]
    views = max_views(logits, u_E3, d2_E, batch.edge_ptr, WIDTH)
    return logits, d2_E, u_E3, views


def direct_sums(alpha, basis, u, d2, views, dst, n_atoms, model):
    """The sums from their definition, view by view, with whole Gaussians."""
    centres = torch.linspace(-1, 1, model.angle_bins, dtype=alpha.dtype)
    width = model.angle_width_bins * 2 / (model.angle_bins - 1)
    dist = torch.zeros(n_atoms, *alpha.shape[1:], basis.shape[1], dtype=alpha.dtype)
    dist.index_add_(0, dst, alpha[:, :, None] * basis[:, None, :])
    angle = torch.zeros(n_atoms, 3, alpha.shape[1], model.angle_bins, dtype=alpha.dtype)
    for i in range(n_atoms):
        mine = ((dst == i) & (d2 > SELF_DISTANCE_SQUARED)).nonzero().flatten()
        for view in range(views.ptr[i], views.ptr[i + 1]):
            cosines = (u[mine] @ views.axes_P3L[view]).unflatten(1, (3, -1))
            gauss = torch.exp(-0.5 * ((cosines[..., None] - centres) / width) ** 2)
            share = views.share_PL[view].unflatten(0, (3, -1))[..., None]
            angle[i] = angle[i] + share * (alpha[mine][:, None, :, None] * gauss).sum(0)
    return dist, angle


@pytest.mark.parametrize("settings", [{}, {"angle_bins": 16, "angle_width_bins": 1.0}], ids=str)
def test_basis_sums_by_definition(batch, dtype, settings):
    model = ModelConfig(heads=HEADS, **settings)
    logits, d2, u, views = attention_inputs(batch, dtype)
    alpha = edge_ops(batch).softmax(logits).requires_grad_()
    basis = distance_basis(d2.sqrt(), model)
    ours = basis_sums(alpha, basis, u, d2, views, batch.edge_ptr, model)
    exact = direct_sums(alpha, basis, u, d2, views, batch.dst_E, len(batch.numbers_N), model)
    flat = [torch.cat([sums.flatten(1) for sums in pair], 1) for pair in (ours, exact)]
    assert_equal_with_gradients(flat, (alpha,), DTYPES[dtype])


def test_windowed_sums_cut_what_the_definition_has_beyond(batch, dtype):
    whole, cut = ModelConfig(heads=HEADS), ModelConfig(heads=HEADS, window_sigmas=4.0)
    logits, d2, u, views = attention_inputs(batch, dtype)
    alpha = edge_ops(batch).softmax(logits)
    sums = [
        basis_sums(alpha, distance_basis(d2.sqrt(), m), u, d2, views, batch.edge_ptr, m)
        for m in (whole, cut)
    ]
    for one, other in zip(*sums, strict=True):
        assert 0 < abs(one - other).max() < 4e-4  # exp(-8) at four widths


def test_chunks_do_not_change_the_sums(batch, dtype, monkeypatch):
    """A budget so small that every atom is a chunk of its own."""
    model = ModelConfig(heads=HEADS)
    logits, d2, u, views = attention_inputs(batch, dtype)
    alpha = edge_ops(batch).softmax(logits)
    basis = distance_basis(d2.sqrt(), model)
    whole = basis_sums(alpha, basis, u, d2, views, batch.edge_ptr, model)
    monkeypatch.setattr(module, "CHUNK_VALUES", 1)
    assert len(module.atom_chunks(batch.edge_ptr, 1)) == len(batch.numbers_N)
    for one, other in zip(
        whole, basis_sums(alpha, basis, u, d2, views, batch.edge_ptr, model), strict=True
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("settings", [{}, {"angle_bins": 16, "angle_width_bins": 1.0}], ids=str)
def test_chebyshev_terms_are_enough(settings, dtype):
    model = ModelConfig(**settings)
    c = torch.linspace(-1, 1, 1001, dtype=dtype)
    functions = torch.stack(list(angle_functions(c, model)), 1)
    assert functions.shape[1] == chebyshev_terms(model, dtype)
    ours = functions.double() @ torch.from_numpy(angle_matrix(model, dtype)).T
    centres = torch.linspace(-1, 1, model.angle_bins, dtype=torch.float64)
    width = model.angle_width_bins * 2 / (model.angle_bins - 1)
    exact = torch.exp(-0.5 * ((c.double()[:, None] - centres) / width) ** 2)
    assert abs(ours - exact).max() < {torch.float32: 3e-6, torch.float64: 1e-13}[dtype]


def test_too_few_chebyshev_terms_are_noticed():
    """The error falls as stated: with 28 terms it is near 7e-4."""
    c = np.linspace(-1, 1, 1001)
    polynomials = np.cos(np.arccos(c)[:, None] * np.arange(28))
    exact = np.exp(-0.5 * ((c[:, None] - np.linspace(-1, 1, 64)) / (8 / 63)) ** 2)
    error = abs(polynomials @ chebyshev_matrix(64, 4.0, 28).T - exact).max()
    assert 2e-4 < error < 2e-3


def frames_of(views: Views) -> torch.Tensor:
    """[N, H, 3, 3] with the axes as rows; every atom has one view."""
    assert (views.share_PL == 1).all()
    return views.axes_P3L.unflatten(2, (3, -1)).permute(0, 3, 2, 1)


def test_frames_are_right_handed_and_orthonormal(batch, dtype):
    *_, views = attention_inputs(batch, dtype)
    assert len(views.share_PL) > len(batch.numbers_N)  # rocksalt: several views
    frames = views.axes_P3L.unflatten(2, (3, -1)).permute(0, 3, 2, 1)
    frames = frames[views.share_PL.unflatten(1, (3, -1))[:, 0] > 0]
    identity = torch.eye(3, dtype=dtype)
    assert abs(frames @ frames.transpose(-1, -2) - identity).max() < DTYPES[dtype] * 10
    assert abs(torch.linalg.det(frames) - 1).max() < DTYPES[dtype] * 10


@pytest.mark.parametrize("width", [None, 1e-7], ids=["first", "average"])
def test_frames_by_definition(triclinic, dtype, width):
    """Without ties: largest weight, then largest (1 - |cos|) x weight, found one by one."""
    one = batch_graphs([build_graph(triclinic, 6.0)], dtype)
    logits, d2, u, _ = attention_inputs(one, dtype)
    frames = frames_of(max_views(logits, u, d2, one.edge_ptr, width))
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
    views = max_views(logits, u, d2, torch.tensor([0, 4]), WIDTH)
    rest = (1 - 0.25) ** 2  # the share of half a width, before they are made to add to one
    x, y, z = torch.eye(3, dtype=dtype)
    expected = {
        (x, y, z): 1.0,
        (x, z, -y): rest,
        (-x, y, -z): rest,
        (-x, z, y): rest**2,
    }
    assert len(views.share_PL) == len(expected)
    for frame, share in expected.items():
        frame_33 = torch.stack(frame, 1)
        match = (views.axes_P3L - frame_33).abs().amax((1, 2)).argmin()
        assert abs(views.axes_P3L[match] - frame_33).max() < DTYPES[dtype]
        assert abs(views.share_PL[match] - share / (1 + rest) ** 2).max() < 100 * DTYPES[dtype]


def compiled_views(batch: Batch, logits: torch.Tensor, settings) -> Views:
    alpha = edge_ops(batch).softmax(logits)
    return fast.compiled_views(alpha, Geometry(batch, ModelConfig(heads=HEADS, **settings)))


@pytest.mark.parametrize("ties", ["first", "average"])
def test_compiled_and_torch_frames_agree(triclinic, dtype, ties):
    one = batch_graphs([build_graph(triclinic, 6.0)], dtype)
    logits, d2, u, _ = attention_inputs(one, dtype)
    width = WIDTH if ties == "average" else None
    torch_views = max_views(logits, u, d2, one.edge_ptr, width)
    compiled = compiled_views(one, logits, {"frame_ties": ties})
    assert torch.equal(compiled.ptr, torch_views.ptr)
    assert abs(compiled.share_PL - torch_views.share_PL).max() < DTYPES[dtype]
    assert abs(compiled.axes_P3L - torch_views.axes_P3L).max() < DTYPES[dtype]


@pytest.mark.parametrize("noise", [0.0, 1e-3, 3e-2], ids=["exact", "near", "wide"])
def test_compiled_and_torch_agree_on_ties(rocksalt, cscl_like, dtype, noise):
    """Merged or not, exact ties, near ones or many accidental ones: the sums are the same."""
    tied = batch_graphs([build_graph(c, 6.0) for c in (rocksalt, cscl_like)], dtype)
    d2, u = geometry(tied)
    logits = -0.25 * d2[:, None].repeat(1, HEADS)
    logits += noise * random(*logits.shape, dtype=dtype)
    settings = {"frame_tie_width": 0.1 if noise == 3e-2 else WIDTH}
    model = ModelConfig(heads=HEADS, **settings)
    every = max_views(logits, u, d2, tied.edge_ptr, model.frame_tie_width)
    merged = compiled_views(tied, logits, settings)
    assert len(merged.share_PL) < len(every.share_PL)
    sums = [
        basis_sums(
            edge_ops(tied).softmax(logits),
            distance_basis(d2.sqrt(), model),
            u,
            d2,
            views,
            tied.edge_ptr,
            model,
        )[1]
        for views in (every, merged)
    ]
    assert abs(sums[0] - sums[1]).max() < DTYPES[dtype]
    assert abs(sums[0]).max() > 0.1


def attention_arguments(batch: Batch, dtype: torch.dtype, width: int = 8):
    """Queries, keys, values and decays that require gradients."""
    shape = len(batch.numbers_N), HEADS, width
    q, k, v = (random(*shape, dtype=dtype, seed=seed).requires_grad_() for seed in range(3))
    decay = (0.25 + 0.03 * random(*shape[:2], dtype=dtype, seed=3).abs()).requires_grad_()
    return q, k, v, decay


def flattened(sums) -> torch.Tensor:
    return torch.cat([part.flatten(1) for part in sums], 1)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"frame": "none"},
        {"frame": "max_static"},
        {"frame": "lattice"},
        {"frame_tie_width": 0.2},
        {"angle_bins": 16, "angle_width_bins": 1.0},
        {"distance_bins": 10, "distance_width_bins": 2.0},
        {"distance_bins": 70, "distance_width_bins": 0.5, "distance_max_angstrom": 4.0},
    ],
    ids=str,
)
def test_compiled_attention_equals_the_reference_path(batch, dtype, settings):
    inputs = attention_arguments(batch, dtype)
    shared = Geometry(batch, ModelConfig(heads=HEADS, **settings))
    paths = [flattened(path(*inputs, shared)) for path in (attention_sums, reference_sums)]
    tolerance = {torch.float64: 1e-10, torch.float32: 3e-5}[dtype]
    assert_equal_with_gradients(paths, inputs, tolerance)


def test_the_reference_path_runs_without_dgl(batch, dtype):
    inputs = attention_arguments(batch, dtype)
    model = ModelConfig(heads=HEADS)
    paths = [
        flattened(reference_sums(*inputs, Geometry(one, model)))
        for one in (batch, batch.without_dgl())
    ]
    assert_equal_with_gradients(paths, inputs, {torch.float64: 1e-10, torch.float32: 3e-5}[dtype])


def test_bits_do_not_depend_on_threads(batch, dtype, monkeypatch):
    """Outputs and gradients; the ranges are whole crystals, and there is more than one."""
    shared = Geometry(batch, ModelConfig(heads=HEADS))
    results = []
    for threads in (1, 2, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert (len(fast.crystal_ranges(batch, threads)) > 1) == (threads > 1)
        inputs = attention_arguments(batch, dtype)
        output = flattened(attention_sums(*inputs, shared))
        results.append([output, *torch.autograd.grad(output.square().sum(), inputs)])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_ranges_are_whole_crystals_with_all_atoms(batch):
    ends = batch.atoms_B.cumsum(0).tolist()
    for count in range(1, 8):
        ranges = fast.crystal_ranges(batch, count)
        assert ranges[0][0] == 0 and ranges[-1][1] == ends[-1] and len(ranges) <= count
        assert all(last in ends for _, last in ranges)
        assert all(a[1] == b[0] for a, b in pairwise(ranges))


def test_what_is_passed_over_stays_below_the_threshold(triclinic, monkeypatch):
    """A long cutoff: most edges weigh nothing; leaving them out changes the sums as stated."""
    long = batch_graphs([build_graph(triclinic, 14.0)], torch.float64)
    inputs = attention_arguments(long, torch.float64)
    shared = Geometry(long, ModelConfig(heads=HEADS))
    exact = flattened(reference_sums(*inputs, shared))
    errors = []
    for least in (10.0, 18.5, 41.5):
        monkeypatch.setattr(fast, "least_weight", lambda dtype, least=least: least)
        errors.append(abs(flattened(attention_sums(*inputs, shared)) - exact).max().item())
    assert errors[0] > 1e-7 > errors[1] > 1e-12 > errors[2]
