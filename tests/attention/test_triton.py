"""The Triton kernels against the reference path: on a GPU if there is one, else interpreted."""

import numpy as np
import pytest
import torch
from helpers.crystals import crystal

from dglframer.attention.frames import max_views
from dglframer.attention.geometry import Geometry
from dglframer.attention.reference import attention_sums, least_weight, reference_sums
from dglframer.common.elements import HEAVIEST
from dglframer.config.networks import ModelConfig
from dglframer.graphs.batch import Batch, batch_graphs
from dglframer.networks import crystalframer as network_module
from dglframer.networks.crystalframer import CrystalFramer, initialise
from dglframer.structures.periodic_graph import build_graph

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
triton = pytest.importorskip("triton", reason="triton is not installed")
from triton.language.core import is_builtin  # noqa: E402
from triton.runtime import interpreter  # noqa: E402

from dglframer.attention.gpu import attention as module  # noqa: E402
from dglframer.attention.gpu.attention import edges_by_source, triton_sums  # noqa: E402

OUTPUTS = {torch.float32: 1e-5, torch.float64: 1e-12}
GRADIENTS = {torch.float32: 1e-4, torch.float64: 1e-10}
# The interpreter takes milliseconds for an edge: one or two shells of the symmetric crystals.
CUTOFF = {"rocksalt": 3.0, "cscl": 3.6, "fcc": 2.6, "diamond": 2.6}


@pytest.fixture(autouse=True)
def interpret_faster(monkeypatch):
    """Triton's interpreter prepares its language anew in calls within calls: once is enough."""
    if DEVICE == "cuda":
        return
    prepare, languages = interpreter._patch_lang, (triton.language, triton.language.core)

    def prepare_once(function):
        seen = [one for one in languages if one in function.__globals__.values()]
        if any(is_builtin(one.load) for one in seen):
            return prepare(function)
        return interpreter._LangPatchScope()

    monkeypatch.setattr(interpreter, "_patch_lang", prepare_once)


@pytest.fixture
def crystals(triclinic, rocksalt, cscl_like):
    """Without symmetry; symmetric; without neighbours; with all of them on one line."""
    faces, corner = np.ones((3, 3)) - np.eye(3), [[0, 0, 0], [0.25, 0.25, 0.25]]
    mirror = np.linalg.inv([[4.1, 0, 0], [0.9, 4.6, 0], [0, 0, 5.3]])
    sites = np.array([[0, 0, 0], [1.1, 0.7, 1.5], [1.1, 0.7, -1.5]])
    found = [
        triclinic,
        rocksalt,
        cscl_like,
        crystal("fcc", "Cu", 1.8 * faces, [[0, 0, 0]]),
        crystal("diamond", "C C", 1.785 * faces, corner),
        # two images tie for the first axis, and a mirror, no rotation, relates them
        crystal("mirror", "Ti O O", np.linalg.inv(mirror), sites @ mirror),
        # the nearest images are the atom's own, in pairs
        crystal("own", "Fe", [[2.4, 0, 0], [0.9, 3.4, 0], [0.3, 1.1, 3.9]], [[0, 0, 0]]),
        crystal("lonely", "He", 30 * np.eye(3), [[0, 0, 0]]),
        crystal("line", "H Li", 30 * np.eye(3), [[0, 0, 0], [0.02, 0.01, 0.01]]),
    ]
    return {one.id: one for one in found}


SEVERAL = ("mirror", "lonely", "line")


def batch_of(crystals, *names, dtype=torch.float32) -> Batch:
    graphs = [build_graph(crystals[name], CUTOFF.get(name, 4.5)) for name in names]
    return batch_graphs(graphs, dtype).to(DEVICE)


def random(*shape: int, dtype: torch.dtype = torch.float32, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(DEVICE, dtype)


def arguments(batch: Batch, model: ModelConfig):
    """Queries, keys, values and decays of elements, which require gradients."""
    dtype = batch.r_E3.dtype
    shape = HEAVIEST + 1, model.heads, model.width // model.heads
    qkv = [random(*shape, dtype=dtype, seed=seed) for seed in range(3)]
    decay = 0.25 + 0.03 * random(*shape[:2], dtype=dtype, seed=3).abs()
    return [x.requires_grad_() for x in (*qkv, decay)]


def outputs_and_gradients(path, inputs, geometry) -> list[torch.Tensor]:
    """Three sums, then the gradients of a random combination of them.

    The gradients are those of elements: of axes that see the same, the kernels take one, so that
    images which the symmetry of a site exchanges have the right gradient only in their sum.
    """
    sums = path(*(x[geometry.batch.numbers_N] for x in inputs), geometry)
    loss = sum((part * random(*part.shape, dtype=part.dtype, seed=9)).sum() for part in sums)
    return [*(part.detach() for part in sums), *torch.autograd.grad(loss, inputs)]


def assert_paths_agree(batch: Batch, model: ModelConfig) -> None:
    assert_agree(arguments(batch, model), Geometry(batch, model))


def assert_agree(inputs: list[torch.Tensor], geometry: Geometry) -> None:
    ours, exact = (
        outputs_and_gradients(path, inputs, geometry) for path in (triton_sums, reference_sums)
    )
    dtype = inputs[0].dtype
    for one, other in zip(ours[:3], exact[:3], strict=True):
        assert torch.allclose(one, other, rtol=0, atol=OUTPUTS[dtype])
    for one, other in zip(ours[3:], exact[3:], strict=True):
        assert abs(one - other).max() <= GRADIENTS[dtype] * max(1e-2, abs(other).max())


@pytest.mark.parametrize(
    "name",
    [*CUTOFF, "triclinic", "mirror", "own", "lonely", "line"],
)
def test_equals_the_reference_path(crystals, name):
    """The average over all ties."""
    assert_paths_agree(batch_of(crystals, name), ModelConfig(heads=2, width=16))


@pytest.mark.parametrize("name", ["diamond", "triclinic", "lonely", "line"])
def test_the_first_of_the_best(crystals, name):
    """Where the choice makes no difference: rounding decides between images that tie."""
    model = ModelConfig(heads=2, width=16, frame_ties="first")
    assert_paths_agree(batch_of(crystals, name), model)


@pytest.mark.parametrize("name", ["triclinic", "lonely"])
def test_without_frames(crystals, name):
    assert_paths_agree(batch_of(crystals, name), ModelConfig(heads=2, width=16, frame="none"))


def test_equals_the_reference_path_in_float64(crystals):
    batch = batch_of(crystals, *SEVERAL, "diamond", dtype=torch.float64)
    assert_paths_agree(batch, ModelConfig(heads=2, width=16))


def test_near_ties(crystals):
    """Images within the width of a tie that are not the best have less share in it."""
    crystals["mirror"].frac_N3[2, 2] -= 0.002
    batch = batch_of(crystals, "mirror", dtype=torch.float64)
    model = ModelConfig(heads=2, width=16, frame_tie_width=0.02)
    geometry = Geometry(batch, model)
    logits_E1 = -0.25 * geometry.d2_E.unsqueeze(1)
    views = max_views(logits_E1, geometry.u_E3, geometry.d2_E, batch.edge_ptr, 0.02)
    assert views.share_PL[:2].min() < 0.48  # of the first atom
    assert_paths_agree(batch, model)


@pytest.mark.parametrize("slots", [1, 8])
def test_more_views_than_slots(crystals, monkeypatch, slots):
    """A tie so wide that images in no relation take part: the average is over them all."""
    monkeypatch.setattr(module, "VIEWS", slots)
    batch = batch_of(crystals, "mirror", dtype=torch.float64)
    model = ModelConfig(heads=2, width=16, frame_tie_width=0.5)
    assert_paths_agree(batch, model)


def test_edges_that_cannot_matter(crystals):
    """Weights below 1e-8 of the largest: the sums agree nevertheless, and values are not looked at."""
    graphs = [build_graph(crystals["triclinic"], 6.0)]
    batch, model = batch_graphs(graphs).to(DEVICE), ModelConfig(heads=2, width=16)
    geometry = Geometry(batch, model)
    q, k, v, decay = arguments(batch, model)
    assert 0.2 < (3 * 0.25 * geometry.d2_E > least_weight(torch.float32)).double().mean() < 0.8
    assert_agree([q, k, v, (3 * decay).detach().requires_grad_()], geometry)
    with torch.no_grad():
        q, k, v, decay = (x[batch.numbers_N] for x in (q, k, v, decay))
        v[0] = torch.nan
        y_NHD, dist_NHK, _ = triton_sums(q, k, v, 100 * decay, geometry)
    assert y_NHD[0].isnan().all()
    assert torch.equal(y_NHD[1:], v[1:])  # each atom sees itself alone
    assert dist_NHK.isfinite().all()


@pytest.mark.parametrize(
    "settings",
    [
        {"heads": 8, "width": 128},
        {"heads": 3, "width": 15, "distance_bins": 10, "angle_bins": 16, "angle_width_bins": 1.0},
        {"heads": 1, "width": 1},
    ],
    ids=str,
)
def test_sizes_that_are_padded_and_that_are_not(crystals, settings):
    assert_paths_agree(batch_of(crystals, "triclinic"), ModelConfig(**settings))


def test_two_runs_give_the_same_bits(crystals):
    model = ModelConfig(heads=2, width=16)
    batch = batch_of(crystals, "mirror", "line")
    runs = [
        outputs_and_gradients(triton_sums, arguments(batch, model), Geometry(batch, model))
        for _ in range(2)
    ]
    assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))


def test_edges_by_source(crystals):
    batch = batch_of(crystals, *SEVERAL)
    ptr, order = edges_by_source(batch.src_E, len(batch.numbers_N))
    for atom in range(len(batch.numbers_N)):
        mine = (batch.src_E == atom).nonzero().flatten()
        assert torch.equal(order[ptr[atom] : ptr[atom + 1]], mine)


def test_a_whole_network(crystals, monkeypatch):
    """Predictions and the gradient of every parameter, through two blocks."""
    model = ModelConfig(blocks=2, width=16, heads=2, feedforward=32)
    batch = batch_of(crystals, *SEVERAL)
    network = initialise(CrystalFramer(model), 0).to(DEVICE)
    network.calibrate(batch)
    results = []
    for path in (triton_sums, reference_sums):
        monkeypatch.setattr(network_module, "attention_sums", path)
        output = network(batch)
        gradients = torch.autograd.grad(output.square().sum(), list(network.parameters()))
        results.append((output, gradients))
    (ours, our_gradients), (exact, exact_gradients) = results
    assert abs(ours - exact).max() <= OUTPUTS[torch.float32] * max(1, abs(exact).max())
    largest = max(abs(one).max() for one in exact_gradients)
    for one, other in zip(our_gradients, exact_gradients, strict=True):
        assert abs(one - other).max() <= GRADIENTS[torch.float32] * largest


@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")
def test_is_taken_on_a_gpu(crystals, monkeypatch):
    """The same bits as from the kernels; other models stay on the reference path."""
    batch = batch_of(crystals, "triclinic")
    for settings, path in (
        ({}, triton_sums),
        ({"window_sigmas": 4.0}, reference_sums),
        ({"frame": "weighted_pca"}, reference_sums),
    ):
        model = ModelConfig(heads=2, width=16, **settings)
        geometry = Geometry(batch, model)
        inputs = [x[batch.numbers_N] for x in arguments(batch, model)]
        for one, other in zip(
            attention_sums(*inputs, geometry), path(*inputs, geometry), strict=True
        ):
            assert torch.equal(one, other)
