"""Graphs in which one atom stands for all that are equivalent to it.

Equivalent atoms have equal features. An edge therefore may come from the first atom of an orbit in place
of its neighbour, and edges to the other members are left out. Sums over the atoms count an atom as often
as its orbit has members.

The coordinates of data sets are rounded: an atom is equivalent to another to some 1e-5 angstrom. Edges are
therefore those of the crystal averaged over its operations, in which it is exactly. An output, which no
operation changes, moves by the second order of the displacements alone.
"""

from typing import NamedTuple

import numpy as np

from dglframer.config.networks import SymmetryGroup
from dglframer.structures.neighbors import Edges, edge_vectors
from dglframer.structures.orbits import Orbits, symmetrised
from dglframer.structures.periodic_graph import PeriodicGraph


class Reduction(NamedTuple):
    """What is computed of a graph of N atoms and E edges: M atoms, one of each orbit, and F edges."""

    atoms_M: np.ndarray  # int64, which of the N
    place_N: np.ndarray  # int32, which of the M stands for each of the N
    edges_F: np.ndarray  # int64, which of the E, sorted by (dst, src) of the M
    src_F: np.ndarray  # int32, of the M
    dst_F: np.ndarray
    r_F3: np.ndarray  # float64, angstrom


def labels_of(orbits: Orbits, group: SymmetryGroup) -> np.ndarray:
    """[N]: for each atom the first one that is equivalent to it under the operations of a group."""
    match group:
        case "proper":
            return orbits.proper_N
        case "all":
            return orbits.every_N
        case _:
            return np.arange(len(orbits.every_N), dtype=np.int32)


def computed_sizes(graph: PeriodicGraph, group: SymmetryGroup) -> tuple[int, int]:
    """How many atoms and edges of a graph are computed."""
    orbit_N = labels_of(graph.orbits, group)
    is_first_N = orbit_N == np.arange(len(orbit_N))
    return int(is_first_N.sum()), int(is_first_N[graph.edges.dst_E].sum())


def reduction(graph: PeriodicGraph, group: SymmetryGroup) -> Reduction:
    """What is computed of a graph if the operations of ``group`` relate equal features."""
    orbit_N, edges = labels_of(graph.orbits, group), graph.edges
    is_first_N = orbit_N == np.arange(len(orbit_N))
    atoms_M = is_first_N.nonzero()[0]
    if len(atoms_M) == len(orbit_N):
        every_E = np.arange(len(edges.src_E))
        return Reduction(atoms_M, orbit_N, every_E, edges.src_E, edges.dst_E, graph.vectors_E3)
    assert graph.lattice_33 is not None, "a molecule has no equivalent atoms"
    lattice_33, frac_N3 = symmetrised(
        graph.numbers_N, graph.lattice_33, graph.coords_N3, proper=group == "proper"
    )
    number_N = np.cumsum(is_first_N, dtype=np.int32) - 1  # of a first atom among the M
    place_N = number_N[orbit_N]
    edges_F = is_first_N[edges.dst_E].nonzero()[0]
    src_F, dst_F = place_N[edges.src_E[edges_F]], place_N[edges.dst_E[edges_F]]
    # Edges of one source side by side: what depends on source and centre alone is then computed once.
    kind = np.uint16 if len(atoms_M) ** 2 < 2**16 else np.int64  # numpy sorts uint16 by their bits
    order_F = np.argsort((dst_F * len(atoms_M) + src_F).astype(kind), kind="stable")
    edges_F = edges_F[order_F]
    kept = Edges(*(column[edges_F] for column in edges))
    r_F3 = edge_vectors(lattice_33, frac_N3, kept)
    return Reduction(atoms_M, place_N, edges_F, src_F[order_F], dst_F, r_F3)
