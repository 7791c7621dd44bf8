"""The Triton kernels against the reference path: on a GPU if there is one, else interpreted."""

import os

import numpy as np
import pytest
import torch
from conftest import crystal

from dglframer import model as network_module
from dglframer.attention_sums import Geometry, attention_sums, reference_sums
from dglframer.batch import Batch, batch_graphs
from dglframer.config import ModelConfig
from dglframer.graphs import build_graph
from dglframer.model import CrystalFramer, calibrate, initialise

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu":  # Triton looks at this when it decorates functions, its own and ours
    os.environ["TRITON_INTERPRET"] = "1"
pytest.importorskip("triton", reason="triton is not installed")
from dglframer.triton_sums import edges_by_source, triton_sums  # noqa: E402

CUTOFF = 4.5  # the interpreter takes milliseconds for an edge
OUTPUTS = {torch.float32: 1e-5, torch.float64: 1e-12}
GRADIENTS = {torch.float32: 1e-4, torch.float64: 1e-10}
CRYSTALS = ["triclinic", "rocksalt", "lonely", "line", "several"]


@pytest.fixture
def crystals(triclinic, rocksalt):
    """Without symmetry; with ties everywhere; without neighbours; with all of them on one line."""
    lonely = crystal("He", "He", 30 * np.eye(3), [[0, 0, 0]])
    line = crystal("H2", "H H", 30 * np.eye(3), [[0, 0, 0], [0.02, 0.01, 0.01]])
    all_of_them = {"triclinic": triclinic, "rocksalt": rocksalt, "lonely": lonely, "line": line}
    return {**{name: [one] for name, one in all_of_them.items()}, "several": all_of_them.values()}


def batch_of(crystals, dtype=torch.float32) -> Batch:
    return batch_graphs([build_graph(one, CUTOFF) for one in crystals], dtype).to(DEVICE)


def random(*shape: int, dtype: torch.dtype = torch.float32, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(DEVICE, dtype)


def arguments(batch: Batch, model: ModelConfig):
    """Queries, keys, values and decays that require gradients."""
    dtype = batch.r_E3.dtype
    shape = len(batch.numbers_N), model.heads, model.width // model.heads
    qkv = [random(*shape, dtype=dtype, seed=seed) for seed in range(3)]
    decay = 0.25 + 0.03 * random(*shape[:2], dtype=dtype, seed=3).abs()
    return [x.requires_grad_() for x in (*qkv, decay)]


def outputs_and_gradients(path, inputs, geometry) -> list[torch.Tensor]:
    """Three sums, then the gradients of a random combination of them."""
    sums = path(*inputs, geometry)
    loss = sum((part * random(*part.shape, dtype=part.dtype, seed=9)).sum() for part in sums)
    return [*(part.detach() for part in sums), *torch.autograd.grad(loss, inputs)]


def assert_paths_agree(batch: Batch, model: ModelConfig) -> None:
    inputs, geometry = arguments(batch, model), Geometry(batch, model)
    ours, exact = (
        outputs_and_gradients(path, inputs, geometry) for path in (triton_sums, reference_sums)
    )
    dtype = batch.r_E3.dtype
    for one, other in zip(ours[:3], exact[:3], strict=True):
        assert torch.allclose(one, other, rtol=0, atol=OUTPUTS[dtype])
    for one, other in zip(ours[3:], exact[3:], strict=True):
        assert abs(one - other).max() <= GRADIENTS[dtype] * max(1e-2, abs(other).max())


@pytest.mark.parametrize("name", CRYSTALS)
@pytest.mark.parametrize("frame", ["max", "none"])
def test_equals_the_reference_path(crystals, name, frame):
    model = ModelConfig(heads=2, width=16, frame=frame)
    assert_paths_agree(batch_of(crystals[name]), model)


def test_equals_the_reference_path_in_float64(crystals):
    assert_paths_agree(batch_of(crystals["several"], torch.float64), ModelConfig(heads=2, width=16))


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
    assert_paths_agree(batch_of(crystals["triclinic"]), ModelConfig(**settings))


def test_two_runs_give_the_same_bits(crystals):
    model = ModelConfig(heads=2, width=16)
    batch = batch_of(crystals["several"])
    runs = [
        outputs_and_gradients(triton_sums, arguments(batch, model), Geometry(batch, model))
        for _ in range(2)
    ]
    assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))


def test_edges_by_source(crystals):
    batch = batch_of(crystals["several"])
    ptr, order = edges_by_source(batch.src_E, len(batch.numbers_N))
    for atom in range(len(batch.numbers_N)):
        mine = (batch.src_E == atom).nonzero().flatten()
        assert torch.equal(order[ptr[atom] : ptr[atom + 1]], mine)


def test_a_whole_network(crystals, monkeypatch):
    """Predictions and the gradient of every parameter, through two blocks."""
    model = ModelConfig(blocks=2, width=16, heads=2, feedforward=32)
    batch = batch_of(crystals["several"])
    network = initialise(CrystalFramer(model), 0).to(DEVICE)
    calibrate(network, batch)
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
    """The same bits as from the kernels; windowed Gaussians stay on the reference path."""
    batch = batch_of(crystals["triclinic"])
    for window, path in ((None, triton_sums), (4.0, reference_sums)):
        model = ModelConfig(heads=2, width=16, window_sigmas=window)
        inputs, geometry = arguments(batch, model), Geometry(batch, model)
        for one, other in zip(
            attention_sums(*inputs, geometry), path(*inputs, geometry), strict=True
        ):
            assert torch.equal(one, other)
