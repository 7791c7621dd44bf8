"""What is the Triton backend's own: its search for frames, its threshold, a whole network."""

import pytest
import torch
from helpers import crystals
from helpers.attention import of_elements
from helpers.interpreted import DEVICE, triton_interpreter  # noqa: F401  (a fixture)

import dglframer.attention as door
from dglframer.attention.constants import negligible_gap
from dglframer.attention.reference.attention import ReferenceAttention
from dglframer.config.networks import CrystalFramerConfig
from dglframer.graphs.batch import Batch, batch_graphs
from dglframer.networks.crystalframer import CrystalFramer
from dglframer.structures.periodic_graph import build_graph

pytest.importorskip("triton", reason="triton is not installed")
pytestmark = pytest.mark.usefixtures("triton_interpreter")

from dglframer.attention.gpu import attention as module  # noqa: E402
from dglframer.attention.gpu.attention import GpuAttention, edges_by_source  # noqa: E402

SMALL = CrystalFramerConfig(heads=2, width=16)


def batch_of(*names: str, cutoff: float = 4.5, dtype: torch.dtype = torch.float32) -> Batch:
    graphs = [build_graph(getattr(crystals, name)(), cutoff) for name in names]
    return batch_graphs(graphs, dtype).to(DEVICE)


@pytest.mark.parametrize("held", [1, 8])
def test_more_axes_than_are_held(monkeypatch, held):
    """A tie so wide that images in no relation take part: the average is over them all."""
    monkeypatch.setattr(module, "HELD", held)
    batch = batch_of("mirror_site", cutoff=4.0, dtype=torch.float64)
    settings = SMALL.model_copy(update={"frame_tie_width": 0.5})
    inputs = [x[batch.numbers_N] for x in of_elements(batch, settings)]
    for one, other in zip(
        GpuAttention(batch, settings)(*inputs),
        ReferenceAttention(batch, settings)(*inputs),
        strict=True,
    ):
        assert abs(one - other).max() < 1e-12


def test_edges_that_cannot_matter():
    """Weights below 1e-8 of the largest: the sums agree nevertheless, and values are not looked at."""
    batch = batch_of("triclinic", cutoff=6.0)
    attention = GpuAttention(batch, SMALL)
    far = 3 * 0.25 * attention.d2_E > negligible_gap(torch.float32)
    assert 0.2 < far.double().mean() < 0.8
    with torch.no_grad():
        q, k, v, decay = (x[batch.numbers_N] for x in of_elements(batch, SMALL))
        for one, other in zip(
            attention(q, k, v, 3 * decay),
            ReferenceAttention(batch, SMALL)(q, k, v, 3 * decay),
            strict=True,
        ):
            assert abs(one - other).max() < 1e-5
        v[0] = torch.nan
        sums = attention(q, k, v, 100 * decay)
    assert sums.values_NHD[0].isnan().all()
    assert torch.equal(sums.values_NHD[1:], v[1:])  # each atom sees itself alone
    assert sums.distances_HNK.isfinite().all()


def test_edges_by_source():
    batch = batch_of("mirror_site", "lonely", "line")
    ptr, order = edges_by_source(batch.src_E, len(batch.numbers_N))
    for atom in range(len(batch.numbers_N)):
        mine = (batch.src_E == atom).nonzero().flatten()
        assert torch.equal(order[ptr[atom] : ptr[atom + 1]], mine)


def test_a_whole_network(monkeypatch):
    """Predictions and the gradient of every parameter, through two blocks."""
    settings = CrystalFramerConfig(blocks=2, width=16, heads=2, feedforward=32)
    batch = batch_of("mirror_site", "lonely", "line", cutoff=4.0)
    network = CrystalFramer(settings).draw(0).to(DEVICE)
    network.calibrate(batch)
    results, taken = [], []
    sums = GpuAttention.sums
    monkeypatch.setattr(GpuAttention, "sums", lambda *args: taken.append(1) or sums(*args))
    for backend in (GpuAttention, ReferenceAttention):
        monkeypatch.setattr(backend, "serves", classmethod(lambda cls, batch, settings: True))
        monkeypatch.setattr(door, "BACKENDS", (backend,))
        output = network(batch)
        gradients = torch.autograd.grad(output.square().sum(), list(network.parameters()))
        results.append((output, gradients))
    (ours, our_gradients), (exact, exact_gradients) = results
    assert len(taken) == 2 and abs(ours - exact).max() <= 1e-5
    max_gradient = max(abs(one).max() for one in exact_gradients)
    for one, other in zip(our_gradients, exact_gradients, strict=True):
        assert abs(one - other).max() <= 1e-4 * max_gradient
