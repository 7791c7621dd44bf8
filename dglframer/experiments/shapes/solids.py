"""The solids that objects are made of, and points drawn from their surfaces. Lengths are in metres."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Kind = Literal["box", "cylinder", "ellipsoid"]


@dataclass(frozen=True)
class Solid:
    """A box, an upright elliptic cylinder or an ellipsoid; an open one has no face on top."""

    kind: Kind
    centre: tuple[float, float, float]
    half: tuple[float, float, float]  # half of the extent along x, y and z
    is_open: bool = False


def box(x: float, y: float, z: float, centre: Sequence[float] = (0, 0), bottom: float = 0) -> Solid:
    """A box (or plate) of size x, y, z above the height ``bottom``."""
    middle = (float(centre[0]), float(centre[1]), bottom + z / 2)
    return Solid("box", middle, (x / 2, y / 2, z / 2))


def cylinder(
    radius: float, height: float, centre: Sequence[float] = (0, 0), bottom: float = 0
) -> Solid:
    """A round pillar or disc above the height ``bottom``."""
    middle = (float(centre[0]), float(centre[1]), bottom + height / 2)
    return Solid("cylinder", middle, (radius, radius, height / 2))


def ellipsoid(half: Sequence[float], centre: Sequence[float]) -> Solid:
    """An ellipsoid with the half axes ``half``."""
    x, y, z = map(float, centre)
    return Solid("ellipsoid", (x, y, z), (float(half[0]), float(half[1]), float(half[2])))


def points_on(solids: Sequence[Solid], count: int, rng: np.random.Generator) -> np.ndarray:
    """[count, 3]: points spread over the surfaces of all solids, as many on each as its area is."""
    areas = np.array([area(one) for one in solids])
    shares = rng.multinomial(count, areas / areas.sum())
    return np.concatenate(
        [surface(one, share, rng) for one, share in zip(solids, shares, strict=True)]
    )


def area(solid: Solid) -> float:
    """The area of the surface; that of ellipses and ellipsoids by formulas that err by 1 %."""
    if solid.kind == "ellipsoid":
        a, b, c = (one**1.6 for one in solid.half)  # Thomsen's formula
        return 4 * np.pi * ((a * b + a * c + b * c) / 3) ** (1 / 1.6)
    return float(faces(solid).sum())


def faces(solid: Solid) -> np.ndarray:
    """Areas of bottom, top and sides: of a box [6] (±z, ±x, ±y), of a cylinder [3]."""
    a, b, c = solid.half
    top = 0.0 if solid.is_open else 1.0
    if solid.kind == "box":
        return 4 * np.array([a * b, top * a * b, b * c, b * c, a * c, a * c])
    round_ = 2 * np.pi * ((a * a + b * b) / 2) ** 0.5 * 2 * c
    return np.array([np.pi * a * b, top * np.pi * a * b, round_])


def surface(solid: Solid, count: int, rng: np.random.Generator) -> np.ndarray:
    """[count, 3]: points spread evenly over the surface of one solid."""
    on_unit = {"box": on_box, "cylinder": on_cylinder, "ellipsoid": on_sphere}[solid.kind]
    return np.array(solid.centre) + np.array(solid.half) * on_unit(solid, count, rng)


def on_box(solid: Solid, count: int, rng: np.random.Generator) -> np.ndarray:
    """On the box from -1 to 1."""
    areas = faces(solid)
    face = rng.choice(6, size=count, p=areas / areas.sum())
    points = rng.uniform(-1, 1, (count, 3))
    axis = np.array([2, 2, 0, 0, 1, 1])[face]
    points[np.arange(count), axis] = np.where(face % 2, 1.0, -1.0)
    return points


def on_cylinder(solid: Solid, count: int, rng: np.random.Generator) -> np.ndarray:
    """On the cylinder of radius 1 from -1 to 1."""
    areas = faces(solid)
    face = rng.choice(3, size=count, p=areas / areas.sum())
    angle = rng.uniform(0, 2 * np.pi, count)
    radius = np.where(face == 2, 1.0, rng.uniform(0, 1, count) ** 0.5)
    z = np.where(face == 2, rng.uniform(-1, 1, count), np.where(face == 1, 1.0, -1.0))
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1)


def on_sphere(solid: Solid, count: int, rng: np.random.Generator) -> np.ndarray:
    """On the unit sphere, denser where stretching makes more surface of it."""
    if count == 0:
        return np.empty((0, 3))
    candidates = rng.standard_normal((4 * count, 3))
    candidates /= np.linalg.norm(candidates, axis=1, keepdims=True)
    stretched = np.linalg.norm(candidates / np.array(solid.half), axis=1)
    chosen = rng.choice(4 * count, size=count, replace=False, p=stretched / stretched.sum())
    return candidates[chosen]
