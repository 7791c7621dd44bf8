"""All atoms of a cell from the rows of a file and the symmetry operators."""

from typing import NamedTuple

import numpy as np

from dglframer.common.errors import Rejected
from dglframer.data.sources.cif.operators import Operators
from dglframer.data.sources.cif.sites import Site

# Angstrom. A site on a special position is often rounded: 0.333 for 1/3, or 0.33 in a cell of 10
# angstrom, puts the images of one atom this far apart. They are one atom, and it is put where the
# symmetry has it. Images that are farther apart and closer than MIN_SITE_DISTANCE are refused.
MERGE_DISTANCE = 0.1

EXACT = 1e-5  # fractional: images that differ by less are equal but for rounding


class Atoms(NamedTuple):
    """The atoms of one cell."""

    site_N: np.ndarray  # int, which row of the file
    frac_N3: np.ndarray  # float64, in the order of the rows
    orbit_S: np.ndarray  # int, how many atoms each row stands for


def expand(sites: list[Site], ops: Operators, lattice_33: np.ndarray) -> Atoms:
    """The images of every site, those of one place merged; raises Rejected where that is ambiguous."""
    frac_S3 = np.array([site.frac_3 for site in sites])
    n_ops = len(ops.rotations_G33)
    if n_ops == 1:
        return Atoms(np.arange(len(sites)), frac_S3, np.ones(len(sites), int))
    exact_S3, stabiliser_S = on_special_positions(frac_S3, ops, lattice_33, sites)
    images_SG3 = images(exact_S3, ops)
    keys_SG = place_keys(images_SG3)
    site_N, frac_N3 = [], []
    for s, keys_G in enumerate(keys_SG):
        _, first = np.unique(keys_G, return_index=True)
        if len(first) * stabiliser_S[s] != n_ops:
            raise Rejected(f"site {sites[s].name}: its images do not merge into whole atoms")
        site_N.append(np.full(len(first), s))
        frac_N3.append(images_SG3[s, np.sort(first)])
    orbit_S = np.array([len(rows) for rows in site_N])
    return Atoms(np.concatenate(site_N), np.concatenate(frac_N3), orbit_S)


def images(frac_S3: np.ndarray, ops: Operators) -> np.ndarray:
    """R x + t of every site by every operator, [S, G, 3]."""
    return np.einsum("gij,sj->sgi", ops.rotations_G33, frac_S3) + ops.translations_G3


def on_special_positions(
    frac_S3: np.ndarray, ops: Operators, lattice_33: np.ndarray, sites: list[Site]
) -> tuple[np.ndarray, np.ndarray]:
    """Sites moved onto the special positions they are near, and the order of their symmetry.

    A site is moved to the mean of those of its images that are within MERGE_DISTANCE of it.
    """
    offset_SG3 = images(frac_S3, ops) - frac_S3[:, None]
    offset_SG3 -= np.rint(offset_SG3)
    near_SG = np.linalg.norm(offset_SG3 @ lattice_33, axis=-1) < MERGE_DISTANCE
    order_S = near_SG.sum(1)
    shift_S3 = (offset_SG3 * near_SG[..., None]).sum(1) / order_S[:, None]
    moved_S3 = np.where(abs(shift_S3) < 1e-12, frac_S3, frac_S3 + shift_S3)
    offset_SG3 = images(moved_S3, ops) - moved_S3[:, None]
    fixed_SG = (abs(offset_SG3 - np.rint(offset_SG3)) < EXACT).all(-1)
    for s in (near_SG & ~fixed_SG).any(1).nonzero()[0]:  # the near images are not all of one place
        raise Rejected(f"site {sites[s].name}: its images do not merge into whole atoms")
    return moved_S3, fixed_SG.sum(1)


def place_keys(frac_SG3: np.ndarray) -> np.ndarray:
    """One integer for each place in the cell, on a grid of 2^20 points along each axis.

    The grid is shifted so that no fraction of small numbers lies between two of its points.
    """
    points = 1 << 20
    steps = np.floor(frac_SG3 * points + 0.2718).astype(np.int64) % points
    return steps @ np.array([points**2, points, 1])
