"""The models of the N-body table: their symmetries, sizes and seeds."""

from typing import get_args

import pytest
import torch
from helpers.edges import check_alike

from dglframer.config.experiments import NbodyModel
from dglframer.experiments.nbody.evaluation import equivariance_errors
from dglframer.experiments.nbody.models import RECEIVERS, SENDERS, Linear, build, complete_graph
from dglframer.experiments.nbody.table import LABELS
from dglframer.experiments.nbody.task import Examples, squared_errors
from dglframer.experiments.nbody.training import predictions
from dglframer.experiments.rotations import random_rotations, turn

NAMES = get_args(NbodyModel)
EQUIVARIANT = ("tfn", "se3_transformer", "egnn")


@pytest.fixture(scope="module")
def systems() -> Examples:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return Examples(normal(6, 5, 3), normal(6, 5, 3) / 2, normal(6, 5).sign(), normal(6, 5, 2, 3))


@pytest.fixture(scope="module", params=NAMES)
def network(request):
    return build(request.param, degrees=3, seed=0).double().eval()


def test_every_model_has_a_name_in_the_table():
    assert set(LABELS) == {"linear", *NAMES}


def test_every_pair_is_there_once_receiver_by_receiver():
    assert sorted(RECEIVERS) == RECEIVERS
    pairs = set(zip(RECEIVERS, SENDERS, strict=True))
    assert pairs == {(i, j) for i in range(5) for j in range(5) if i != j}


def test_twins_of_the_complete_graph_are_reverse_to_each_other(systems):
    edges = complete_graph(systems.positions, systems.charges)
    one, other = edges.alike_PD.T
    assert edges.src_E[one].equal(edges.dst_E[other]) and edges.dst_E[one].equal(edges.src_E[other])
    check_alike(edges)


def test_outputs_are_changes_of_position_and_velocity(network, systems):
    output = predictions(network, systems)
    assert output.shape == (6, 5, 2, 3) and output.isfinite().all()
    assert squared_errors(output, systems.targets).shape == (6, 2)


def test_systems_do_not_see_each_other(network, systems):
    together = predictions(network, systems)
    alone = torch.cat([predictions(network, systems.rows(slice(k, k + 1))) for k in range(6)])
    assert (together - alone).abs().max() < 1e-12


def test_the_order_of_particles_does_not_matter(network, systems):
    order = torch.tensor([3, 0, 4, 1, 2])
    of = (systems.positions, systems.velocities, systems.charges)
    with torch.no_grad():
        difference = network(*(one[:, order] for one in of)) - network(*of)[:, order]
    assert difference.abs().max() < 1e-12


def test_where_the_system_is_does_not_matter(network, systems):
    shift = torch.tensor([5.0, -3.0, 2.0], dtype=torch.float64)
    with torch.no_grad():
        there = network(systems.positions + shift, systems.velocities, systems.charges)
    assert (there - predictions(network, systems)).abs().max() < 1e-11


def test_charges_and_velocities_matter(network, systems):
    of = (systems.positions, systems.velocities, systems.charges)
    one = torch.tensor([1.0, 1, 1, 1, -1], dtype=torch.float64)
    with torch.no_grad():
        plain = network(*of)
        for other in ((of[0], 2 * of[1], of[2]), (*of[:2], of[2] * one)):
            assert (network(*other) - plain).abs().max() > 1e-8


@pytest.mark.parametrize("name", EQUIVARIANT)
def test_equivariant_models_are(name, systems):
    network = build(name, degrees=3, seed=1).double()
    assert equivariance_errors(network, systems, predictions(network, systems)).max() < 1e-12
    network, in32 = network.float(), systems.to(torch.device("cpu"), torch.float32)
    assert equivariance_errors(network, in32, predictions(network, in32)).max() < 3e-5


@pytest.mark.parametrize("name", ["deepset", "set_transformer"])
def test_the_others_are_not(name, systems):
    network = build(name, degrees=3, seed=1).double()
    assert equivariance_errors(network, systems, predictions(network, systems)).min() > 1e-3


def test_a_small_defect_is_seen_at_its_size(systems):
    """The published number has 7 digits of room below it: a constant of 1e-4 must not pass."""

    class Defective(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Linear(10)

        def forward(self, positions, velocities, charges):
            return self.inner(positions, velocities, charges) + 1e-4

    errors = equivariance_errors(Defective(), systems, predictions(Defective(), systems))
    assert 1e-6 < errors[:, 0].mean() < 1e-3
    clean = equivariance_errors(Linear(10), systems, predictions(Linear(10), systems))
    assert clean.max() < 1e-15


def test_rotations_are_proper_and_uniform():
    rotations = torch.from_numpy(random_rotations(4000, 0))
    assert (torch.linalg.det(rotations) - 1).abs().max() < 1e-12
    x = torch.tensor([[0.0, 0, 1]], dtype=torch.float64).expand(4000, 3)
    turned = turn(rotations, x)
    assert turned.mean(0).abs().max() < 0.05
    assert ((turned**2).mean(0) - 1 / 3).abs().max() < 0.02


@pytest.mark.parametrize(
    ("name", "degrees", "parameters"),
    [
        ("se3_transformer", 4, 293_920),
        ("se3_transformer", 3, 153_418),
        ("se3_transformer", 2, 66_292),
    ],
)
def test_sizes_are_those_of_the_official_code(name, degrees, parameters):
    network = build(name, degrees, seed=0)
    assert sum(one.numel() for one in network.parameters()) == parameters


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_alone_makes_the_weights(name):
    before = torch.get_rng_state()
    first, same, other = (build(name, 2, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    pairs = zip(first.parameters(), same.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    pairs = zip(first.parameters(), other.parameters(), strict=True)
    assert not all(torch.equal(a, b) for a, b in pairs)
