"""Periodic graphs and their Parquet shards.

Convention, everywhere: an edge goes from the neighbour src = j in image n to the centre dst = i, and
r = (f_j + n - f_i) L. Edges are sorted by (dst, src, n); the self edge j = i, n = 0 is always there.
A graph folder holds shard-*.parquet (self-contained, edges included) and manifest.json.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from dglframer.crystals import Crystal, crystal_rows, flat
from dglframer.errors import DamagedFile
from dglframer.files import read_json, read_parquet, sha256, write_json, write_parquet
from dglframer.neighbors import Edges, edge_vectors, molecule_edges, periodic_edges, wrapped

if TYPE_CHECKING:
    import dgl

log = logging.getLogger(__name__)

FORMAT_VERSION = 1


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
    columns: dict[str, list[Any]] = {
        "id": [graph.id for graph in graphs],
        "numbers": [graph.numbers_N for graph in graphs],
        "lattice": [flat(graph.lattice_33) for graph in graphs],
        "frac_coords": [graph.frac_N3.ravel() for graph in graphs],
        "src": [graph.edges.src_E for graph in graphs],
        "dst": [graph.edges.dst_E for graph in graphs],
        "image": [graph.edges.image_E3.ravel() for graph in graphs],
        **{name: [graph.labels[name] for graph in graphs] for name in targets},
    }
    return pa.table(columns, schema=shard_schema(targets))


def write_graphs(
    crystals_path: Path,
    folder: Path,
    cutoff: float,
    crystals_per_shard: int,
    threads: int = 1,
    config_hash: str = "",
) -> dict[str, Any]:
    """Build every graph of crystals.parquet; the manifest is written last and returned.

    A shard depends on its rows alone, so that the bytes do not depend on ``threads``.
    """
    table = read_parquet(crystals_path)
    targets = {
        field.name: (field.metadata or {}).get(b"unit", b"").decode()
        for field in table.schema
        if pa.types.is_floating(field.type)
    }
    starts = range(0, len(table), crystals_per_shard)

    def build(start: int) -> dict[str, Any]:
        rows = table.slice(start, crystals_per_shard)
        labels = rows.select(list(targets)).to_pylist()
        crystals = zip(crystal_rows(rows), labels, strict=True)
        graphs = [build_graph(Crystal(*row, values), cutoff) for row, values in crystals]
        path = folder / f"shard-{start // crystals_per_shard:05d}.parquet"
        write_parquet(path, shard_table(graphs, targets))
        entry = {
            "file": path.name,
            "sha256": sha256(path),
            "crystals": len(graphs),
            "atoms": sum(len(graph.numbers_N) for graph in graphs),
            "edges": sum(len(graph.edges.src_E) for graph in graphs),
        }
        log.info("%(file)s: %(crystals)d crystals, %(atoms)d atoms, %(edges)d edges", entry)
        return entry

    with ThreadPoolExecutor(threads) as pool:  # the search and the compression release the GIL
        shards = list(pool.map(build, starts))
    manifest = {
        "format_version": FORMAT_VERSION,
        "cutoff_angstrom": cutoff,
        "targets": targets,
        **{key: sum(shard[key] for shard in shards) for key in ("crystals", "atoms", "edges")},
        "crystals_sha256": sha256(crystals_path),
        "config_hash": config_hash,
        "shards": shards,
    }
    for path in folder.glob("shard-*.parquet"):
        if path.name not in {shard["file"] for shard in shards}:
            path.unlink()  # left by an earlier build with more shards
    write_json(folder / "manifest.json", manifest)
    return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """manifest.json of a graph folder; raises DamagedFile for another format version."""
    manifest = read_json(folder / "manifest.json")
    if manifest.get("format_version") != FORMAT_VERSION:
        raise DamagedFile(
            f"{folder}/manifest.json: format {manifest.get('format_version')}, this version of "
            f"dglframer reads {FORMAT_VERSION}; run the graphs stage again"
        )
    return manifest


def read_shard(folder: Path, entry: dict[str, Any]) -> pa.Table:
    """One shard, verified against its sha256; raises DamagedFile naming it."""
    path = folder / entry["file"]
    if not os.path.isfile(path) or sha256(path) != entry["sha256"]:
        raise DamagedFile(f"{path}: missing or not the bytes in the manifest; run graphs again")
    return read_parquet(path)


def shard_graphs(table: pa.Table, targets: Sequence[str] = ()) -> Iterator[PeriodicGraph]:
    """Turn any rows of a shard back into graphs."""
    columns = [table[name].combine_chunks() for name in ("src", "dst", "image")]
    labels = table.select(list(targets)).to_pylist()
    for row, (id, numbers, lattice, frac) in enumerate(crystal_rows(table)):
        src, dst, image = (column[row].values.to_numpy() for column in columns)
        edges = Edges(src, dst, image.reshape(-1, 3))
        yield PeriodicGraph(id, numbers, lattice, frac, edges, labels[row] if targets else {})
