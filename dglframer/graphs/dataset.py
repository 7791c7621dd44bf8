"""Graphs for training: shards decoded once to memory-mapped arrays, gathered into batches."""

import copy
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dglframer.common.errors import DamagedFile, UserError
from dglframer.common.files import hash_of
from dglframer.common.transforms import TRANSFORMS, apply
from dglframer.graphs.batch import Batch, cell_or_zeros
from dglframer.graphs.shard_table import shard_graphs
from dglframer.graphs.shards import read_manifest, read_shard
from dglframer.structures.periodic_graph import PeriodicGraph

log = logging.getLogger(__name__)

CACHE_VERSION = 3


class GraphDataset(Dataset):
    """Random access to the graphs of a folder, by id, without reading their shard.

    The arrays are memory-mapped: workers and runs on one machine share their pages.
    """

    def __init__(self, graphs: Path, ids: Sequence[str] | None = None):
        self.manifest = read_manifest(graphs)
        cache = open_cache(graphs, self.manifest)
        # "c" and not "r": torch asks for writable memory, though nobody writes to it.
        self.arrays = {
            name: np.asarray(np.load(cache / f"{name}.npy", mmap_mode="c", allow_pickle=False))
            for name in array_shapes(self.manifest)
        }
        self.targets = self.arrays["targets"]
        every_id: list[str] = json.loads((cache / "ids.json").read_text())
        rows = {id: row for row, id in enumerate(every_id)}
        self.ids = every_id if ids is None else list(ids)
        unknown = [id for id in self.ids if id not in rows]
        if unknown:
            raise DamagedFile(f"{graphs}: no graph {unknown[0]} (and {len(unknown) - 1} others)")
        self.rows = np.array([rows[id] for id in self.ids], dtype=np.int64)
        self.id_of_row = np.array(every_id, dtype=object)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> int:
        """Only the row: ``collate`` gathers the arrays of a whole batch at once."""
        return int(self.rows[index])

    def __getitems__(self, indices: Sequence[int]) -> np.ndarray:
        """The rows of a batch; a DataLoader calls this instead of ``__getitem__`` index by index."""
        return self.rows[indices]

    def collate(self, rows: Sequence[int] | np.ndarray) -> Batch:
        """The batch of some rows."""
        rows_B = np.asarray(rows)
        index_N, atoms_B = spans(self.arrays["atom_ptr"], rows_B)
        index_E, edges_B = spans(self.arrays["edge_ptr"], rows_B)

        def gathered(name: str, index: np.ndarray) -> Tensor:  # torch's gather is twice numpy's
            return torch.from_numpy(self.arrays[name]).index_select(0, torch.from_numpy(index))

        degree_N = gathered("degree", index_N).numpy()
        src_E = np.repeat(np.cumsum(atoms_B) - atoms_B, edges_B)
        src_E += gathered("src", index_E).numpy()
        return Batch(
            numbers_N=gathered("numbers", index_N).long(),
            src_E=torch.from_numpy(src_E),
            dst_E=torch.from_numpy(np.repeat(np.arange(len(degree_N)), degree_N)),
            r_E3=gathered("r", index_E),
            edge_ptr=torch.from_numpy(np.append(0, np.cumsum(degree_N, dtype=np.int64))),
            atoms_B=torch.from_numpy(atoms_B),
            lattice_B33=gathered("lattice", rows_B),
            coords_N3=gathered("frac", index_N),
            targets_BT=gathered("targets", rows_B),
            ids=tuple(self.id_of_row[rows_B]),
        )

    def compositions(self) -> list[np.ndarray]:
        """Atomic numbers of each crystal, in the dataset's order."""
        numbers, ptr = self.arrays["numbers"], self.arrays["atom_ptr"]
        return [numbers[ptr[row] : ptr[row + 1]] for row in self.rows]

    def lattices(self) -> np.ndarray:
        """[G, 3, 3] in angstrom, in the dataset's order; zeros for a molecule."""
        return self.arrays["lattice"][self.rows]

    def atom_counts(self) -> np.ndarray:
        """Atoms of each graph, [G], in the dataset's order."""
        return np.diff(self.arrays["atom_ptr"])[self.rows]

    def at_most(self, atoms: int | None) -> "GraphDataset":
        """The crystals of at most ``atoms`` atoms, or all for None; raises UserError if there is none."""
        if atoms is None:
            return self
        kept = np.flatnonzero(self.atom_counts() <= atoms)
        if not len(kept):
            raise UserError(f"no crystal has at most {atoms} atoms")
        smaller = copy.copy(self)
        smaller.ids, smaller.rows = [self.ids[index] for index in kept], self.rows[kept]
        log.info("%d of %d crystals have at most %d atoms", len(kept), len(self), atoms)
        return smaller

    def transformed(self, transforms: Sequence[str | None]) -> "GraphDataset":
        """The dataset with each target as it is learned, in place of its label.

        Raises UserError naming a crystal if a transform is not defined for a label.
        """
        if not any(transforms):
            return self
        columns = []
        for name, labels_G, transform in zip(
            self.manifest["targets"], self.targets.T, transforms, strict=True
        ):
            columns.append(apply(transform, labels_G))
            lost_G = np.isnan(columns[-1]) & ~np.isnan(labels_G)
            if transform and lost_G.any():
                row = int(lost_G.argmax())
                raise UserError(
                    f"label {name} of {self.id_of_row[row]} is {labels_G[row]:g}: {transform} needs "
                    f"{TRANSFORMS[transform].needs}; run the crystals stage again"
                )
        learned = copy.copy(self)
        learned.targets = np.stack(columns, axis=1)
        learned.arrays = {**self.arrays, "targets": learned.targets}
        return learned

    def edge_counts(self) -> np.ndarray:
        """Edges of each graph, [G], in the dataset's order."""
        return np.diff(self.arrays["edge_ptr"])[self.rows]

    def target_statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (1/N) of each target over its known labels in this dataset."""
        values_GT = self.targets[self.rows]
        if self.known().all():
            return values_GT.mean(0), values_GT.std(0)
        columns = [values_G[~np.isnan(values_G)] for values_G in values_GT.T]
        return np.array([one.mean() for one in columns]), np.array([one.std() for one in columns])

    def known(self) -> np.ndarray:
        """Whether a crystal has a label, [G, T], in the dataset's order."""
        return ~np.isnan(self.targets[self.rows])


def spans(ptr: np.ndarray, rows_B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The indices ptr[row] to ptr[row + 1] - 1 of each row, row after row, and their number per row."""
    start_B = ptr[rows_B]
    count_B = ptr[rows_B + 1] - start_B
    index = np.repeat(start_B - np.cumsum(count_B) + count_B, count_B)
    index += np.arange(len(index))
    return index, count_B


def open_cache(graphs: Path, manifest: dict[str, Any]) -> Path:
    """The folder of decoded arrays beside ``graphs``; it is made now if it is not there.

    It is made under another name and then renamed. If two processes decode at once, one rename wins
    and both processes use its folder.
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
            if older != cache:  # its graphs have been built anew since
                shutil.rmtree(older, ignore_errors=True)
    except OSError:
        if not cache.is_dir():  # no other process has made it: a real error
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return cache


def array_shapes(manifest: dict[str, Any]) -> dict[str, tuple[type, tuple[int, ...]]]:
    """Type and shape of each decoded array."""
    n_atoms, n_edges, n_graphs = (manifest[key] for key in ("atoms", "edges", "crystals"))
    return {
        "src": (np.int32, (n_edges,)),
        "r": (np.float32, (n_edges, 3)),
        "numbers": (np.int16, (n_atoms,)),
        "degree": (np.int32, (n_atoms,)),  # edges of each centre; dst follows from it
        "frac": (np.float32, (n_atoms, 3)),
        "lattice": (np.float32, (n_graphs, 3, 3)),
        "targets": (np.float64, (n_graphs, len(manifest["targets"]))),
        "atom_ptr": (np.int64, (n_graphs + 1,)),
        "edge_ptr": (np.int64, (n_graphs + 1,)),
    }


def decode(graphs: Path, manifest: dict[str, Any], folder: Path) -> None:
    """Write every decoded array, and ids.json, one graph after the other."""
    ids = []
    atom = edge = 0
    shapes = array_shapes(manifest)
    with ExitStack() as stack:  # plain files: mapped pages would count as memory of this process
        files = {name: stack.enter_context(open(folder / f"{name}.npy", "wb")) for name in shapes}
        for name, (kind, shape) in shapes.items():
            header = {"descr": np.dtype(kind).str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(files[name], header)

        def append(**arrays: Any) -> None:
            for name, values in arrays.items():
                files[name].write(np.asarray(values, shapes[name][0]).tobytes())

        append(atom_ptr=0, edge_ptr=0)
        for graph in all_graphs(graphs, manifest):
            ids.append(graph.id)
            atom, edge = atom + len(graph.numbers_N), edge + len(graph.edges.src_E)
            append(
                src=graph.edges.src_E,
                r=graph.vectors_E3,
                numbers=graph.numbers_N,
                degree=np.bincount(graph.edges.dst_E, minlength=len(graph.numbers_N)),
                frac=graph.coords_N3,
                lattice=cell_or_zeros(graph.lattice_33),
                targets=[graph.labels[name] for name in manifest["targets"]],
                atom_ptr=atom,
                edge_ptr=edge,
            )
    (folder / "ids.json").write_text(json.dumps(ids))


def all_graphs(graphs: Path, manifest: dict[str, Any]) -> Iterator[PeriodicGraph]:
    """Every graph of a folder in order, one shard in memory at a time."""
    for entry in manifest["shards"]:
        yield from shard_graphs(read_shard(graphs, entry), list(manifest["targets"]))
