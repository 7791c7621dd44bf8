"""Periodic graphs.

Convention, everywhere: an edge goes from the neighbour src = j in image n to the centre dst = i, and
r = (f_j + n - f_i) L. Edges are sorted by (dst, src, n); the self edge j = i, n = 0 is always there.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dglframer.structures.crystal import Crystal
from dglframer.structures.neighbors import (
    Edges,
    edge_vectors,
    molecule_edges,
    periodic_edges,
    wrapped,
)

if TYPE_CHECKING:
    import dgl


@dataclass(frozen=True)
class PeriodicGraph:
    """One crystal as a directed multigraph over its periodic images, or a molecule (no lattice)."""

    id: str
    numbers_N: np.ndarray  # int16
    lattice_33: np.ndarray | None  # float64, rows, angstrom; None: a molecule
    frac_N3: np.ndarray  # float64, in [0, 1); in a molecule Cartesian, angstrom
    edges: Edges
    labels: dict[str, float] = field(default_factory=dict)

    @property
    def cell_33(self) -> np.ndarray:
        """The lattice, or zeros for a molecule: what a batch holds."""
        return np.zeros((3, 3)) if self.lattice_33 is None else self.lattice_33

    @property
    def vectors_E3(self) -> np.ndarray:
        """r of each edge: float64, angstrom."""
        return edge_vectors(self.lattice_33, self.frac_N3, self.edges)


def build_graph(crystal: Crystal, cutoff: float) -> PeriodicGraph:
    """The graph of every image within ``cutoff`` (angstrom)."""
    if crystal.lattice_33 is None:
        frac, edges = crystal.frac_N3, molecule_edges(crystal.frac_N3, cutoff)
    else:
        frac = wrapped(crystal.frac_N3)
        edges = periodic_edges(crystal.lattice_33, crystal.frac_N3, cutoff)
    return PeriodicGraph(
        crystal.id, crystal.numbers_N, crystal.lattice_33, frac, edges, crystal.labels
    )


def to_dgl(graph: PeriodicGraph) -> "dgl.DGLGraph":
    """A DGLGraph with node data ``number`` [N] and edge data ``r`` [E, 3] (float32, angstrom)."""
    import torch

    from dglframer.common.dgl_import import dgl

    src, dst = (torch.from_numpy(column.astype(np.int64)) for column in graph.edges[:2])
    result = dgl.graph((src, dst), num_nodes=len(graph.numbers_N))
    result.ndata["number"] = torch.from_numpy(graph.numbers_N.astype(np.int64))
    result.edata["r"] = torch.from_numpy(graph.vectors_E3.astype(np.float32))
    return result
