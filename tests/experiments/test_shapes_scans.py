"""The loader of ScanObjectNN, on small files of the same layout. The real files may not be passed on."""

import sys

import h5py
import numpy as np
import pytest

from dglframer.common.errors import DamagedFile, UserError
from dglframer.experiments.shapes.scan_files import CLASSES, FILES, read_scans


def scans(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Objects of 300 points in a slab that is highest along y, somewhere in space; their labels."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-1, 1, (count, 300, 3)) * (0.3, 1.0, 0.5) + rng.normal(size=(count, 1, 3))
    return points.astype(np.float32), np.arange(count) % len(CLASSES)


@pytest.fixture
def folder(tmp_path):
    for seed, (name, count) in enumerate(zip(FILES.values(), (40, 12), strict=True)):
        points, labels = scans(count, seed)
        with h5py.File(tmp_path / name, "w") as file:
            file["data"], file["label"] = points, labels
    return tmp_path


def test_every_object_is_there_once_and_a_tenth_of_the_training_ones_validate(folder):
    parts = read_scans(folder, "y", seed=0)
    assert {part: len(clouds) for part, clouds in parts.items()} == {
        "train": 36,
        "val": 4,
        "test": 12,
    }
    known = np.concatenate([parts["train"].labels, parts["val"].labels])
    assert sorted(known) == sorted(np.arange(40) % 15)
    assert parts["test"].labels.tolist() == list(range(12))
    objects = {one.tobytes() for clouds in parts.values() for one in clouds.points}
    assert len(objects) == 52
    again, other = read_scans(folder, "y", seed=0), read_scans(folder, "y", seed=1)
    assert np.array_equal(again["val"].points, parts["val"].points)
    assert not np.array_equal(other["val"].points, parts["val"].points)


@pytest.mark.parametrize(("up", "tallest"), [("y", 2), ("z", 1)])
def test_what_is_up_in_the_file_becomes_z(folder, up, tallest):
    points = read_scans(folder, up, seed=0)["test"].points
    assert points.shape == (12, 128, 3) and points.dtype == np.float32
    assert (np.ptp(points, axis=1).argmax(axis=1) == tallest).all()
    assert np.abs(points.mean(axis=1)).max() < 1e-6
    assert np.linalg.norm(points, axis=2).max(axis=1) == pytest.approx(1, abs=1e-6)


def test_turning_the_axis_up_is_a_rotation_and_no_reflection(folder):
    """A corner of three different edges keeps its handedness."""
    points = np.repeat([[[0.0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]]], 4, axis=0)
    points = np.tile(points, (1, 40, 1)).astype(np.float32)
    with h5py.File(folder / FILES["test"], "w") as file:
        file["data"], file["label"] = points, np.zeros(4, int)
    cloud = np.unique(read_scans(folder, "y", seed=0)["test"].points[0], axis=0)
    assert len(cloud) == 4  # 128 points although only four are distinct
    gaps = np.linalg.norm(cloud[:, None] - cloud[None], axis=2)
    corner = next(
        k for k in range(4) if np.isclose(gaps[k].max() / np.sort(gaps[k])[1], 3, atol=1e-3)
    )
    edges = cloud[np.argsort(gaps[corner])[1:]] - cloud[corner]
    assert np.linalg.det(edges) > 0
    assert edges[1].argmax() == 2  # the edge along y points up


def rewrite(folder, **arrays):
    path = folder / FILES["train"]
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


POINTS, LABELS = scans(6, 0)
HOLE = np.where(np.arange(300)[:, None] == 7, np.nan, POINTS)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"label": LABELS}, "data"),
        ({"data": POINTS}, "label"),
        ({"data": POINTS[:, :100], "label": LABELS}, "at least 128"),
        ({"data": POINTS[..., :2], "label": LABELS}, "at least 128"),
        ({"data": POINTS, "label": LABELS[:5]}, "6 objects and 5 labels"),
        ({"data": POINTS[:3], "label": LABELS[:3]}, "3 objects"),
        ({"data": POINTS, "label": LABELS + 10}, "not one of 0 to 14"),
        ({"data": POINTS, "label": LABELS - 1}, "not one of 0 to 14"),
        ({"data": POINTS, "label": LABELS + 0.5}, "not one of 0 to 14"),
        ({"data": HOLE, "label": LABELS}, "no finite numbers"),
        ({"data": 0 * POINTS, "label": LABELS}, "the same"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_file_of_another_layout_is_named_with_the_reason(folder, arrays, message):
    rewrite(folder, **arrays)
    with pytest.raises(DamagedFile, match=rf"{FILES['train']}.*{message}"):
        read_scans(folder, "y", seed=0)


@pytest.mark.parametrize("content", [None, b"", b"garbage" * 9])
def test_no_hdf5_file_is_named(folder, content):
    path = folder / FILES["test"]
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DamagedFile, match=FILES["test"]):
        read_scans(folder, "y", seed=0)


def test_without_h5py_the_message_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match=r"dglframer\[scans\]"):
        read_scans(folder, "y", seed=0)
