"""Bounds that follow from the data alone: the error of constant velocity, the floor of equivariant models.

A simulator that caps the components of forces depends on the axes: rotate the first frame, simulate,
rotate back, and the label is another. An exactly equivariant model can at best predict the mean label;
the variance of the label over rotations is the minimum of its error, the floor.
"""

from typing import Any

import numpy as np

from dglframer.experiments.nbody.simulation import (
    FRAME_TIME,
    FRAMES,
    Cap,
    Trajectories,
    continued,
    simulate,
)
from dglframer.experiments.rotations import random_rotations

CHANGED = 1e-3  # a label with a larger deviation of Δx counts as changed by the rotation


def measure_bounds(
    parts: dict[str, Trajectories], cap: Cap, rotations: int, calibration: int, seed: int
) -> dict[str, Any]:
    """Bounds of every horizon (lists over frames 1 to 10), and the calibration of the simulator.

    ``rotations``: re-simulations of each test state; ``calibration``: number of fresh simulations of
    constant velocity, to compare with the published Linear row.
    """
    fresh = simulate(calibration, seed + 1, "test", cap)
    return {
        "cap": cap,
        "frames": list(range(1, FRAMES + 1)),
        "linear": summary(constant_velocity_errors(parts["test"])),
        "floor": label_floor(parts["test"], cap, rotations, seed),
        "calibration": {
            "simulations": calibration,
            **summary(constant_velocity_errors(fresh)[-1:]),
        },
    }


def constant_velocity_errors(part: Trajectories) -> np.ndarray:
    """Squared errors of Δx = v·Δt, Δv = 0: [frames, simulations, 2]."""
    x, v = part.positions, part.velocities
    times = FRAME_TIME * np.arange(1, x.shape[1])[:, None, None]
    dx = x[:, 1:] - x[:, :1] - v[:, :1] * times
    dv = v[:, 1:] - v[:, :1]
    return np.stack([(error**2).mean(axis=(2, 3)).T for error in (dx, dv)], axis=2)


def label_floor(part: Trajectories, cap: Cap, rotations: int, seed: int) -> dict[str, Any]:
    """Variance of the labels over rotations of frame 0, and the share of simulations with a changed label.

    It assumes that the states of frame 0 are isotropic. They are, apart from the effect of the cap in
    the 100 steps before.
    """
    variances = label_variances(part, cap, rotations, seed)
    changed = variances[-1, :, 0] > CHANGED**2
    return {
        "rotations": rotations,
        **summary(variances),
        "share_of_simulations": float(changed.mean()),
    }


def label_variances(part: Trajectories, cap: Cap, rotations: int, seed: int) -> np.ndarray:
    """Unbiased variance over rotations, mean over particles and components: [frames, N, 2]."""
    n, frames = len(part), part.positions.shape[1] - 1
    matrices = random_rotations(n * rotations, seed)
    first = [np.repeat(one[:, 0], rotations, axis=0) for one in (part.positions, part.velocities)]
    x, v = (np.einsum("nij,npj->npi", matrices, one) for one in first)
    turned = continued(x, v, np.repeat(part.charges, rotations, axis=0), cap, frames)
    variances = []
    for one in (turned.positions, turned.velocities):
        labels = np.einsum("nji,nfpj->nfpi", matrices, one[:, 1:])  # rotated back
        labels = labels.reshape(n, rotations, *labels.shape[1:])
        variances.append(labels.var(axis=1, ddof=1).mean(axis=(2, 3)).T)
    return np.stack(variances, axis=2)


def summary(values_FN2: np.ndarray) -> dict[str, list[float]]:
    """Mean over simulations and its standard error, for x and v, as lists over frames."""
    mean = values_FN2.mean(axis=1)
    error = values_FN2.std(axis=1, ddof=1) / values_FN2.shape[1] ** 0.5
    return {
        "mse_x": mean[:, 0].tolist(),
        "mse_x_error": error[:, 0].tolist(),
        "mse_v": mean[:, 1].tolist(),
        "mse_v_error": error[:, 1].tolist(),
    }
