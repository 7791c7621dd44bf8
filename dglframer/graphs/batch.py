"""A batch of periodic graphs as plain tensors, and its DGL graph on a CPU."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dglframer.config.networks import SymmetryGroup
from dglframer.graphs.reduction import reduction
from dglframer.structures.periodic_graph import PeriodicGraph

if TYPE_CHECKING:
    import dgl

EDGES_PER_BATCH = 200_000  # bounds the memory of a batch to well under a gigabyte
GEOMETRY = ("r_E3", "lattice_B33", "coords_N3")  # fields of one floating type


@dataclass(frozen=True)
class Batch:
    """B crystals with N atoms and E edges in all, edges sorted by centre.

    Where equivalent atoms are computed once, N and E count what is computed: one atom stands for its
    whole orbit under the operations of ``group``. The crystals then have A >= N atoms.
    """

    numbers_N: Tensor  # int64, atomic numbers
    src_E: Tensor  # int64, neighbour j
    dst_E: Tensor  # int64, centre i, ascending
    r_E3: Tensor  # floating, angstrom
    edge_ptr: Tensor  # int64 [N + 1]: edges of atom i are edge_ptr[i] to edge_ptr[i + 1]
    atoms_B: Tensor  # int64, atoms of each crystal
    lattice_B33: Tensor  # as r_E3, rows, angstrom; zeros for a molecule (``cell_or_zeros``)
    coords_N3: Tensor  # as r_E3, the coordinates that the graphs hold
    targets_BT: Tensor | None = None
    ids: tuple[str, ...] = ()
    use_dgl: bool = True
    group: SymmetryGroup = "none"
    place_A: Tensor | None = None  # int64, which of the N stands for each atom; None: A = N
    multiplicity_N: Tensor | None = None  # int64, how many it stands for

    @functools.cached_property
    def graph(self) -> "dgl.DGLGraph | None":
        """The batched DGLGraph, made at its first use; None on a GPU and without ``use_dgl``."""
        if not self.use_dgl or self.src_E.device.type != "cpu":
            return None
        from dglframer.common.dgl_import import dgl

        graph = dgl.graph((self.src_E, self.dst_E), num_nodes=len(self.numbers_N))
        graph.set_batch_num_nodes(self.atoms_B)
        first_edge_B = self.edge_ptr[pointers(self.atoms_B)]
        graph.set_batch_num_edges(first_edge_B.diff())
        return graph

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "Batch":
        """The same batch on another device, or with geometry of another type.

        Copies from pinned memory do not wait for the device.
        """
        tensors = {k: v.to(device, non_blocking=True) for k, v in self.tensors().items()}
        for name in GEOMETRY:
            tensors[name] = tensors[name].to(dtype or self.r_E3.dtype)
        return replace(self, **tensors)

    def pinned(self) -> "Batch":
        """The same batch in pinned memory: a GPU reads it without the CPU."""
        tensors = {k: v.pin_memory() for k, v in self.tensors().items()}
        return replace(self, **tensors)

    def tensors(self) -> dict[str, Any]:
        """The tensor fields by name."""
        return {k: v for k, v in vars(self).items() if isinstance(v, Tensor)}

    def of_every_atom(self, x_NF: Tensor) -> Tensor:
        """[A, ...]: what was computed of N atoms, for every atom of the crystals, in their order."""
        return x_NF if self.place_A is None else x_NF.index_select(0, self.place_A)

    def without_dgl(self) -> "Batch":
        """The same batch without a DGL graph."""
        return replace(self, use_dgl=False)


def pointers(counts: Tensor) -> Tensor:
    """[n + 1]: the first index of each of ``counts`` items in a row, then their total number."""
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def cell_or_zeros(lattice_33: np.ndarray | None) -> np.ndarray:
    """A lattice as a batch holds it: zeros for a molecule.

    Everywhere else a molecule has no lattice: None in Python, null in Parquet.
    """
    return np.zeros((3, 3)) if lattice_33 is None else lattice_33


def make_batch(
    numbers: Sequence[np.ndarray],
    src: Sequence[np.ndarray],
    dst: Sequence[np.ndarray],
    r: Sequence[np.ndarray],
    lattice: Sequence[np.ndarray] | np.ndarray,
    frac: Sequence[np.ndarray],
    targets: np.ndarray | None = None,
    ids: Sequence[str] = (),
    group: SymmetryGroup = "none",
    place: Sequence[np.ndarray] = (),
) -> Batch:
    """Concatenate per-crystal arrays; src, dst and place count from 0 in each crystal.

    ``place``: of each atom of a crystal the one that stands for it, unless ``group`` is none.
    """
    atoms_B = np.array([len(part) for part in numbers], dtype=np.int64)
    edges_B = np.array([len(part) for part in src], dtype=np.int64)
    offset_E = np.repeat(np.cumsum(atoms_B) - atoms_B, edges_B)
    src_E = torch.from_numpy(np.concatenate(src) + offset_E)
    dst_E = torch.from_numpy(np.concatenate(dst) + offset_E)
    counts_N = torch.bincount(dst_E, minlength=int(atoms_B.sum()))
    place_A = multiplicity_N = None
    if group != "none":
        place_A = torch.from_numpy(joined_places(place, atoms_B))
        multiplicity_N = torch.bincount(place_A, minlength=len(counts_N))
    return Batch(
        numbers_N=torch.from_numpy(np.concatenate(numbers).astype(np.int64)),
        src_E=src_E,
        dst_E=dst_E,
        r_E3=torch.from_numpy(np.concatenate(r)),
        edge_ptr=pointers(counts_N),
        atoms_B=torch.from_numpy(atoms_B),
        lattice_B33=torch.from_numpy(np.asarray(lattice)),
        coords_N3=torch.from_numpy(np.concatenate(frac)),
        targets_BT=None if targets is None else torch.from_numpy(targets),
        ids=tuple(ids),
        group=group,
        place_A=place_A,
        multiplicity_N=multiplicity_N,
    )


def joined_places(place: Sequence[np.ndarray], atoms_B: np.ndarray) -> np.ndarray:
    """[A] int64: places that count from 0 in each crystal, of ``atoms_B`` atoms, as places in a batch."""
    first_B = np.cumsum(atoms_B) - atoms_B
    return np.concatenate(place) + np.repeat(first_B, [len(part) for part in place])


def batch_graphs(
    graphs: Sequence[PeriodicGraph],
    dtype: torch.dtype = torch.float32,
    group: SymmetryGroup = "none",
) -> Batch:
    """A batch of graphs in memory, without targets; atoms equivalent under ``group`` come once."""
    kind = {torch.float32: np.float32, torch.float64: np.float64}[dtype]
    found = [reduction(graph, group) for graph in graphs]
    pairs = list(zip(graphs, found, strict=True))
    return make_batch(
        [graph.numbers_N[one.atoms_M] for graph, one in pairs],
        [one.src_F for one in found],
        [one.dst_F for one in found],
        [one.r_F3.astype(kind) for one in found],
        [cell_or_zeros(graph.lattice_33).astype(kind) for graph in graphs],
        [graph.coords_N3[one.atoms_M].astype(kind) for graph, one in pairs],
        ids=[graph.id for graph in graphs],
        group=group,
        place=[one.place_N for one in found],
    )
