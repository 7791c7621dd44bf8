"""What every backend of the attention has to pass: the sums of the reference, and their gradients.

A new backend needs a line in BACKENDS and nothing else here.
"""

import importlib
import importlib.util

import pytest
import torch
from helpers import crystals
from helpers.attention import of_elements, random
from helpers.interpreted import DEVICE, triton_interpreter  # noqa: F401  (a fixture)

from dglframer.attention import attention_over
from dglframer.attention.contract import Attention, AttentionSums
from dglframer.attention.cpu.attention import CpuAttention
from dglframer.attention.reference.attention import ReferenceAttention
from dglframer.config.networks import CrystalFramerConfig, SymmetryGroup
from dglframer.graphs.batch import Batch, batch_graphs
from dglframer.structures.periodic_graph import build_graph

EVERY_FRAME = ("max", "none", "weighted_pca", "max_static", "pca", "lattice")
# The frames that a backend computes, and where.
BACKENDS = {"cpu": (EVERY_FRAME, "cpu"), "gpu": (("max", "none"), DEVICE)}
# One table: of the sums, absolute; of gradients, relative to the largest.
TOLERANCE = {torch.float64: (1e-12, 1e-10), torch.float32: (1e-5, 1e-4)}
# Triton's interpreter takes milliseconds for an edge: one or two shells of the symmetric crystals.
CUTOFF = {"rocksalt": 3.0, "cscl": 3.6, "copper": 2.6, "diamond": 2.6, "quartz": 2.6, "sheet": 2.6}
CRYSTALS = {
    one.id: one
    for one in (
        crystals.triclinic(),
        crystals.rocksalt(),
        crystals.cscl_like(),
        crystals.copper(),
        crystals.diamond(),
        crystals.quartz(),
        crystals.mirror_site(),
        crystals.hexagonal_site(),
        crystals.own_images(),
        crystals.lonely(),
        crystals.line(),
        crystals.chain(),
        crystals.sheet(),
    )
}
# Where these frames are unique: elsewhere rounding chooses between equal axes (§6).
UNIQUE = {"weighted_pca": ("triclinic",), "pca": ("triclinic",), "lattice": ("triclinic", "own")}


def class_of(backend: str, request) -> type[Attention]:
    """The class that the folder of a backend is named after, such as CpuAttention."""
    if backend == "gpu":
        request.getfixturevalue("triton_interpreter")
    module = importlib.import_module(f"dglframer.attention.{backend}.attention")
    return getattr(module, f"{backend.capitalize()}Attention")


def batch_of(
    *names: str, dtype: torch.dtype, device: str = "cpu", group: SymmetryGroup = "none"
) -> Batch:
    graphs = [build_graph(CRYSTALS[name], CUTOFF.get(name, 4.5)) for name in names]
    return batch_graphs(graphs, dtype, group).to(device)


def outputs_and_gradients(attention: Attention) -> list[torch.Tensor]:
    """Three sums, then the gradients of a random combination of them.

    The gradients are those of elements: of axes that see the same, a backend may take one, so that
    images which the symmetry of a site exchanges have the right gradient only in their sum.
    """
    inputs = of_elements(attention.batch, attention.settings)
    sums = in_gaussians(attention, attention(*(x[attention.batch.numbers_N] for x in inputs)))
    loss = sum((part * random(*part.shape, like=part, seed=9)).sum() for part in sums)
    return [*(part.detach() for part in sums), *torch.autograd.grad(loss, inputs)]


def in_gaussians(attention: Attention, sums: AttentionSums) -> AttentionSums:
    """The sums with those of cosines as the model needs them: polynomials of high degree round more."""
    if attention.settings.frame == "none":
        return sums
    matrix_KQ = attention.cosine_matrix_KQ
    cosines_HNK = (sums.cosines_HNQ.unflatten(2, (3, -1)) @ matrix_KQ.T).flatten(2)
    return sums._replace(cosines_HNQ=cosines_HNK)


def assert_as_the_reference(backend: type[Attention], batch: Batch, **settings) -> None:
    config = CrystalFramerConfig(**{"heads": 2, "width": 16, **settings})
    ours, exact = (
        outputs_and_gradients(one(batch, config)) for one in (backend, ReferenceAttention)
    )
    outputs, gradients = TOLERANCE[batch.r_E3.dtype]
    for one, other in zip(ours[:3], exact[:3], strict=True):
        assert one.shape == other.shape
        assert torch.allclose(one, other, rtol=0, atol=outputs)
    for one, other in zip(ours[3:], exact[3:], strict=True):
        # where symmetry makes a gradient vanish, a few roundings of the numbers of order one in its sum
        floor = max(1e-2 * gradients, 16 * torch.finfo(one.dtype).eps)
        assert abs(one - other).max() <= max(floor, gradients * abs(other).max())
    assert abs(exact[0]).max() > 0.1 and abs(exact[5]).max() > 0


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", CRYSTALS)
@pytest.mark.parametrize(
    ("backend", "frame"),
    [(backend, frame) for backend, (frames, _) in BACKENDS.items() for frame in frames],
)
def test_sums_and_gradients(request, backend, frame, name, dtype):
    """With the average over all ties."""
    if name not in UNIQUE.get(frame, CRYSTALS):
        return pytest.skip("rounding chooses between equal axes there")
    batch = batch_of(name, dtype=dtype, device=BACKENDS[backend][1])
    return assert_as_the_reference(class_of(backend, request), batch, frame=frame)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "settings",
    [
        {"heads": 8, "width": 128},
        {"heads": 3, "width": 15, "distance_bins": 10, "angle_bins": 16, "angle_width_bins": 1.0},
        {"heads": 1, "width": 1},
        {"distance_bins": 10, "distance_width_bins": 2.0},
        {"distance_bins": 70, "distance_width_bins": 0.5, "distance_max_angstrom": 4.0},
        {"frame_ties": "first"},
        {"heads": 12, "width": 60},
        {"even_third_axis": True},
        {"window_sigmas": 4.0},
        {"window_sigmas": 4.0, "angle_bins": 16, "angle_width_bins": 1.0},
    ],
    ids=str,
)
def test_settings(request, backend, settings):
    if backend == "gpu" and "window_sigmas" in settings:
        pytest.skip("the kernels for GPUs do not serve windows")
    batch = batch_of("triclinic", dtype=torch.float32, device=BACKENDS[backend][1])
    assert_as_the_reference(class_of(backend, request), batch, **settings)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_batch_of_several(request, backend):
    names = "mirror", "lonely", "line", "diamond"
    batch = batch_of(*names, dtype=torch.float64, device=BACKENDS[backend][1])
    assert_as_the_reference(class_of(backend, request), batch)


@pytest.mark.parametrize(("frame", "group", "atoms"), [("max", "proper", 5), ("none", "all", 4)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_one_atom_of_each_orbit(request, backend, frame, group, atoms):
    """Edges of several images may come from one atom, and from the atom itself."""
    names, device = ("mirror", "diamond"), BACKENDS[backend][1]
    batch = batch_of(*names, dtype=torch.float64, device=device, group=group)
    assert len(batch.numbers_N) == atoms  # of six
    assert_as_the_reference(class_of(backend, request), batch, frame=frame)


@pytest.mark.parametrize("width", [0.02, 0.5])
@pytest.mark.parametrize("backend", BACKENDS)
def test_near_and_many_ties(request, backend, width):
    """Images within the width that are not the best have less share; 0.5 ties what is not related."""
    batch = batch_of("mirror", dtype=torch.float64, device=BACKENDS[backend][1])
    r_E3 = batch.r_E3.clone()
    r_E3[batch.src_E == 2] *= 0.999
    batch = Batch(**{**vars(batch), "r_E3": r_E3})
    assert_as_the_reference(class_of(backend, request), batch, frame_tie_width=width)


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_calls_give_the_same_bits(request, backend):
    batch = batch_of("mirror", "line", dtype=torch.float32, device=BACKENDS[backend][1])
    config = CrystalFramerConfig(heads=2, width=16)
    kind = class_of(backend, request)
    runs = [outputs_and_gradients(kind(batch, config)) for _ in range(2)]
    assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_bfloat16_is_computed_in_float32(request, backend):
    """The inputs are rounded, nothing else; outputs are float32."""
    kind = ReferenceAttention if backend == "reference" else class_of(backend, request)
    batch = batch_of("own", dtype=torch.float32, device=BACKENDS.get(backend, ("", "cpu"))[1])
    config = CrystalFramerConfig(heads=2, width=16)
    rounded = [x[batch.numbers_N].bfloat16() for x in of_elements(batch, config)]
    attention = kind(batch, config)
    for one, other in zip(
        attention(*rounded), attention(*(x.float() for x in rounded)), strict=True
    ):
        assert one.dtype == torch.float32 and torch.equal(one, other)


def test_the_reference_runs_without_dgl():
    for dtype, (outputs, _) in TOLERANCE.items():
        batch = batch_of("triclinic", "rocksalt", dtype=dtype)
        config = CrystalFramerConfig(heads=2, width=16)
        with_dgl, without = (
            outputs_and_gradients(ReferenceAttention(one, config))
            for one in (batch, batch.without_dgl())
        )
        for one, other in zip(with_dgl, without, strict=True):
            assert abs(one - other).max() <= outputs * max(1, abs(other).max())


def test_no_dgl_graph_is_made_where_nobody_reads_one(monkeypatch):
    """The compiled attention does without; the reference makes one for all its blocks."""
    made = []
    graph = Batch.graph.func  # type: ignore[attr-defined]
    monkeypatch.setattr(Batch.graph, "func", lambda batch: made.append(1) or graph(batch))
    batch, config = batch_of("own", dtype=torch.float32), CrystalFramerConfig(heads=2, width=16)
    inputs = [x[batch.numbers_N] for x in of_elements(batch, config)]
    CpuAttention(batch, config)(*inputs)
    assert not made
    reference = ReferenceAttention(batch, config)
    assert isinstance(reference(*inputs), AttentionSums) and reference(*inputs)
    assert len(made) == 1


def test_the_fastest_that_serves_is_chosen():
    batch = batch_of("own", dtype=torch.float32)
    assert type(attention_over(batch, CrystalFramerConfig())) is CpuAttention
    windows = CrystalFramerConfig(window_sigmas=4.0)
    assert type(attention_over(batch, windows)) is CpuAttention


@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")
@pytest.mark.skipif(not importlib.util.find_spec("triton"), reason="triton is not installed")
def test_the_kernels_are_taken_on_a_gpu():
    from dglframer.attention.gpu.attention import GpuAttention

    batch = batch_of("own", dtype=torch.float32, device="cuda")
    for settings, kind in (
        ({}, GpuAttention),
        ({"window_sigmas": 4.0}, ReferenceAttention),
        ({"frame": "weighted_pca"}, ReferenceAttention),
    ):
        assert type(attention_over(batch, CrystalFramerConfig(**settings))) is kind
