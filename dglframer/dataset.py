"""Graphs for training: shards decoded once to memory-mapped arrays, sliced into batches."""

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from dglframer.batch import Batch, make_batch
from dglframer.errors import DamagedFile
from dglframer.files import hash_of
from dglframer.graphs import PeriodicGraph, read_manifest, read_shard, shard_graphs

log = logging.getLogger(__name__)

CACHE_VERSION = 2
ARRAYS = ("numbers", "src", "dst", "r", "lattice", "frac", "atom_ptr", "edge_ptr", "targets")


class GraphDataset(Dataset):
    """Random access to the graphs of a folder, by id, without reading their shard.

    The arrays are memory-mapped: workers and runs on one machine share their pages.
    """

    def __init__(self, graphs: Path, ids: Sequence[str] | None = None):
        self.manifest = read_manifest(graphs)
        cache = open_cache(graphs, self.manifest)
        for name in ARRAYS:
            setattr(self, name, np.load(cache / f"{name}.npy", mmap_mode="r", allow_pickle=False))
        self.id_of_row: list[str] = json.loads((cache / "ids.json").read_text())
        rows = {id: row for row, id in enumerate(self.id_of_row)}
        self.ids = self.id_of_row if ids is None else list(ids)
        unknown = [id for id in self.ids if id not in rows]
        if unknown:
            raise DamagedFile(f"{graphs}: no graph {unknown[0]} (and {len(unknown) - 1} others)")
        self.rows = np.array([rows[id] for id in self.ids], dtype=np.int64)

    numbers: np.ndarray
    src: np.ndarray
    dst: np.ndarray
    r: np.ndarray
    lattice: np.ndarray
    frac: np.ndarray
    atom_ptr: np.ndarray
    edge_ptr: np.ndarray
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> int:
        """Only the row: ``collate`` slices the arrays of a whole batch at once."""
        return int(self.rows[index])

    def collate(self, rows: list[int]) -> Batch:
        """The batch of some rows."""
        atoms = [slice(self.atom_ptr[row], self.atom_ptr[row + 1]) for row in rows]
        edges = [slice(self.edge_ptr[row], self.edge_ptr[row + 1]) for row in rows]
        return make_batch(
            [self.numbers[part] for part in atoms],
            [self.src[part] for part in edges],
            [self.dst[part] for part in edges],
            [self.r[part] for part in edges],
            self.lattice[rows],
            [self.frac[part] for part in atoms],
            targets=self.targets[rows],
            ids=[self.id_of_row[row] for row in rows],
        )

    def edge_counts(self) -> np.ndarray:
        """Edges of each graph, [G], in the dataset's order."""
        return np.diff(self.edge_ptr)[self.rows]

    def target_statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (1/N) of each target over this dataset's crystals."""
        values_GT = self.targets[self.rows]
        return values_GT.mean(0), values_GT.std(0)


def open_cache(graphs: Path, manifest: dict[str, Any]) -> Path:
    """The folder of decoded arrays beside ``graphs``, made now if it is not there.

    It is made under another name and renamed, so that of two processes that decode at once one
    wins and both succeed.
    """
    key = hash_of([CACHE_VERSION, manifest])[:16]
    cache = graphs.parent / "cache" / f"{graphs.name}-{key}"
    if cache.is_dir():
        return cache
    cache.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{cache.name}.", dir=cache.parent))
    try:
        decode(graphs, manifest, temporary)
        os.rename(temporary, cache)
        log.info("decoded %d shards to %s", len(manifest["shards"]), cache)
        for older in cache.parent.glob(f"{graphs.name}-*"):
            if older != cache:  # of graphs that have been built anew since
                shutil.rmtree(older, ignore_errors=True)
    except OSError:
        if not cache.is_dir():  # not the other process, then
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return cache


def decode(graphs: Path, manifest: dict[str, Any], folder: Path) -> None:
    """Write every array of ARRAYS, and ids.json, filling them one shard at a time."""
    n_atoms, n_edges, n_graphs = (manifest[key] for key in ("atoms", "edges", "crystals"))
    shapes: dict[str, tuple[type, tuple[int, ...]]] = {
        "numbers": (np.int16, (n_atoms,)),
        "src": (np.int32, (n_edges,)),
        "dst": (np.int32, (n_edges,)),
        "r": (np.float32, (n_edges, 3)),
        "lattice": (np.float32, (n_graphs, 3, 3)),
        "frac": (np.float32, (n_atoms, 3)),
        "atom_ptr": (np.int64, (n_graphs + 1,)),
        "edge_ptr": (np.int64, (n_graphs + 1,)),
        "targets": (np.float64, (n_graphs, len(manifest["targets"]))),
    }
    arrays = {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", "w+", kind, shape)
        for name, (kind, shape) in shapes.items()
    }
    ids = []
    atom = edge = 0
    for row, graph in enumerate(all_graphs(graphs, manifest)):
        ids.append(graph.id)
        atoms = slice(atom, atom := atom + len(graph.numbers_N))
        edges = slice(edge, edge := edge + len(graph.edges.src_E))
        arrays["numbers"][atoms], arrays["frac"][atoms] = graph.numbers_N, graph.frac_N3
        arrays["lattice"][row] = graph.cell_33
        arrays["src"][edges], arrays["dst"][edges] = graph.edges.src_E, graph.edges.dst_E
        arrays["r"][edges] = graph.vectors_E3
        arrays["atom_ptr"][row + 1], arrays["edge_ptr"][row + 1] = atom, edge
        arrays["targets"][row] = [graph.labels[name] for name in manifest["targets"]]
    for array in arrays.values():
        array.flush()
    (folder / "ids.json").write_text(json.dumps(ids))


def all_graphs(graphs: Path, manifest: dict[str, Any]) -> Iterator[PeriodicGraph]:
    """Every graph of a folder in order, one shard in memory at a time."""
    for entry in manifest["shards"]:
        yield from shard_graphs(read_shard(graphs, entry), list(manifest["targets"]))
