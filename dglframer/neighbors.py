"""Every periodic image within a cutoff: the lattice-line search.

For an ordered pair of sites and two image numbers (n0, n1) the images n2 lie on a line, and those
within the cutoff are the integers between the two roots of a quadratic: no image outside the sphere
is visited. Any skew of the cell works. The cost is quadratic in the sites of one cell.
"""

from typing import NamedTuple

import numba
import numpy as np

from dglframer.errors import Rejected

# An image exactly at the cutoff belongs to the graph; this margin keeps rounding from deciding.
CUTOFF_MARGIN = 1e-8


class Edges(NamedTuple):
    """Directed edges (neighbour j, image n) -> centre i, sorted by (i, j, n); j = i, n = 0 included."""

    src_E: np.ndarray  # int32, neighbour j
    dst_E: np.ndarray  # int32, centre i
    image_E3: np.ndarray  # int8, n; r = (f_j + n - f_i) L


def wrapped(frac_N3: np.ndarray) -> np.ndarray:
    """Fractional coordinates in [0, 1): the cell in which image numbers count."""
    frac = frac_N3 - np.floor(frac_N3)
    return np.where(frac >= 1.0, 0.0, frac)  # -1e-17 would round up to 1.0


def periodic_edges(lattice_33: np.ndarray, frac_N3: np.ndarray, cutoff: float) -> Edges:
    """All edges with |r| <= cutoff (angstrom) of one cell whose coordinates are first wrapped.

    Raises Rejected if an image number does not fit into int8 (a cell axis under cutoff / 127).
    """
    lattice = np.ascontiguousarray(lattice_33, dtype=np.float64)
    frac = np.ascontiguousarray(wrapped(frac_N3), dtype=np.float64)
    reciprocal = np.linalg.inv(lattice)  # columns: reciprocal vectors
    heights = np.linalg.norm(reciprocal, axis=0)  # 1 / plane spacing
    if (cutoff + CUTOFF_MARGIN) * heights.max() > 125:
        raise Rejected(f"cell too thin for a cutoff of {cutoff} angstrom")
    radius = cutoff + CUTOFF_MARGIN
    nothing = np.empty(0, np.int32), np.empty(0, np.int32), np.empty((0, 3), np.int8)
    n_edges = _search(lattice, frac, heights, radius, *nothing)
    edges = Edges(
        np.empty(n_edges, np.int32), np.empty(n_edges, np.int32), np.empty((n_edges, 3), np.int8)
    )
    _search(lattice, frac, heights, radius, *edges)
    return edges


@numba.njit(cache=True, nogil=True)
def _search(lattice, frac, heights, radius, src, dst, image):
    """Count the edges, and write them where ``src``, ``dst``, ``image`` are not empty."""
    n_sites = frac.shape[0]
    fill = src.shape[0] > 0
    a, b, c = lattice[0], lattice[1], lattice[2]
    cc = c[0] * c[0] + c[1] * c[1] + c[2] * c[2]
    reach0, reach1 = radius * heights[0], radius * heights[1]
    found = 0
    for i in range(n_sites):
        for j in range(n_sites):
            f0 = frac[j, 0] - frac[i, 0]
            f1 = frac[j, 1] - frac[i, 1]
            f2 = frac[j, 2] - frac[i, 2]
            for n0 in range(int(np.ceil(-reach0 - f0)), int(np.floor(reach0 - f0)) + 1):
                for n1 in range(int(np.ceil(-reach1 - f1)), int(np.floor(reach1 - f1)) + 1):
                    x = (f0 + n0) * a[0] + (f1 + n1) * b[0] + f2 * c[0]
                    y = (f0 + n0) * a[1] + (f1 + n1) * b[1] + f2 * c[1]
                    z = (f0 + n0) * a[2] + (f1 + n1) * b[2] + f2 * c[2]
                    # |(x, y, z) + n2 c|^2 <= radius^2
                    half = (x * c[0] + y * c[1] + z * c[2]) / cc
                    discriminant = half * half - (x * x + y * y + z * z - radius * radius) / cc
                    if discriminant < 0.0:
                        continue
                    root = np.sqrt(discriminant)
                    first, last = int(np.ceil(-half - root)), int(np.floor(-half + root))
                    if fill:
                        for n2 in range(first, last + 1):
                            src[found], dst[found] = j, i
                            image[found, 0], image[found, 1], image[found, 2] = n0, n1, n2
                            found += 1
                    else:
                        found += last - first + 1
    return found


def edge_vectors(lattice_33: np.ndarray, frac_N3: np.ndarray, edges: Edges) -> np.ndarray:
    """r_E3 = (f_j + n - f_i) L in angstrom, float64; ``frac_N3`` wrapped as in the search."""
    frac_E3 = frac_N3[edges.src_E] - frac_N3[edges.dst_E] + edges.image_E3
    return frac_E3 @ lattice_33
