"""Simulations of five charged particles in free space, vectorised over the simulations.

This is a new implementation of the public simulator of the SE(3)-Transformer paper: charges ±1,
positions of deviation 1, speeds 0.5, unit masses, a force c_i c_j (x_i − x_j)/|x_i − x_j|³ of each pair,
no walls, symplectic Euler with dt = 10⁻³; a frame is every 100th step and frame 0 is step 100. The public
simulator limits each *component* of the force on a particle to ±100, so its motion depends on the axes.
The cap ``norm`` limits the length of the force instead, and the motion does not depend on the axes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from dglframer.common.progress import tracked
from dglframer.experiments.data_set import PARTS, description_of, read_arrays, write_arrays

Cap = Literal["component", "norm", "none"]

PARTICLES = 5
TIME_STEP = 1e-3
STEPS_PER_FRAME = 100
FRAME_TIME = TIME_STEP * STEPS_PER_FRAME
FRAMES = 10  # after frame 0; Table 1 of the paper predicts the last frame from frame 0
FORCE_CAP = 100.0  # the public simulator's 0.1/dt
SPEED = 0.5
FORMAT_VERSION = 1
ARRAYS = ("positions", "velocities", "charges")  # of Trajectories

FIRST, SECOND = np.triu_indices(PARTICLES, 1)
BLOCK = 256  # simulations; the arrays of a block fit into a processor's cache


@dataclass(frozen=True)
class Trajectories:
    """Simulations of one part: float64 positions and velocities [N, F + 1, 5, 3], charges [N, 5]."""

    positions: np.ndarray
    velocities: np.ndarray
    charges: np.ndarray

    def __len__(self) -> int:
        return len(self.charges)


def initial_states(count: int, seed: int, part: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions, velocities [N, 5, 3] and charges [N, 5] at step 0; they do not depend on the cap."""
    rng = np.random.default_rng((seed, PARTS.index(part)))
    charges = rng.choice((-1.0, 1.0), size=(count, PARTICLES))
    positions = rng.standard_normal((count, PARTICLES, 3))
    velocities = rng.standard_normal((count, PARTICLES, 3))
    velocities *= SPEED / np.linalg.norm(velocities, axis=2, keepdims=True)
    return positions, velocities, charges


def simulate(count: int, seed: int, part: str, cap: Cap, frames: int = FRAMES) -> Trajectories:
    """Frames 0 to ``frames`` of ``count`` simulations: frame 0 is the state at step 100."""
    state = initial_states(count, seed, part)
    x, v = evolved(*state, cap, STEPS_PER_FRAME)
    return continued(x, v, state[2], cap, frames)


def continued(
    positions_N53: np.ndarray,
    velocities_N53: np.ndarray,
    charges_N5: np.ndarray,
    cap: Cap,
    frames: int = FRAMES,
) -> Trajectories:
    """Frames 0 to ``frames``, with the given states as frame 0."""
    shape = (len(charges_N5), frames + 1, PARTICLES, 3)
    positions, velocities = np.empty(shape), np.empty(shape)
    parts = list(blocks(len(charges_N5)))
    for rows in tracked(parts, "blocks of simulations", len(parts)):
        x, v = positions_N53[rows], velocities_N53[rows]
        positions[rows, 0], velocities[rows, 0] = x, v
        for frame in range(1, frames + 1):
            x, v = advanced(x, v, charges_N5[rows], cap, STEPS_PER_FRAME)
            positions[rows, frame], velocities[rows, frame] = x, v
    return Trajectories(positions, velocities, charges_N5)


def evolved(
    positions_N53: np.ndarray,
    velocities_N53: np.ndarray,
    charges_N5: np.ndarray,
    cap: Cap,
    steps: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Positions and velocities [N, 5, 3] after ``steps``."""
    results = [
        advanced(positions_N53[rows], velocities_N53[rows], charges_N5[rows], cap, steps)
        for rows in blocks(len(charges_N5))
    ]
    x, v = zip(*results, strict=True)
    return np.concatenate(x), np.concatenate(v)


def blocks(count: int) -> Iterator[slice]:
    """The rows of each block."""
    for first in range(0, count, BLOCK):
        yield slice(first, first + BLOCK)


def advanced(
    positions_N53: np.ndarray,
    velocities_N53: np.ndarray,
    charges_N5: np.ndarray,
    cap: Cap,
    steps: int,
) -> tuple[np.ndarray, np.ndarray]:
    """One block after ``steps`` of v += dt F(x), x += dt v."""
    # Simulations are the last axis, so numpy's inner loops run along them.
    x = positions_N53.transpose(1, 2, 0).copy(order="C")  # [5, 3, N]
    v = velocities_N53.transpose(1, 2, 0).copy(order="C")
    products = (charges_N5[:, FIRST] * charges_N5[:, SECOND]).T  # [10, N]
    for _ in range(steps):
        v += TIME_STEP * capped(forces(x, products), cap)
        x += TIME_STEP * v
    return x.transpose(2, 0, 1), v.transpose(2, 0, 1)


def forces(x_53N: np.ndarray, products_PN: np.ndarray) -> np.ndarray:
    """Force on each particle, [5, 3, N]; ``products_PN``: c_i c_j of the ten pairs."""
    r = x_53N[FIRST] - x_53N[SECOND]
    r2 = r[:, 0] ** 2 + r[:, 1] ** 2 + r[:, 2] ** 2
    r *= (products_PN / (r2 * np.sqrt(r2)))[:, None]
    total = np.zeros_like(x_53N)
    for pair, (i, j) in enumerate(zip(FIRST, SECOND, strict=True)):
        total[i] += r[pair]
        total[j] -= r[pair]
    return total


def capped(force_53N: np.ndarray, cap: Cap) -> np.ndarray:
    """Forces with components of at most 100, or of length at most 100, or unchanged."""
    if cap == "component":
        return np.clip(force_53N, -FORCE_CAP, FORCE_CAP)
    if cap == "norm":
        length = np.sqrt((force_53N**2).sum(axis=1, keepdims=True))
        return force_53N * np.minimum(1.0, FORCE_CAP / np.maximum(length, FORCE_CAP))
    return force_53N


def write_data_set(path: Path, parts: Mapping[str, Trajectories], cap: Cap, seed: int) -> None:
    """Write the parts with cap and seed as a file."""
    arrays = {part: {name: getattr(one, name) for name in ARRAYS} for part, one in parts.items()}
    description = {"format_version": FORMAT_VERSION, "cap": cap, "seed": seed}
    write_arrays(path, arrays, "nbody", description)


def read_data_set(path: Path) -> dict[str, Trajectories]:
    """The parts of a data set; raises DamagedFile if the file is not a data set."""
    parts = read_arrays(path, "nbody", ARRAYS)
    return {part: Trajectories(**arrays) for part, arrays in parts.items()}


def cap_of(path: Path) -> Cap:
    """The force cap of the simulator that made a data set."""
    return description_of(path, "nbody")["cap"]
