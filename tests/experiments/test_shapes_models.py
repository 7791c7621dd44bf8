"""The networks of the objects experiment: their symmetries, and defects that the same checks catch."""

from typing import get_args

import numpy as np
import pytest
import torch

from dglframer.config.experiments import ShapesModel
from dglframer.experiments.rotations import random_rotations
from dglframer.experiments.shapes import models
from dglframer.experiments.shapes.clouds import generate
from dglframer.experiments.shapes.evaluation import change
from dglframer.experiments.shapes.models import CLASSES, Size, build, neighbour_graph
from dglframer.experiments.shapes.table import LABELS, PUBLISHED
from dglframer.experiments.shapes.task import Examples, about_z, examples, logits, tilts

NAMES = get_args(ShapesModel)
INVARIANT = ("tfn", "se3_transformer")
WITH_HEIGHT = ("tfn_z", "se3_transformer_z")
SIZE = Size(degrees=3, channels=8, layers=1, neighbours=8)
# The largest change of a class's probability.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


@pytest.fixture(scope="module")
def objects() -> Examples:
    clouds = generate(1, 0, "test")
    return examples(clouds, dtype=torch.float64)


@pytest.fixture(scope="module", params=NAMES)
def network(request):
    return build(request.param, SIZE, seed=0).double()


def rotations(of: Examples) -> np.ndarray:
    return random_rotations(len(of), 1)


def test_every_model_has_a_name_in_the_table():
    assert set(LABELS) == set(NAMES) and set(PUBLISHED) <= set(NAMES)
    assert LABELS["tfn_z"] == "TFN +z"


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", INVARIANT)
def test_without_the_height_no_rotation_changes_a_prediction(name, dtype, objects):
    cast = Examples(objects.points.to(dtype), objects.labels)
    for seed in (0, 1):
        network = build(name, SIZE, seed).to(dtype)
        assert change(network, cast, rotations(cast)) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", WITH_HEIGHT)
def test_with_the_height_rotations_about_z_alone_change_nothing(name, dtype, objects):
    cast = Examples(objects.points.to(dtype), objects.labels)
    network = build(name, SIZE, seed=0).to(dtype)
    assert change(network, cast, about_z(len(cast), 1)) < TOLERANCE[dtype]
    assert change(network, cast, tilts(len(cast), 90, 1)) > 1e-3


@pytest.mark.parametrize("name", ["deepset", "set_transformer", "pointnet"])
def test_the_others_change_with_rotations_about_z(name, objects):
    network = build(name, SIZE, seed=0).double()
    assert change(network, objects, about_z(len(objects), 1)) > TOLERANCE[torch.float32]


def test_the_order_of_points_does_not_matter(network, objects):
    order = torch.randperm(128, generator=torch.Generator().manual_seed(0))
    before, after = logits(network, objects.points), logits(network, objects.points[:, order])
    assert before.shape == (len(objects), CLASSES) and before.isfinite().all()
    assert (after - before).abs().max() < 1e-10


def test_objects_do_not_see_each_other(network, objects):
    alone = torch.cat([logits(network, one[None]) for one in objects.points])
    assert (logits(network, objects.points) - alone).abs().max() < 1e-10


def test_the_points_matter(network, objects):
    other = objects.points.clone()
    other[:, :20] *= 0.5
    assert (logits(network, other) - logits(network, objects.points)).abs().max() > 1e-6


class Broken(torch.nn.Module):
    """A network that sees points as ``defect`` leaves them."""

    def __init__(self, name, defect):
        super().__init__()
        self.inner, self.defect = build(name, SIZE, seed=0).double(), defect

    def forward(self, points):
        return self.inner(self.defect(points))


def longer_z(points):
    return points * points.new_tensor([1, 1, 1.001])


def first_point_higher(points):
    return torch.cat([points[:, :1] + points.new_tensor([0, 0, 1e-3]), points[:, 1:]], 1)


@pytest.mark.parametrize("defect", [longer_z, first_point_higher])
@pytest.mark.parametrize("name", INVARIANT)
def test_a_defect_of_a_thousandth_is_caught(name, defect, objects):
    assert change(Broken(name, defect), objects, rotations(objects)) > TOLERANCE[torch.float32]


def test_a_height_along_another_axis_is_caught(objects):
    broken = Broken("tfn_z", lambda points: points[..., [2, 0, 1]])  # a rotation: y is taken as z
    assert change(broken, objects, about_z(len(objects), 1)) > TOLERANCE[torch.float32]


def test_messages_of_mirrored_edges_are_caught(objects, monkeypatch):
    """Edges that do not turn with the points, as a wrong order of coordinates would make them."""

    def mirrored(points, neighbours):
        edges = neighbour_graph(points, neighbours)
        edges.d_E3[:, 0] *= -1
        return edges

    monkeypatch.setattr(models, "neighbour_graph", mirrored)
    for name in INVARIANT:
        network = build(name, SIZE, seed=0).double()
        assert change(network, objects, rotations(objects)) > TOLERANCE[torch.float32]


def test_an_order_of_points_that_matters_is_caught(objects):
    order = torch.randperm(128, generator=torch.Generator().manual_seed(0))
    broken = Broken("pointnet", first_point_higher)
    before, after = logits(broken, objects.points), logits(broken, objects.points[:, order])
    assert (after - before).abs().max() > 1e-10


def test_edges_come_from_the_nearest_points(objects):
    edges = neighbour_graph(objects.points[:2], 5)
    assert len(edges.src_E) == 2 * 128 * 5 and edges.edge_ptr.diff().eq(5).all()
    assert edges.dst_E.equal(torch.arange(256).repeat_interleave(5))
    points = objects.points[:2].flatten(0, 1)
    assert edges.d_E3.equal(points[edges.dst_E] - points[edges.src_E])
    for node in (0, 77, 128, 255):
        own = torch.arange(128) + node // 128 * 128
        distances = (points[own] - points[node]).norm(dim=1)
        expected = own[distances.argsort()[1:6]]
        assert set(edges.src_E[5 * node : 5 * node + 5].tolist()) == set(expected.tolist())


def test_a_point_in_the_same_place_is_no_neighbour(objects):
    doubled = torch.cat([objects.points[:1], objects.points[:1]], 1)
    edges = neighbour_graph(doubled, 5)
    assert edges.d_E3.norm(dim=1).min() > 1e-4
    network = build("se3_transformer", SIZE, seed=0).double().eval()
    assert network(doubled).isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_alone_makes_the_weights(name):
    before = torch.get_rng_state()
    first, same, other = (build(name, SIZE, seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)
