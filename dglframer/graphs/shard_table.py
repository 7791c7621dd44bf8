"""Periodic graphs as the columns of a Parquet shard, and back."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from dglframer.data.crystals import crystal_rows, flat
from dglframer.structures.neighbors import Edges
from dglframer.structures.orbits import Orbits
from dglframer.structures.periodic_graph import PeriodicGraph


def shard_schema(targets: dict[str, str]) -> pa.Schema:
    """Columns of a shard; ``targets`` maps a target to its unit."""
    lists = {"src": pa.int32(), "dst": pa.int32(), "image": pa.int8()}
    lists |= {"proper_orbit": pa.int32(), "orbit": pa.int32()}
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
        "frac_coords": lists([graph.coords_N3.ravel() for graph in graphs]),
        "src": lists([graph.edges.src_E for graph in graphs]),
        "dst": lists([graph.edges.dst_E for graph in graphs]),
        "image": lists([graph.edges.image_E3.ravel() for graph in graphs]),
        "proper_orbit": lists([graph.orbits.proper_N for graph in graphs]),
        "orbit": lists([graph.orbits.every_N for graph in graphs]),
        **{name: [graph.labels[name] for graph in graphs] for name in targets},
    }
    return pa.table(columns, schema=shard_schema(targets))


def lists(parts: Sequence[np.ndarray]) -> pa.ListArray:
    """A column of lists from one array per row."""
    ends = np.cumsum([0, *(len(part) for part in parts)], dtype=np.int32)
    return pa.ListArray.from_arrays(ends, np.concatenate(parts))


def shard_graphs(table: pa.Table, targets: Sequence[str] = ()) -> Iterator[PeriodicGraph]:
    """The graphs of some rows of a shard."""
    names = ("src", "dst", "image", "proper_orbit", "orbit")
    columns = [table[name].combine_chunks() for name in names]
    labels = table.select(list(targets)).to_pylist()
    for row, (id, numbers, lattice, frac) in enumerate(crystal_rows(table)):
        src, dst, image, *orbits = (column[row].values.to_numpy() for column in columns)
        edges = Edges(src, dst, image.reshape(-1, 3))
        values = labels[row] if targets else {}
        yield PeriodicGraph(id, numbers, lattice, frac, edges, Orbits(*orbits), values)
