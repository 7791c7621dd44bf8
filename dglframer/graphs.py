"""Periodic graphs, and the rows of their Parquet shards (``shards`` writes the files).

Convention, everywhere: an edge goes from the neighbour src = j in image n to the centre dst = i, and
r = (f_j + n - f_i) L. Edges are sorted by (dst, src, n); the self edge j = i, n = 0 is always there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from dglframer.crystals import Crystal, crystal_rows, flat
from dglframer.neighbors import Edges, edge_vectors, molecule_edges, periodic_edges, wrapped

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

    from dglframer.dgl_import import dgl

    src, dst = (torch.from_numpy(column.astype(np.int64)) for column in graph.edges[:2])
    result = dgl.graph((src, dst), num_nodes=len(graph.numbers_N))
    result.ndata["number"] = torch.from_numpy(graph.numbers_N.astype(np.int64))
    result.edata["r"] = torch.from_numpy(graph.vectors_E3.astype(np.float32))
    return result


def shard_schema(targets: dict[str, str]) -> pa.Schema:
    """Columns of a shard; ``targets`` maps a target to its unit."""
    lists = {"src": pa.int32(), "dst": pa.int32(), "image": pa.int8()}
    return pa.schema(
        [
            ("id", pa.string()),
            ("numbers", pa.list_(pa.int16())),
            pa.field("lattice", pa.list_(pa.float64(), 9), metadata={"unit": "angstrom"}),
            ("frac_coords", pa.list_(pa.float64())),
            *((name, pa.list_(kind)) for name, kind in lists.items()),
            *(
                pa.field(name, pa.float64(), metadata={"unit": unit})
                for name, unit in targets.items()
            ),
        ]
    )


def shard_table(graphs: Sequence[PeriodicGraph], targets: dict[str, str]) -> pa.Table:
    """The rows of one shard."""
    columns: dict[str, Any] = {
        "id": [graph.id for graph in graphs],
        "numbers": lists([graph.numbers_N for graph in graphs]),
        "lattice": [flat(graph.lattice_33) for graph in graphs],
        "frac_coords": lists([graph.frac_N3.ravel() for graph in graphs]),
        "src": lists([graph.edges.src_E for graph in graphs]),
        "dst": lists([graph.edges.dst_E for graph in graphs]),
        "image": lists([graph.edges.image_E3.ravel() for graph in graphs]),
        **{name: [graph.labels[name] for graph in graphs] for name in targets},
    }
    return pa.table(columns, schema=shard_schema(targets))


def lists(parts: Sequence[np.ndarray]) -> pa.ListArray:
    """A column of lists from one array per row."""
    ends = np.cumsum([0, *(len(part) for part in parts)], dtype=np.int32)
    return pa.ListArray.from_arrays(ends, np.concatenate(parts))


def shard_graphs(table: pa.Table, targets: Sequence[str] = ()) -> Iterator[PeriodicGraph]:
    """Turn any rows of a shard back into graphs."""
    columns = [table[name].combine_chunks() for name in ("src", "dst", "image")]
    labels = table.select(list(targets)).to_pylist()
    for row, (id, numbers, lattice, frac) in enumerate(crystal_rows(table)):
        src, dst, image = (column[row].values.to_numpy() for column in columns)
        edges = Edges(src, dst, image.reshape(-1, 3))
        yield PeriodicGraph(id, numbers, lattice, frac, edges, labels[row] if targets else {})
