"""Equivalent atoms computed once: the outputs and gradients of every atom computed by itself."""

from typing import Any

import numpy as np
import pytest
import torch
from helpers.crystals import copper, cscl_like, diamond, mirror_site, quartz, rocksalt, triclinic
from helpers.descriptions import changed, permuted, rotated, supercell
from helpers.paths import SHARED, needs_shared

import dglframer.attention as attention
from dglframer.attention.reference.attention import ReferenceAttention
from dglframer.config.networks import CrystalFramerConfig, TfnConfig, symmetry_group
from dglframer.data.sources.structure_files import read_structure_file
from dglframer.graphs.batch import Batch, batch_graphs
from dglframer.networks.build import build
from dglframer.networks.crystalframer import CrystalFramer
from dglframer.structures.crystal import validate
from dglframer.structures.periodic_graph import build_graph

CUTOFF = 5.5
# One table: of outputs, which are about 0.3, absolute; of gradients, relative to the largest of a tensor.
TOLERANCE = {torch.float64: (1e-9, 1e-7), torch.float32: (2e-5, 1e-3)}
EXACT_TO = (
    1e-5  # of a standard deviation, for crystals that are symmetric within the tolerance only
)
REDUCED_FRAMES = ("max", "max_static", "max, even", "max_static, even", "none")
CRYSTALS = (
    quartz(),
    mirror_site(),
    rotated(supercell(rocksalt(), (2, 1, 2)), 3),
    permuted(supercell(diamond(), (1, 2, 2)), 4),
    supercell(triclinic(), (2, 1, 1)),
    cscl_like(),
    copper(),
)


def kind_of(frame: str) -> dict[str, Any]:
    """The settings of a frame of REDUCED_FRAMES."""
    method, *even = frame.split(", ")
    return {"frame": method, "even_third_axis": bool(even)}


def trained_like(frame: str, dtype: torch.dtype, **settings) -> CrystalFramer:
    """A calibrated network whose parameters are all away from zero; without frames it knows properties."""
    config = CrystalFramerConfig(
        **kind_of(frame),
        element_properties=frame == "none",
        blocks=2,
        width=32,
        heads=4,
        feedforward=32,
        **settings,
    )
    network = CrystalFramer(config).draw(0).to(dtype)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator).to(dtype)
    network.calibrate(batch_of(dtype, "none"))
    return network


def batch_of(dtype: torch.dtype, group, crystals=CRYSTALS) -> Batch:
    return batch_graphs([build_graph(one, CUTOFF) for one in crystals], dtype, group)


def outputs_and_gradients(network: CrystalFramer, batch: Batch):
    """Outputs, and the gradients of a sum of their squares by the names of the parameters."""
    network.zero_grad()
    output = network(batch)
    output.square().sum().backward()
    return output.detach(), {name: p.grad.clone() for name, p in network.named_parameters()}


@pytest.mark.parametrize("pooling", ["mean", "sum"])
@pytest.mark.parametrize("backend", ["fastest", "reference"])
@pytest.mark.parametrize("frame", REDUCED_FRAMES)
def test_outputs_and_gradients_are_those_of_every_atom(frame, backend, pooling, monkeypatch):
    if backend == "reference":
        monkeypatch.setattr(attention, "BACKENDS", (ReferenceAttention,))
    for dtype, (of_outputs, of_gradients) in TOLERANCE.items():
        network = trained_like(frame, dtype, pooling=pooling)
        whole, reduced = batch_of(dtype, "none"), batch_of(dtype, symmetry_group(network.settings))
        assert len(reduced.numbers_N) < 0.5 * len(whole.numbers_N)
        expected, of_whole = outputs_and_gradients(network, whole)
        found, of_reduced = outputs_and_gradients(network, reduced)
        assert expected.abs().max() > 0.1
        scale = max(1.0, float(expected.abs().max()))
        assert (found - expected).abs().max() < of_outputs * scale
        for name, gradient in of_whole.items():
            if "key.bias" in name:  # zero in theory: the softmax does not see it
                continue
            difference = (of_reduced[name] - gradient).abs().max()
            assert difference < of_gradients * gradient.abs().max(), name


def test_maxima_over_atoms():
    """Outputs alone: where atoms are equal, torch divides a positive gradient of a maximum among them
    and gives each of them a negative one."""
    network = trained_like("max", torch.float64, pooling="max").eval()
    with torch.no_grad():
        whole, reduced = (network(batch_of(torch.float64, group)) for group in ("none", "proper"))
    torch.testing.assert_close(reduced, whole, rtol=0, atol=1e-9)


@pytest.mark.parametrize("frame", REDUCED_FRAMES)
def test_rounded_coordinates_move_outputs_by_the_second_order_alone(frame):
    """Each coordinate off by some 1e-6 angstrom: outputs of the crystal and of its average agree to 1e-9."""
    network = trained_like(frame, torch.float64).eval()
    rng = np.random.default_rng(4)
    rounded = []
    for one in (quartz(), supercell(diamond(), (1, 2, 1)), supercell(triclinic(), (3, 1, 1))):
        noise_N3 = rng.normal(0, 1e-6, one.coords_N3.shape) @ np.linalg.inv(one.lattice_33)
        lattice_33 = one.lattice_33 + rng.normal(0, 1e-6, (3, 3))
        rounded.append(changed(one, lattice=lattice_33, frac=one.coords_N3 + noise_N3))
    whole = batch_of(torch.float64, "none", rounded)
    reduced = batch_of(torch.float64, symmetry_group(network.settings), rounded)
    assert len(reduced.numbers_N) == 2 + 1 + 4
    with torch.no_grad():
        assert (network(whole) - network(reduced)).abs().max() < 1e-9


@pytest.mark.parametrize("frame", REDUCED_FRAMES)
def test_features_of_every_atom(frame):
    network = trained_like(frame, torch.float64).eval()
    whole = batch_of(torch.float64, "none")
    reduced = batch_of(torch.float64, symmetry_group(network.settings))
    with torch.no_grad():
        expected, found = (network.encode(batch)[0] for batch in (whole, reduced))
    torch.testing.assert_close(reduced.of_every_atom(found), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("frame", REDUCED_FRAMES)
def test_calibration_counts_every_atom(frame):
    group = symmetry_group(CrystalFramerConfig(**kind_of(frame)))
    one, other = (trained_like(frame, torch.float64) for _ in range(2))
    other.calibrate(batch_of(torch.float64, group))
    for block, same in zip(one.blocks, other.blocks, strict=True):
        for name in ("sigma_shift", "sigma_scale"):
            expected, found = getattr(block.attention, name), getattr(same.attention, name)
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("settings", "group"),
    [
        (CrystalFramerConfig(), "all"),  # a mirror changes right-handed frames
        (CrystalFramerConfig(frame="pca"), "proper"),
        (CrystalFramerConfig(symmetry="none"), "proper"),
        (TfnConfig(), "proper"),
    ],
    ids=["max", "pca", "none", "tfn"],
)
def test_a_batch_of_another_group_is_refused(settings, group):
    network = build(settings, 1)
    with pytest.raises(ValueError, match=f"are one here: {group}"):
        network(batch_of(torch.float32, group))


def test_a_mirror_does_change_frames():
    """Why the default frames are computed under proper operations only: the difference is no rounding."""
    one = batch_of(torch.float64, "none", [mirror_site()])
    with torch.no_grad():
        x_NW, even_NW = (
            trained_like(frame, torch.float64).eval().encode(one)[0]
            for frame in ("max", "max, even")
        )
    assert (x_NW[1] - x_NW[2]).abs().max() > 1e-3
    assert (even_NW[1] - even_NW[2]).abs().max() < 1e-12


@needs_shared
@pytest.mark.parametrize("frame", REDUCED_FRAMES)
def test_real_crystals(frame):
    """Files with coordinates of six digits and less, among them large cells."""
    paths = [path for path in sorted((SHARED / "data" / "structures").iterdir())
             if path.suffix == ".cif"]  # fmt: skip
    records = [record for path in paths for record in read_structure_file(path, path.stem)]
    crystals = [validate(one) for one in records if not one.problem and one.lattice is not None]
    crystals = [one for one in crystals if len(one.numbers_N) < 100]
    network = trained_like(frame, torch.float64).eval()
    whole = batch_of(torch.float64, "none", crystals)
    reduced = batch_of(torch.float64, symmetry_group(network.settings), crystals)
    assert len(reduced.numbers_N) < len(whole.numbers_N)
    with torch.no_grad():
        expected, found = network(whole).numpy(), network(reduced).numpy()
    assert np.abs(found - expected).max() < EXACT_TO * max(1.0, float(expected.std()))
