"""Cartesian numbers that stand where fractional coordinates should."""

from typing import Any

import numpy as np

from dglframer.common.errors import Rejected
from dglframer.structures.crystal import finite_array, reject_flat_cell
from dglframer.structures.neighbors import edge_vectors, periodic_edges, wrapped

OUTSIDE = 0.05  # of a cell: relaxed and rounded coordinates leave it by less
RADIUS = 4.0  # angstrom, of the search for the closest pair


def reject_cartesian(cell_33: Any, frac_N3: Any) -> None:
    """Raise Rejected if the coordinates make sense in angstrom and not as fractions of the cell.

    That is: some are outside of the cell as fractions, none is as angstrom, and as fractions the
    atoms come closer to each other.
    """
    frac_N3 = finite_array(frac_N3, (len(frac_N3), 3), "fractional coordinates")
    if not is_outside(frac_N3):
        return
    cell_33 = finite_array(cell_33, (3, 3), "lattice")
    reject_flat_cell(cell_33, len(frac_N3))
    as_angstrom_N3 = frac_N3 @ np.linalg.inv(cell_33)
    if is_outside(as_angstrom_N3):
        return
    if closest(cell_33, as_angstrom_N3) > closest(cell_33, frac_N3) + 1e-6:
        raise Rejected(
            f"fractional coordinates of up to {np.abs(frac_N3).max():.3g}: these are Cartesian "
            "(all are in the cell if read in angstrom); divide them by the lattice"
        )


def is_outside(frac_N3: np.ndarray) -> bool:
    return bool((np.abs(frac_N3 - 0.5) > 0.5 + OUTSIDE).any())


def closest(cell_33: np.ndarray, frac_N3: np.ndarray) -> float:
    """The shortest distance of two sites or images, in angstrom, or RADIUS if that is less."""
    edges = periodic_edges(cell_33, frac_N3, RADIUS)
    distances_E = np.linalg.norm(edge_vectors(cell_33, wrapped(frac_N3), edges), axis=1)
    is_self_E = (edges.src_E == edges.dst_E) & ~edges.image_E3.any(axis=1)
    return float(distances_E[~is_self_E].min(initial=RADIUS))
