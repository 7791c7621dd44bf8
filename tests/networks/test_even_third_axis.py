"""`even_third_axis`: a mirror image of a crystal has the same prediction."""

import pytest
import torch
from helpers.attention import random
from helpers.crystals import (
    copper,
    cscl_like,
    diamond,
    hexagonal_site,
    line,
    lonely,
    mirror_site,
    own_images,
    quartz,
    rocksalt,
    sheet,
    triclinic,
)
from helpers.descriptions import changed, rotated

import dglframer.attention as attention
from dglframer.attention.cpu.attention import CpuAttention
from dglframer.attention.gaussians import (
    angle_functions,
    angle_matrix,
    angle_step,
    even_in_third_axis,
    gaussians,
)
from dglframer.attention.reference.attention import ReferenceAttention
from dglframer.common.errors import ConfigError
from dglframer.config import parse_config
from dglframer.config.networks import CrystalFramerConfig
from dglframer.graphs.batch import batch_graphs
from dglframer.networks.crystalframer import CrystalFramer
from dglframer.structures.periodic_graph import build_graph

# Among them sites where frames tie, with their mirror images too, and some without a second axis.
CRYSTALS = (triclinic(), rocksalt(), cscl_like(), copper(), diamond(), quartz(), mirror_site(),
            hexagonal_site(), own_images(), lonely(), line(), sheet())  # fmt: skip
CHIRAL = (triclinic(), quartz())
IMPROPER = {
    "a mirror": lambda one: changed(one, lattice=one.lattice_33 * [1, 1, -1]),
    "inversion": lambda one: changed(one, lattice=-one.lattice_33),
    "a mirror and a rotation": lambda one: rotated(
        changed(one, lattice=one.lattice_33 * [-1, 1, 1]), 3
    ),
}
BACKENDS = {"cpu": CpuAttention, "reference": ReferenceAttention}
# Of two backends: outputs absolute, gradients relative to the largest of a tensor.
TOLERANCE = {torch.float64: (1e-12, 1e-10), torch.float32: (1e-5, 1e-3)}


def network_of(frame: str = "max", even: bool = True, dtype=torch.float64) -> CrystalFramer:
    """A calibrated network whose cosines matter: their projections are far from zero."""
    sizes = {"blocks": 2, "width": 32, "heads": 4, "feedforward": 32}
    settings = CrystalFramerConfig(frame=frame, even_third_axis=even, symmetry="none", **sizes)
    network = CrystalFramer(settings).draw(0).to(dtype)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator).to(dtype)
    network.calibrate(batch_of(CRYSTALS, dtype))
    return network.eval()


def batch_of(crystals, dtype=torch.float64):
    return batch_graphs([build_graph(one, 5.0) for one in crystals], dtype)


@torch.no_grad()
def output(network, crystals):
    return network(batch_of(crystals)).flatten()


def test_the_encoding_along_the_third_axis_is_the_even_part_of_its_gaussians():
    settings = CrystalFramerConfig()
    cosine = torch.linspace(-1, 1, 41, dtype=torch.float64)
    angle_3HDK = random(3, 2, 4, settings.angle_bins, like=cosine, seed=0)
    matrix_KQ = torch.from_numpy(angle_matrix(settings, torch.float64))
    functions_QC = torch.stack(list(angle_functions(cosine, settings)))
    found = even_in_third_axis(angle_3HDK @ matrix_KQ) @ functions_QC
    centres_K = torch.linspace(-1, 1, settings.angle_bins, dtype=torch.float64)
    width = settings.angle_width_bins * angle_step(settings)
    b, mirrored = (gaussians(c, centres_K, width).T for c in (cosine, -cosine))
    expected = torch.stack(
        [angle_3HDK[0] @ b, angle_3HDK[1] @ b, angle_3HDK[2] @ ((b + mirrored) / 2)]
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("operation", IMPROPER)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("frame", ["max", "max_static"])
def test_mirror_images_have_the_same_prediction(frame, backend, operation, monkeypatch):
    monkeypatch.setattr(attention, "BACKENDS", (BACKENDS[backend],))
    network = network_of(frame)
    expected = output(network, CRYSTALS)
    found = output(network, [IMPROPER[operation](one) for one in CRYSTALS])
    assert expected.abs().max() > 0.1
    assert (found - expected).abs().max() < 1e-12


@pytest.mark.parametrize("frame", ["max", "max_static"])
def test_without_it_those_of_a_chiral_crystal_differ(frame):
    network = network_of(frame, even=False)
    mirrored = [IMPROPER["a mirror"](one) for one in CHIRAL]
    assert (output(network, mirrored) - output(network, CHIRAL)).abs().min() > 1e-4


def test_the_third_axis_still_counts():
    """Even is not absent: the directions along it change the prediction."""
    network = network_of()
    before = output(network, CHIRAL)
    with torch.no_grad():
        for block in network.blocks:
            block.attention.angle_3HDK[2] = 0
    assert (output(network, CHIRAL) - before).abs().min() > 1e-3


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_outputs_and_gradients_of_both_backends(dtype, monkeypatch):
    network = network_of(dtype=dtype)
    found = []
    for backend in BACKENDS.values():
        monkeypatch.setattr(attention, "BACKENDS", (backend,))
        network.zero_grad()
        values = network(batch_of(CRYSTALS, dtype))
        values.square().sum().backward()
        found.append((values.detach(), [p.grad.clone() for p in network.parameters()]))
    (one, one_gradients), (other, other_gradients) = found
    outputs, gradients = TOLERANCE[dtype]
    assert (one - other).abs().max() < outputs
    for name, mine, theirs in zip(
        dict(network.named_parameters()), one_gradients, other_gradients, strict=True
    ):
        if "key.bias" not in name:  # zero in theory
            assert (mine - theirs).abs().max() <= gradients * theirs.abs().max(), name


def test_it_is_off_unless_asked_for_and_asks_for_frames_that_it_fits():
    assert parse_config({}).crystalframer.even_third_axis is False
    for others in ({"frame": "pca"}, {"frame": "lattice"}, {"frame": "weighted_pca"}):
        with pytest.raises(ConfigError, match="is for frame max and max_static only"):
            parse_config({"crystalframer": {"even_third_axis": True, **others}})
    with pytest.raises(ConfigError, match="even_third_axis needs window_sigmas: null"):
        parse_config({"crystalframer": {"even_third_axis": True, "window_sigmas": 4.0}})
