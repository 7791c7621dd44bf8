"""Cells of more than one unit, and a rotation."""

import numpy as np

ROTATION = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]


def supercell(one, times):
    """``times`` cells along the first axis."""
    frac = np.concatenate([(one.coords_N3 + [k, 0, 0]) / [times, 1, 1] for k in range(times)])
    return np.tile(one.numbers_N, times), one.lattice_33 * [[times], [1], [1]], frac
