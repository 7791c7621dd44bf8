"""Periodic graphs.

Convention in the whole package: an edge goes from the neighbour src = j in image n to the centre
dst = i, and r = (f_j + n - f_i) L. Edges are sorted by (dst, src, n). Every site has its self edge,
j = i and n = 0.
"""

from dataclasses import dataclass, field

import numpy as np

from dglframer.structures.crystal import Crystal
from dglframer.structures.neighbors import (
    Edges,
    edge_vectors,
    molecule_edges,
    periodic_edges,
    wrapped,
)
from dglframer.structures.orbits import Orbits, find_orbits, no_orbits, with_like_edges


@dataclass(frozen=True)
class PeriodicGraph:
    """One crystal as a directed multigraph over its periodic images, or a molecule (no lattice)."""

    id: str
    numbers_N: np.ndarray  # int16
    lattice_33: np.ndarray | None  # float64, rows, angstrom; None: a molecule
    coords_N3: np.ndarray  # float64: fractional, in [0, 1); of a molecule Cartesian, angstrom
    edges: Edges
    orbits: Orbits  # of equivalent atoms: of each the first one
    labels: dict[str, float | None] = field(default_factory=dict)

    @property
    def vectors_E3(self) -> np.ndarray:
        """r of each edge: float64, angstrom."""
        return edge_vectors(self.lattice_33, self.coords_N3, self.edges)


def build_graph(crystal: Crystal, cutoff: float) -> PeriodicGraph:
    """The graph of every image within ``cutoff`` (angstrom), and its equivalent atoms.

    In a molecule every atom is for itself.
    """
    if crystal.lattice_33 is None:
        frac, edges = crystal.coords_N3, molecule_edges(crystal.coords_N3, cutoff)
        orbits = no_orbits(len(frac))
    else:
        frac = wrapped(crystal.coords_N3)
        edges = periodic_edges(crystal.lattice_33, crystal.coords_N3, cutoff)
        orbits = find_orbits(crystal.numbers_N, crystal.lattice_33, frac)
        orbits = with_like_edges(orbits, crystal.lattice_33, frac, edges)
    return PeriodicGraph(
        crystal.id, crystal.numbers_N, crystal.lattice_33, frac, edges, orbits, crystal.labels
    )
