"""Frames that the surroundings of an atom do not settle: outputs are finite, repeatable, and of the crystal.

Ties (diamond, fcc), neighbours on one line (no second axis), in one plane, and none at all. That every
backend, the GPU's included, gives the same there is in tests/attention/test_contract.py.
"""

import pytest
import torch
from helpers import crystals
from helpers.descriptions import permuted, rotated, supercell

from dglframer.config.networks import CrystalFramerConfig
from dglframer.graphs.batch import Batch, batch_graphs
from dglframer.networks.crystalframer import CrystalFramer
from dglframer.structures.crystal import Crystal
from dglframer.structures.periodic_graph import build_graph

FRAMES = ("max", "max_static", "weighted_pca", "pca", "lattice", "none")
TOLERANCE = 1e-9  # float64, of outputs of about 0.1
SMALL = {"blocks": 2, "width": 16, "heads": 2, "feedforward": 16, "symmetry": "none"}


CUTOFF = {"diamond": 2.6, "copper": 2.6, "sheet": 2.6, "chain": 5.5}
CRYSTALS = {
    one.id: one
    for one in (
        crystals.diamond(),
        crystals.copper(),
        crystals.chain(),
        crystals.line(),
        crystals.sheet(),
        crystals.lonely(),
    )
}


def batch_of(one: Crystal) -> Batch:
    return batch_graphs([build_graph(one, CUTOFF.get(one.id, 4.5))], torch.float64)


def network_of(frame: str) -> CrystalFramer:
    network = CrystalFramer(CrystalFramerConfig(frame=frame, **SMALL)).draw(0).double()
    network.calibrate(batch_of(crystals.triclinic()))
    return network


def output_and_gradients(network: CrystalFramer, batch: Batch) -> list[torch.Tensor]:
    output = network(batch)
    return [output.detach(), *torch.autograd.grad(output.sum(), list(network.parameters()))]


@pytest.mark.parametrize("name", CRYSTALS)
@pytest.mark.parametrize("frame", FRAMES)
def test_outputs_and_gradients_are_finite_and_the_same_bits_each_time(frame, name):
    network, batch = network_of(frame), batch_of(CRYSTALS[name])
    first, second = (output_and_gradients(network, batch) for _ in range(2))
    assert all(one.isfinite().all() for one in first)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    assert abs(first[0]).item() > 1e-4


@pytest.mark.parametrize("name", CRYSTALS)
@pytest.mark.parametrize("frame", ["max", "max_static"])
def test_the_output_is_a_function_of_the_crystal(frame, name):
    """All ties count: neither the order of the atoms nor the direction of the crystal chooses."""
    network, one = network_of(frame), CRYSTALS[name]
    others = [rotated(one, 3), permuted(one, 4), rotated(one, 5)]
    others += [rotated(supercell(one, (2, 1, 1)), 6)] if name != "lonely" else []
    with torch.no_grad():
        expected = network(batch_of(one)).item()
        for other in others:
            assert abs(network(batch_of(other)).item() - expected) < TOLERANCE
