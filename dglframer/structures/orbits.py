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
EDGE_TOLERANCE = 1.2e-5  # angstrom, by which the lengths of edges of equivalent sites may differ
BUDGET = 50_000_000  # pairs of sites that a search may look at: about 0.1 s


class Orbits(NamedTuple):
    """For each site the first site of its orbit; an atom without equivalent ones has its own number."""

    proper_N: np.ndarray  # int32, under the operations of determinant 1
    every_N: np.ndarray  # int32, under all operations


def no_orbits(n_sites: int) -> Orbits:
    """Every site for itself."""
    return Orbits(np.arange(n_sites, dtype=np.int32), np.arange(n_sites, dtype=np.int32))


def find_orbits(numbers_N: np.ndarray, lattice_33: np.ndarray, frac_N3: np.ndarray) -> Orbits:
    """The orbits of the sites of a crystal (lattice: rows, angstrom; coordinates need not be wrapped).

    A cell of very many sites may cost more than BUDGET: its sites are then each for themselves.
    """
    from dglframer.structures.orbit_loops import reduced_basis, search

    n_sites = len(numbers_N)
    if n_sites == 1:
        return no_orbits(1)
    basis = reduced_basis(np.ascontiguousarray(lattice_33, dtype=np.float64))
    frac = frac_N3 @ (lattice_33 @ np.linalg.inv(basis))
    kinds, kind_N, count_K = np.unique(numbers_N, return_inverse=True, return_counts=True)
    rank_K = np.empty(len(kinds), np.int64)
    rank_K[np.argsort(count_K, kind="stable")] = np.arange(len(kinds))
    order_N = np.argsort(rank_K[kind_N], kind="stable")  # the rarest kind first
    kind_start = np.append(0, np.cumsum(np.sort(count_K)))
    proper, every = np.arange(n_sites), np.arange(n_sites)
    if not search(basis, frac[order_N], kind_start, TOLERANCE, BUDGET, proper, every):
        log.info("a cell of %d sites: too many for a search of equivalent ones", n_sites)
        return no_orbits(n_sites)
    return Orbits(first_of_orbit(proper, order_N), first_of_orbit(every, order_N))


def with_like_edges(
    orbits: Orbits, lattice_33: np.ndarray, frac_N3: np.ndarray, edges: Edges
) -> Orbits:
    """The orbits whose members have the same edges; the sites of others are each for themselves.

    The same are as many edges, whose lengths differ by at most EDGE_TOLERANCE. An image may be within
    the cutoff of one site, and its equivalent one beyond that of another by a rounding.
    """
    from dglframer.structures.orbit_loops import separate_unlike

    n_sites = len(frac_N3)
    if (orbits.every_N == np.arange(n_sites)).all():
        return orbits
    edge_start = np.searchsorted(edges.dst_E, np.arange(n_sites + 1))
    kept = Orbits(*(label_N.copy() for label_N in orbits))
    lattice, frac = np.ascontiguousarray(lattice_33), np.ascontiguousarray(frac_N3)
    separate_unlike(lattice, frac, edges.src_E, edges.image_E3, edge_start, EDGE_TOLERANCE, *kept)
    return kept


def first_of_orbit(label_N: np.ndarray, order_N: np.ndarray) -> np.ndarray:
    """[N] int32: the first site of each orbit, from labels of the sites in another order."""
    first_N = np.full(len(label_N), len(label_N), np.int32)
    np.minimum.at(first_N, label_N, order_N.astype(np.int32))
    orbit_N = np.empty(len(label_N), np.int32)
    orbit_N[order_N] = first_N[label_N]
    return orbit_N
