"""Neighbour search: every periodic image within a cutoff.

For an ordered pair of sites and two image numbers (n0, n1) the images n2 lie on a line. Those within
the cutoff are the integers between the two roots of a quadratic, so that the search visits no image
outside the sphere, however skewed the cell is. It visits a pair once: the images from j to i are the
negated ones from i to j. The cost is quadratic in the sites of one cell. The loops stand in
``neighbor_loops``, which needs numba; this module imports it only for a search.
"""

from typing import NamedTuple

import numpy as np

from dglframer.common.errors import Rejected

# An image exactly at the cutoff belongs to the graph; the margin covers rounding errors.
CUTOFF_MARGIN = 1e-8


class Edges(NamedTuple):
    """Directed edges (neighbour j, image n) -> centre i, sorted by (i, j, n); j = i, n = 0 included."""

    src_E: np.ndarray  # int32, neighbour j
    dst_E: np.ndarray  # int32, centre i
    image_E3: np.ndarray  # int8, n; r = (f_j + n - f_i) L


def wrapped(frac_N3: np.ndarray) -> np.ndarray:
    """Fractional coordinates in [0, 1); image numbers refer to these."""
    frac = frac_N3 - np.floor(frac_N3)
    return np.where(frac >= 1.0, 0.0, frac)  # -1e-17 would round up to 1.0


def periodic_edges(lattice_33: np.ndarray, frac_N3: np.ndarray, cutoff: float) -> Edges:
    """All edges with |r| <= cutoff (angstrom) of one cell; the coordinates are wrapped first.

    Raises Rejected if an image number does not fit into int8 (a cell axis under cutoff / 127).
    """
    from dglframer.structures.neighbor_loops import search

    lattice = np.ascontiguousarray(lattice_33, dtype=np.float64)
    frac = np.ascontiguousarray(wrapped(frac_N3), dtype=np.float64)
    reciprocal = np.linalg.inv(lattice)  # columns: reciprocal vectors
    heights = np.linalg.norm(reciprocal, axis=0)  # 1 / plane spacing
    if (cutoff + CUTOFF_MARGIN) * heights.max() > 125:
        raise Rejected(f"cell too thin for a cutoff of {cutoff} angstrom")
    radius = cutoff + CUTOFF_MARGIN
    n_sites = len(frac)
    expected = n_sites**2 * 4 / 3 * np.pi * radius**3 * abs(np.linalg.det(reciprocal))
    start = np.empty((n_sites, n_sites + 1), np.int32)
    room = int(1.2 * expected) + 64 * n_sites
    while True:
        edges = Edges(
            np.empty(room, np.int32), np.empty(room, np.int32), np.empty((room, 3), np.int8)
        )
        n_edges = search(lattice, frac, heights, radius, start, *edges)
        if n_edges <= room:
            return Edges(*(column[:n_edges] for column in edges))
        room = n_edges


def molecule_edges(coords_N3: np.ndarray, cutoff: float) -> Edges:
    """All edges with |r| <= cutoff of a molecule (Cartesian, angstrom): every image number is 0."""
    r_NN3 = coords_N3[None, :] - coords_N3[:, None]  # [i, j]: from i to j
    within_NN = (r_NN3**2).sum(-1) <= (cutoff + CUTOFF_MARGIN) ** 2
    dst_E, src_E = within_NN.nonzero()  # sorted by (i, j)
    return Edges(src_E.astype(np.int32), dst_E.astype(np.int32), np.zeros((len(src_E), 3), np.int8))


def edge_vectors(lattice_33: np.ndarray | None, frac_N3: np.ndarray, edges: Edges) -> np.ndarray:
    """r_E3 = (f_j + n - f_i) L in angstrom, float64; ``frac_N3`` wrapped as in the search.

    Without a lattice the coordinates are Cartesian already.
    """
    frac_E3 = frac_N3[edges.src_E] - frac_N3[edges.dst_E] + edges.image_E3
    return frac_E3 if lattice_33 is None else frac_E3 @ lattice_33
