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

from dglframer.common.disk import writing
from dglframer.common.errors import DamagedFile, UserError
from dglframer.common.files import hash_of
from dglframer.common.remote import RemotePath
from dglframer.common.transforms import TRANSFORMS, apply
from dglframer.config.networks import SymmetryGroup
from dglframer.graphs.batch import Batch, cell_or_zeros
from dglframer.graphs.own_shards import WHOLE, Share, own_manifest
from dglframer.graphs.reduction import reduction
from dglframer.graphs.shard_table import shard_graphs
from dglframer.graphs.shards import read_manifest, read_shard
from dglframer.structures.periodic_graph import PeriodicGraph

log = logging.getLogger(__name__)

CACHE_VERSION = 5
CACHE = "DGLFRAMER_CACHE"  # the folder of the decoded arrays of graphs in object storage


class GraphDataset(Dataset):
    """Random access to the graphs of a folder, by id, without reading their shard.

    The arrays are memory-mapped: workers and runs on one machine share their pages. Atoms that are
    equivalent under the operations of ``group`` come once in its batches (``graphs/reduction.py``).
    With a ``share`` only the shards of that process are read, and ``ids`` of the others are left out.
    """

    def __init__(
        self,
        graphs: Path,
        ids: Sequence[str] | None = None,
        group: SymmetryGroup = "none",
        share: Share = WHOLE,
    ):
        self.graphs, self.group, self.share = graphs, group, share
        self.manifest = read_manifest(graphs)
        cache = open_cache(graphs, self.manifest, group, share)
        self.arrays = open_arrays(cache, own_manifest(self.manifest, share), group)
        self.targets = self.arrays["targets"]
        every_id: list[str] = json.loads((cache / "ids.json").read_text())
        rows = {id: row for row, id in enumerate(every_id)}
        self.wanted = every_id if ids is None else list(ids)  # in the shards of all processes
        self.ids = [id for id in self.wanted if id in rows] if share.size > 1 else self.wanted
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

    def in_group(self, group: SymmetryGroup) -> "GraphDataset":
        """The same crystals, in whose batches atoms that are equivalent under ``group`` come once."""
        if group == self.group:
            return self
        other = copy.copy(self)
        other.group = group
        cache = open_cache(self.graphs, self.manifest, group, self.share)
        own = own_manifest(self.manifest, self.share)
        other.arrays = open_arrays(cache, own, group) | {"targets": self.targets}
        return other

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
        place_A = multiplicity_N = None
        if self.group != "none":
            index_A, sites_B = spans(self.arrays["site_ptr"], rows_B)
            place_A = torch.from_numpy(np.repeat(np.cumsum(atoms_B) - atoms_B, sites_B))
            place_A += gathered("place", index_A)
            multiplicity_N = torch.bincount(place_A, minlength=len(degree_N))
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
            group=self.group,
            place_A=place_A,
            multiplicity_N=multiplicity_N,
        )

    def compositions(self) -> list[np.ndarray]:
        """Atomic numbers of all atoms of each crystal, in the dataset's order."""
        numbers, ptr = self.arrays["numbers"], self.arrays["atom_ptr"]
        found = [numbers[ptr[row] : ptr[row + 1]] for row in self.rows]
        if self.group == "none":
            return found
        place, ptr = self.arrays["place"], self.arrays["site_ptr"]
        return [
            of_row[place[ptr[row] : ptr[row + 1]]]
            for of_row, row in zip(found, self.rows, strict=True)
        ]

    def lattices(self) -> np.ndarray:
        """[G, 3, 3] in angstrom, in the dataset's order; zeros for a molecule."""
        return self.arrays["lattice"][self.rows]

    def atom_counts(self) -> np.ndarray:
        """Atoms of each crystal, [G], in the dataset's order."""
        return np.diff(self.arrays["atom_ptr" if self.group == "none" else "site_ptr"])[self.rows]

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

    def less(self, reference_GT: np.ndarray) -> "GraphDataset":
        """The dataset whose targets are those of this one less ``reference_GT``, in its order."""
        rest = copy.copy(self)
        rest.targets = np.array(self.targets)
        rest.targets[self.rows] -= reference_GT
        rest.arrays = {**self.arrays, "targets": rest.targets}
        return rest

    def edge_counts(self) -> np.ndarray:
        """Edges of each crystal that are computed, [G], in the dataset's order."""
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


def open_arrays(
    cache: Path, manifest: dict[str, Any], group: SymmetryGroup
) -> dict[str, np.ndarray]:
    """The decoded arrays by name. "c" and not "r": torch asks for writable memory, and nobody writes."""
    return {
        name: np.asarray(np.load(cache / f"{name}.npy", mmap_mode="c", allow_pickle=False))
        for name in array_shapes(manifest, group)
    }


def open_cache(
    graphs: Path, manifest: dict[str, Any], group: SymmetryGroup, share: Share = WHOLE
) -> Path:
    """The folder of a group's decoded arrays beside ``graphs``; it is made now if it is not there.

    It is made under another name and then renamed. If two processes decode at once, one rename wins
    and both processes use its folder.
    """
    current = f"{graphs.name}-{hash_of([CACHE_VERSION, manifest])[:16]}"
    of = f"-{share.rank}-of-{share.size}" if share.size > 1 else ""
    remote = isinstance(graphs, RemotePath)
    caches = Path(os.environ.get(CACHE, "results/cache")) if remote else graphs.parent / "cache"
    cache = caches / f"{current}-{group}{of}"
    if cache.is_dir():
        return cache
    with writing(cache):
        cache.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{cache.name}.", dir=cache.parent))
        try:
            own = own_manifest(manifest, share)
            decode(graphs, own, group, temporary)
            temporary.chmod(cache.parent.stat().st_mode)  # mkdtemp makes it for its owner alone
            os.rename(temporary, cache)
            log.info("decoded %d shards to %s", len(own["shards"]), cache)
            for older in () if remote else cache.parent.glob(f"{graphs.name}-*"):
                if not older.name.startswith(current):  # its graphs have been built anew since
                    shutil.rmtree(older, ignore_errors=True)
        except OSError:
            if not cache.is_dir():  # no other process has made it: a real error
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return cache


def array_shapes(
    manifest: dict[str, Any], group: SymmetryGroup
) -> dict[str, tuple[type, tuple[int, ...]]]:
    """Type and shape of each decoded array."""
    prefix = "" if group == "none" else f"{group}_"
    n_atoms, n_edges = manifest[f"{prefix}atoms"], manifest[f"{prefix}edges"]
    n_graphs = manifest["crystals"]
    places: dict[str, tuple[type, tuple[int, ...]]] = {
        "place": (np.int32, (manifest["atoms"],)),  # which atom stands for each of a crystal
        "site_ptr": (np.int64, (n_graphs + 1,)),
    }
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
        **(places if prefix else {}),
    }


def decode(graphs: Path, manifest: dict[str, Any], group: SymmetryGroup, folder: Path) -> None:
    """Write every decoded array, and ids.json, one graph after the other."""
    ids = []
    atom = edge = site = 0
    shapes = array_shapes(manifest, group)
    with ExitStack() as stack:  # plain files: mapped pages would count as memory of this process
        files = {name: stack.enter_context(open(folder / f"{name}.npy", "wb")) for name in shapes}
        for name, (kind, shape) in shapes.items():
            header = {"descr": np.dtype(kind).str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(files[name], header)

        def append(**arrays: Any) -> None:
            for name in arrays.keys() & shapes.keys():
                values = arrays[name]
                files[name].write(np.asarray(values, shapes[name][0]).tobytes())

        append(atom_ptr=0, edge_ptr=0, site_ptr=0)
        for graph in all_graphs(graphs, manifest):
            ids.append(graph.id)
            one = reduction(graph, group)
            atom, edge = atom + len(one.atoms_M), edge + len(one.edges_F)
            site += len(graph.numbers_N)
            append(
                src=one.src_F,
                r=one.r_F3,
                numbers=graph.numbers_N[one.atoms_M],
                degree=np.bincount(one.dst_F, minlength=len(one.atoms_M)),
                frac=graph.coords_N3[one.atoms_M],
                lattice=cell_or_zeros(graph.lattice_33),
                targets=[graph.labels[name] for name in manifest["targets"]],
                atom_ptr=atom,
                edge_ptr=edge,
                place=one.place_N,
                site_ptr=site,
            )
    (folder / "ids.json").write_text(json.dumps(ids))


def all_graphs(graphs: Path, manifest: dict[str, Any]) -> Iterator[PeriodicGraph]:
    """Every graph of a folder in order, one shard in memory at a time."""
    for entry in manifest["shards"]:
        yield from shard_graphs(read_shard(graphs, entry), list(manifest["targets"]))
