"""Point clouds of generated objects, and their file. 128 points each, centred, the farthest at distance 1.

What makes them hard is what scans have: proportions vary, objects are bent and stretched, one side is
seen and the other is thin, points are noisy, and some of them belong to the floor or to a wall. What
scans have and these do not: clutter, holes, uneven density, details, and classes whose members share no
plan.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dglframer.common.progress import tracked
from dglframer.experiments.data_set import PARTS, description_of, read_arrays, write_arrays
from dglframer.experiments.shapes.objects import OBJECTS
from dglframer.experiments.shapes.solids import points_on

POINTS = 128
DENSE = 2048  # points before occlusion, as many as a scan of ScanObjectNN has
CELLS = 20  # of the depth image across an object
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Clouds:
    """Objects of one part: float32 points [N, 128, 3], z up, and the numbers of their classes, int64 [N]."""

    points: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


def generate(per_class: int, seed: int, part: str) -> Clouds:
    """``per_class`` objects of each class; the first ones are the same whatever the number."""
    kinds = [(label, k) for label in range(len(OBJECTS)) for k in range(per_class)]
    rngs = (np.random.default_rng((seed, PARTS.index(part), *kind)) for kind in kinds)
    makers = list(OBJECTS.values())
    pairs = tracked(zip(kinds, rngs, strict=True), "objects", len(kinds))
    points = [seen(points_on(makers[kind[0]](rng), DENSE, rng), rng) for kind, rng in pairs]
    return Clouds(np.stack(points), np.array([label for label, _ in kinds]))


def seen(points_D3: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[128, 3]: what a scan from one side would have of an object's surface points."""
    whole = turned_about_z(bent(points_D3, rng), rng.uniform(0, 2 * np.pi))
    size = float(np.linalg.norm(np.ptp(whole, axis=0)))
    visible = in_front(whole, view_direction(rng), size / CELLS)
    left = whole[visible | (rng.random(len(whole)) < rng.uniform(0, 0.5))]
    others = background(whole, round(rng.uniform(0, 0.2) * POINTS), rng)
    chosen = rng.choice(left, POINTS - len(others), replace=False)
    cloud = np.concatenate([chosen, others])
    cloud += size * rng.uniform(0.005, 0.02) * rng.standard_normal(cloud.shape)
    return normalised(cloud).astype(np.float32)


def bent(points_D3: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Stretched along each axis by up to 15 %, and bent sideways by up to 15 % of the height."""
    points = points_D3 * rng.uniform(0.85, 1.15, 3)
    height = np.ptp(points[:, 2])
    up = (points[:, 2] - points[:, 2].min()) / height
    points[:, :2] += np.outer(up**2, rng.uniform(-0.15, 0.15, 2) * height)
    return points


def turned_about_z(points_D3: np.ndarray, angle: float) -> np.ndarray:
    """Rotated about the vertical."""
    c, s = np.cos(angle), np.sin(angle)
    return points_D3 @ np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])


def view_direction(rng: np.random.Generator) -> np.ndarray:
    """[3]: from the object to an eye that is up to 40° above the horizon."""
    azimuth, elevation = rng.uniform((0, 0), (2 * np.pi, np.deg2rad(40)))
    flat = np.array([np.cos(azimuth), np.sin(azimuth), 0]) * np.cos(elevation)
    return flat + np.array([0, 0, np.sin(elevation)])


def in_front(points_D3: np.ndarray, view_3: np.ndarray, cell: float) -> np.ndarray:
    """[D], bool: the points no farther than one and a half cells behind the first one in their cell.

    ``cell``: the size of a cell of the depth image that an eye in the direction ``view_3`` has.
    """
    aside = np.cross(view_3, (0, 0, 1))
    aside /= np.linalg.norm(aside)
    across = np.stack([points_D3 @ aside, points_D3 @ np.cross(aside, view_3)], axis=1)
    _, cell_D = np.unique(np.floor(across / cell), axis=0, return_inverse=True)
    depth = -(points_D3 @ view_3)
    nearest = np.full(cell_D.max() + 1, np.inf)
    np.minimum.at(nearest, cell_D, depth)
    return depth < nearest[cell_D] + 1.5 * cell


def background(points_D3: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """[count, 3]: points of the floor under the object, or of a wall beside it."""
    low, high = points_D3.min(axis=0), points_D3.max(axis=0)
    margin = 0.1 * (high - low)
    patch = rng.uniform(low - margin, high + margin, (count, 3))
    axis, side = (2, 0) if rng.random() < 0.5 else (rng.integers(2), rng.integers(2))
    patch[:, axis] = (low, high)[side][axis]
    return patch


def normalised(points_P3: np.ndarray) -> np.ndarray:
    """The points around their mean, the farthest at distance 1. Sizes are no hint to the class."""
    centred = points_P3 - points_P3.mean(axis=0)
    return centred / np.linalg.norm(centred, axis=1).max()


def write_clouds(path: Path, parts: Mapping[str, Clouds], description: Mapping[str, Any]) -> None:
    """Write the parts as a file; the description names the source and the classes."""
    arrays = {part: {"points": one.points, "labels": one.labels} for part, one in parts.items()}
    write_arrays(path, arrays, "shapes", {"format_version": FORMAT_VERSION, **description})


def read_clouds(path: Path) -> tuple[dict[str, Clouds], dict[str, Any]]:
    """The parts of a data set and its description; raises DamagedFile if the file is none."""
    parts = read_arrays(path, "shapes", ("points", "labels"))
    return {part: Clouds(**arrays) for part, arrays in parts.items()}, description_of(
        path, "shapes"
    )
