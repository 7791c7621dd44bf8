"""Generated objects: their solids, what a scan from one side sees of them, and their file."""

import numpy as np
import pytest

from dglframer.common.errors import DamagedFile
from dglframer.common.files import sha256
from dglframer.experiments.data_set import PARTS
from dglframer.experiments.shapes.clouds import (
    bent,
    generate,
    in_front,
    read_clouds,
    write_clouds,
)
from dglframer.experiments.shapes.models import CLASSES
from dglframer.experiments.shapes.objects import OBJECTS, box_, cabinet
from dglframer.experiments.shapes.solids import Solid, area, box, points_on

DESCRIPTION = {"source": "generated", "seed": 0, "classes": list(OBJECTS)}
KINDS = ("box", "cylinder", "ellipsoid")


@pytest.fixture(scope="module")
def clouds():
    return generate(2, 0, "train")


@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_points_lie_on_the_surface(kind, is_open):
    solid = Solid(kind, (1.0, -2.0, 0.5), (0.3, 0.2, 0.6), is_open)
    points = points_on([solid], 500, np.random.default_rng(0))
    x, y, z = ((points - solid.centre) / solid.half).T
    around = (x**2 + y**2) ** 0.5
    size = {
        "box": np.max(np.abs([x, y, z]), axis=0),
        "cylinder": np.maximum(around, np.abs(z)),
        "ellipsoid": (around**2 + z**2) ** 0.5,
    }[kind]
    assert len(points) == 500 and np.abs(size - 1).max() < 1e-12
    on_top = (z > 1 - 1e-12) & (around < 0.9)
    assert on_top.any() == (kind != "ellipsoid" and not is_open)


@pytest.mark.parametrize("kind", KINDS)
def test_points_are_spread_by_area(kind):
    """Of the upper part of a flat solid: its share of the points is its share of the area."""
    solid = Solid(kind, (0, 0, 0), (1.0, 1.0, 0.1))
    points = points_on([solid], 20_000, np.random.default_rng(1))
    inner = np.linalg.norm(points[:, :2], axis=1) < 0.5
    expected = {"box": 2 * np.pi * 0.25, "cylinder": 2 * np.pi * 0.25, "ellipsoid": 1.572}[kind]
    assert inner.mean() == pytest.approx(expected / area(solid), rel=0.06)


def test_areas_of_known_solids():
    half = (0.5, 0.5, 0.5)
    assert area(Solid("box", (0, 0, 0), half)) == pytest.approx(6)
    assert area(Solid("box", (0, 0, 0), half, is_open=True)) == pytest.approx(5)
    assert area(Solid("cylinder", (0, 0, 0), half)) == pytest.approx(1.5 * np.pi)
    assert area(Solid("ellipsoid", (0, 0, 0), half)) == pytest.approx(np.pi, rel=0.01)


@pytest.mark.parametrize("name", OBJECTS)
def test_objects_stand_on_the_floor_and_have_the_size_of_furniture(name):
    for seed in range(8):
        rng = np.random.default_rng(seed)
        points = points_on(OBJECTS[name](rng), 3000, rng)
        assert -1e-12 < points[:, 2].min() < 0.25
        extent = np.ptp(points, axis=0)
        assert (extent > 0.05).all() and 0.25 < extent.max() < 2.7


def test_a_cabinet_is_upright_and_a_box_lies():
    for seed in range(20):
        tall, flat = (maker(np.random.default_rng(seed))[0].half for maker in (cabinet, box_))
        assert tall[2] > tall[0] and flat[2] < flat[0]


def test_the_side_that_faces_the_eye_is_seen_and_the_other_is_hidden():
    points = points_on([box(1, 1, 1)], 4000, np.random.default_rng(0))
    visible = in_front(points, np.array([1.0, 0, 0]), 0.08)
    assert visible[points[:, 0] > 0.49].all()
    assert not visible[points[:, 0] < -0.49].any()


def test_bending_leaves_the_foot_where_it_is():
    points = points_on([box(1, 1, 2)], 4000, np.random.default_rng(0))
    after = bent(points, np.random.default_rng(3))
    shift = after[points[:, 2] > 1.99].mean(axis=0) - after[points[:, 2] < 0.01].mean(axis=0)
    assert np.abs(after[points[:, 2] < 0.01]).max(axis=0)[:2].max() < 0.5 * 1.15 + 1e-3
    assert 0.01 < np.abs(shift[:2]).max() < 0.15 * 2 * 1.15 + 0.05


def test_clouds_have_128_points_around_their_mean_within_distance_one(clouds):
    assert clouds.points.shape == (2 * CLASSES, 128, 3) and clouds.points.dtype == np.float32
    assert np.abs(clouds.points.mean(axis=1)).max() < 1e-6
    assert np.linalg.norm(clouds.points, axis=2).max(axis=1) == pytest.approx(1, abs=1e-6)
    assert clouds.labels.tolist() == [label for label in range(CLASSES) for _ in range(2)]


def test_more_objects_are_the_same_first_ones_and_parts_and_seeds_differ(clouds):
    one = generate(1, 0, "train")
    assert np.array_equal(one.points, clouds.points[::2])
    others = [generate(1, *of).points for of in ((0, "val"), (0, "test"), (1, "train"))]
    assert len({points.tobytes() for points in (one.points, *others)}) == 4


def test_a_data_set_is_read_as_it_was_written_and_has_the_same_bytes_twice(clouds, tmp_path):
    for name in ("a", "b"):
        write_clouds(tmp_path / name, dict.fromkeys(PARTS, clouds), DESCRIPTION)
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b")
    parts, description = read_clouds(tmp_path / "a")
    assert np.array_equal(parts["val"].points, clouds.points)
    assert np.array_equal(parts["test"].labels, clouds.labels)
    assert description["classes"] == list(OBJECTS)


@pytest.mark.parametrize("content", [None, b"", b"garbage" * 9])
def test_a_damaged_data_set_is_named(tmp_path, content):
    path = tmp_path / "shapes-data"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DamagedFile, match="shapes-data"):
        read_clouds(path)
