"""Fifteen classes of upright objects, made of solids with varied proportions. z is up, the floor is z = 0.

Some classes are meant to be near each other: table, desk and stool; chair and sofa; cabinet and box, which
are a cuboid upright and lying; door and display, which are both upright plates.
"""

from collections.abc import Callable

import numpy as np

from dglframer.experiments.shapes.solids import Solid, box, cylinder, ellipsoid

Rng = np.random.Generator
Solids = list[Solid]


def chair(rng: Rng) -> Solids:
    """A seat and a back, on four legs or a foot, some with arms."""
    w, d, h = rng.uniform((0.4, 0.4, 0.38), (0.55, 0.55, 0.5))
    back = rng.uniform(0.3, 0.6)
    solids = [box(w, d, 0.05, bottom=h), box(w, 0.05, back, (0, d / 2), bottom=h)]
    if rng.random() < 0.3:
        solids += [box(0.05, d, 0.04, (side * w / 2, 0), bottom=h + 0.22) for side in (-1, 1)]
    return solids + support(rng, w, d, h)


def stool(rng: Rng) -> Solids:
    """A small round or square seat on legs or a foot."""
    r, h = rng.uniform((0.14, 0.35), (0.24, 0.75))
    seat = cylinder(r, 0.05, bottom=h) if rng.random() < 0.5 else box(2 * r, 2 * r, 0.05, bottom=h)
    return [seat, *support(rng, 1.4 * r, 1.4 * r, h)]


def table(rng: Rng) -> Solids:
    """A plate, square or round, on four legs or a foot."""
    w, d, h = rng.uniform((0.7, 0.6, 0.5), (1.7, 1.0, 0.8))
    if rng.random() < 0.3:
        return [cylinder(d / 2, 0.04, bottom=h), *support(rng, d / 2, d / 2, h)]
    return [box(w, d, 0.04, bottom=h), *support(rng, 0.9 * w, 0.9 * d, h)]


def desk(rng: Rng) -> Solids:
    """A plate on a panel and a block of drawers, some with a panel behind or a rack above."""
    w, d, h = rng.uniform((1.0, 0.5, 0.68), (1.6, 0.8, 0.78))
    solids = [
        box(w, d, 0.04, bottom=h),
        box(0.04, d, h, (-w / 2, 0)),
        box(0.3 * w, d, h, (0.35 * w, 0)),
    ]
    if rng.random() < 0.6:
        solids.append(box(w, 0.03, 0.6 * h, (0, d / 2), bottom=0.4 * h))
    if rng.random() < 0.3:
        solids.append(box(w, 0.2, 0.3, (0, d / 2 - 0.1), bottom=h + 0.04))
    return solids


def lamp(rng: Rng) -> Solids:
    """A disc, a pole and a shade."""
    foot, height, shade = rng.uniform((0.1, 0.4, 0.12), (0.2, 1.5, 0.25))
    if rng.random() < 0.5:
        top = cylinder(shade, 1.2 * shade, bottom=height)
    else:
        top = ellipsoid((shade, shade, rng.uniform(0.6, 1) * shade), (0, 0, height + shade / 2))
    return [cylinder(foot, 0.04), cylinder(0.025, height), top]


def shelf(rng: Rng) -> Solids:
    """Two sides with three to six boards between them, some with a back."""
    w, d, h = rng.uniform((0.6, 0.22, 0.9), (1.3, 0.4, 2.0))
    solids = [box(0.03, d, h, (side * w / 2, 0)) for side in (-1, 1)]
    solids += [
        box(w, d, 0.03, bottom=float(z)) for z in np.linspace(0.03, h - 0.03, rng.integers(3, 7))
    ]
    if rng.random() < 0.5:
        solids.append(box(w, 0.02, h, (0, d / 2)))
    return solids


def cabinet(rng: Rng) -> Solids:
    """An upright cuboid, some on feet, with knobs in front."""
    w, d = rng.uniform((0.45, 0.35), (0.9, 0.6))
    h = w * rng.uniform(1.2, 2.2)
    feet = 0.12 if rng.random() < 0.5 else 0.0
    solids = [box(w, d, h, bottom=feet)]
    solids += [
        ellipsoid((0.03, 0.03, 0.03), (x * w, -d / 2 - 0.02, feet + h / 2)) for x in (-0.1, 0.1)
    ]
    return solids + (legs(0.8 * w, 0.8 * d, feet, 0.03) if feet else [])


def bed(rng: Rng) -> Solids:
    """A long low cuboid with a headboard and pillows, some on legs."""
    w, length, h = rng.uniform((0.9, 1.8, 0.2), (1.8, 2.1, 0.35))
    bottom = rng.uniform(0.05, 0.2)
    board = rng.uniform(0.3, 0.7)
    solids = [
        box(w, length, h, bottom=bottom),
        box(w, 0.06, board, (0, length / 2), bottom=bottom + h / 2),
    ]
    for x in (-0.25, 0.25) if w > 1.3 else (0.0,):
        solids.append(ellipsoid((0.3, 0.2, 0.07), (x * w, length / 2 - 0.3, bottom + h + 0.05)))
    return solids + legs(0.9 * w, 0.95 * length, bottom, 0.04)


def sofa(rng: Rng) -> Solids:
    """A wide seat with a back and two arms."""
    w, d, h = rng.uniform((1.1, 0.7, 0.33), (2.2, 1.0, 0.45))
    back, arm = rng.uniform((0.3, 0.12), (0.5, 0.28))
    sides = [box(0.2, d, h + arm, (side * (w / 2 + 0.1), 0)) for side in (-1, 1)]
    return [box(w, d, h), box(w, 0.22, back, (0, d / 2 - 0.11), bottom=h), *sides]


def bin_(rng: Rng) -> Solids:
    """An open cylinder or an open box."""
    r, h = rng.uniform((0.12, 0.25), (0.25, 0.7))
    if rng.random() < 0.6:
        return [Solid("cylinder", (0, 0, h / 2), (r, r, h / 2), is_open=True)]
    return [Solid("box", (0, 0, h / 2), (r, r * rng.uniform(0.6, 1), h / 2), is_open=True)]


def door(rng: Rng) -> Solids:
    """A tall plate with a knob, some in a frame."""
    w, h = rng.uniform((0.65, 1.7), (1.0, 2.2))
    solids = [box(w, 0.05, h), ellipsoid((0.05, 0.05, 0.05), (0.42 * w, -0.06, 0.48 * h))]
    if rng.random() < 0.5:
        solids += [box(0.1, 0.12, h, (side * (w / 2 + 0.05), 0)) for side in (-1, 1)]
        solids.append(box(w + 0.2, 0.12, 0.1, bottom=h))
    return solids


def display(rng: Rng) -> Solids:
    """A wide upright plate on a stand."""
    w = rng.uniform(0.4, 1.2)
    h, stand = w * rng.uniform(0.52, 0.7), w * rng.uniform(0.1, 0.25)
    return [
        box(w, 0.05, h, bottom=stand),
        cylinder(0.05 * w, stand),
        box(0.45 * w, 0.25 * w, 0.02),
    ]


def box_(rng: Rng) -> Solids:
    """A lying cuboid, some with an open lid."""
    h, d = rng.uniform((0.25, 0.25), (0.6, 0.5))
    w = h * rng.uniform(1.2, 2.2)
    if rng.random() < 0.4:
        middle, half = (0, 0, h / 2), (w / 2, d / 2, h / 2)
        lid = box(w, 0.02, 0.6 * d, (0, d / 2), bottom=h)
        return [Solid("box", middle, half, is_open=True), lid]
    return [box(w, d, h)]


def pillow(rng: Rng) -> Solids:
    """A flat ellipsoid that lies, or a round one."""
    half = rng.uniform((0.2, 0.15, 0.05), (0.35, 0.3, 0.14))
    return [ellipsoid(half.tolist(), (0, 0, half[2]))]


def toilet(rng: Rng) -> Solids:
    """A bowl on a pedestal before a cistern, some with the lid up."""
    w, length, h = rng.uniform((0.17, 0.22, 0.36), (0.21, 0.3, 0.44))
    cistern = rng.uniform(0.3, 0.42)
    solids = [
        cylinder(0.6 * w, 0.6 * h),
        Solid("cylinder", (0, 0, 0.8 * h), (w, length, 0.2 * h), is_open=True),
        box(2.2 * w, 0.18, cistern, (0, length + 0.08), bottom=h),
    ]
    if rng.random() < 0.5:
        solids.append(ellipsoid((w, 0.03, length), (0, length - 0.04, h + length)))
    return solids


def support(rng: Rng, w: float, d: float, height: float) -> Solids:
    """Four legs, or a pillar on a disc, under something of width w and depth d."""
    if rng.random() < 0.65:
        return legs(w, d, height, rng.uniform(0.015, 0.035))
    return [cylinder(0.04, height), cylinder(0.4 * min(w, d), 0.03)]


def legs(w: float, d: float, height: float, radius: float) -> Solids:
    """Four legs at the corners."""
    corners = [(x * w / 2, y * d / 2) for x in (-1, 1) for y in (-1, 1)]
    return [cylinder(radius, height, corner) for corner in corners]


OBJECTS: dict[str, Callable[[Rng], Solids]] = {
    "bed": bed,
    "bin": bin_,
    "box": box_,
    "cabinet": cabinet,
    "chair": chair,
    "desk": desk,
    "display": display,
    "door": door,
    "lamp": lamp,
    "pillow": pillow,
    "shelf": shelf,
    "sofa": sofa,
    "stool": stool,
    "table": table,
    "toilet": toilet,
}
