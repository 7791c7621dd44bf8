"""Equivalent sites: the orbits of a crystal's sites under the operations of its space group.

The rotations of the lattice follow from a reduced basis, in which they are matrices of -1, 0 and 1.
With each of them every translation is tried that takes a site of the rarest kind to another one of it.
An operation is one of the crystal if it takes every site to within TOLERANCE of a site of its kind. The
loops stand in ``orbit_loops``, which needs numba; this module imports it only for a search.
"""

import logging
from typing import NamedTuple

import numpy as np

from dglframer.structures.neighbors import Edges

log = logging.getLogger(__name__)

TOLERANCE = 1e-4  # angstrom, by which a lattice vector or a site may miss its image
EDGE_TOLERANCE = 3e-5  # angstrom, by which the lengths of edges of equivalent sites may differ
BUDGET = 50_000_000  # pairs of sites that a search may look at: about 0.2 s
MAX_OPERATIONS = 80  # 48 rotations, translations that generate the others, and room for one more


class Orbits(NamedTuple):
    """For each site the first site of its orbit; an atom without equivalent ones has its own number."""

    proper_N: np.ndarray  # int32, under the operations of determinant 1
    every_N: np.ndarray  # int32, under all operations


class Operations(NamedTuple):
    """Operations that generate a space group, in a reduced basis of the lattice."""

    basis_33: np.ndarray  # rows, angstrom
    frac_N3: np.ndarray  # of the sites in that basis, sites of the rarest kind first
    order_N: np.ndarray  # which site of the crystal each of them is
    rotations_O33: np.ndarray  # whole numbers W: f to f W + t
    images_ON: np.ndarray  # the site onto which each site is taken

    def proper(self) -> "Operations":
        """Those that leave a right hand a right hand."""
        kept_O = np.linalg.det(self.rotations_O33) > 0
        return self._replace(
            rotations_O33=self.rotations_O33[kept_O], images_ON=self.images_ON[kept_O]
        )

    def orbit(self) -> np.ndarray:
        """[N] int32: for each site of the crystal the first one of its orbit."""
        from dglframer.structures.orbit_loops import join

        n_sites = len(self.order_N)
        label_N = np.arange(n_sites)
        for image_N in self.images_ON:
            join(label_N, image_N)
        first_N = np.full(n_sites, n_sites, np.int32)
        np.minimum.at(first_N, label_N, self.order_N.astype(np.int32))
        orbit_N = np.empty(n_sites, np.int32)
        orbit_N[self.order_N] = first_N[label_N]
        return orbit_N


def no_orbits(n_sites: int) -> Orbits:
    """Every site for itself."""
    return Orbits(np.arange(n_sites, dtype=np.int32), np.arange(n_sites, dtype=np.int32))


def find_operations(
    numbers_N: np.ndarray, lattice_33: np.ndarray, frac_N3: np.ndarray
) -> Operations:
    """The operations of a crystal (lattice: rows, angstrom; coordinates need not be wrapped).

    A search in a cell of very many sites may cost more than BUDGET; then there are none.
    """
    from dglframer.structures.orbit_loops import reduced_basis, search

    basis = reduced_basis(np.ascontiguousarray(lattice_33, dtype=np.float64))
    _, kind_N, count_K = np.unique(numbers_N, return_inverse=True, return_counts=True)
    rank_K = np.argsort(np.argsort(count_K, kind="stable"), kind="stable")
    order_N = np.argsort(rank_K[kind_N], kind="stable")  # the rarest kind first
    frac = (frac_N3 @ (lattice_33 @ np.linalg.inv(basis)))[order_N]
    kind_start = np.append(0, np.cumsum(np.sort(count_K)))
    rotations = np.empty((MAX_OPERATIONS, 3, 3))
    images = np.empty((MAX_OPERATIONS, len(frac)), np.int64)
    found = search(basis, frac, kind_start, TOLERANCE, BUDGET, rotations, images)
    if found < 0:
        log.info("a cell of %d sites: too many for a search of equivalent ones", len(frac))
    count = max(found, 0)
    return Operations(basis, frac, order_N, rotations[:count], images[:count])


def find_orbits(numbers_N: np.ndarray, lattice_33: np.ndarray, frac_N3: np.ndarray) -> Orbits:
    """The orbits of the sites of a crystal; every site for itself where the search costs too much."""
    if len(numbers_N) == 1:
        return no_orbits(1)
    operations = find_operations(numbers_N, lattice_33, frac_N3)
    return Orbits(operations.proper().orbit(), operations.orbit())


def symmetrised(
    numbers_N: np.ndarray, lattice_33: np.ndarray, frac_N3: np.ndarray, proper: bool
) -> tuple[np.ndarray, np.ndarray]:
    """(lattice [3, 3], frac [N, 3]) averaged over the operations, or over the proper ones.

    Operations are exact in the result. What does not change with an operation, such as the output of a
    network, differs in it from that of the crystal by the second order of the displacements alone.
    """
    from dglframer.structures.orbit_loops import average

    found = find_operations(numbers_N, lattice_33, frac_N3)
    found = found.proper() if proper else found
    basis_33, frac_red_N3 = average(
        found.basis_33, found.frac_N3, found.rotations_O33, found.images_ON
    )
    moved_N3 = np.empty_like(frac_N3)
    moved_N3[found.order_N] = frac_red_N3 - found.frac_N3
    to_lattice_33 = found.basis_33 @ np.linalg.inv(lattice_33)
    changed_33 = lattice_33 @ np.linalg.inv(found.basis_33) @ basis_33
    return changed_33, frac_N3 + moved_N3 @ to_lattice_33


def with_like_edges(
    orbits: Orbits, lattice_33: np.ndarray, frac_N3: np.ndarray, edges: Edges
) -> Orbits:
    """The orbits, or every site for itself if members of one have different edges.

    The same are as many edges, whose lengths differ by at most EDGE_TOLERANCE. An image may be within
    the cutoff of one site, and its equivalent one beyond that of another by a rounding.
    """
    from dglframer.structures.orbit_loops import alike

    n_sites = len(frac_N3)
    lattice, frac = np.ascontiguousarray(lattice_33), np.ascontiguousarray(frac_N3)
    edge_start = np.searchsorted(edges.dst_E, np.arange(n_sites + 1))
    neighbours = edges.src_E, edges.image_E3, edge_start
    return Orbits(
        *(
            orbit_N if alike(lattice, frac, *neighbours, EDGE_TOLERANCE, orbit_N) else alone_N
            for orbit_N, alone_N in zip(orbits, no_orbits(n_sites), strict=True)
        )
    )
