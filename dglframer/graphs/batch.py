"""A batch of periodic graphs as plain tensors, and its DGL graph on a CPU."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dglframer.structures.periodic_graph import PeriodicGraph

if TYPE_CHECKING:
    import dgl

GEOMETRY = ("r_E3", "lattice_B33", "coords_N3")  # fields of one floating type


@dataclass(frozen=True)
class Batch:
    """B crystals with N atoms and E edges in all, edges sorted by centre."""

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
) -> Batch:
    """Concatenate per-crystal arrays; src and dst count from 0 in each crystal."""
    atoms_B = np.array([len(part) for part in numbers], dtype=np.int64)
    edges_B = np.array([len(part) for part in src], dtype=np.int64)
    offset_E = np.repeat(np.cumsum(atoms_B) - atoms_B, edges_B)
    src_E = torch.from_numpy(np.concatenate(src) + offset_E)
    dst_E = torch.from_numpy(np.concatenate(dst) + offset_E)
    counts_N = torch.bincount(dst_E, minlength=int(atoms_B.sum()))
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
    )


def batch_graphs(graphs: Sequence[PeriodicGraph], dtype: torch.dtype = torch.float32) -> Batch:
    """A batch of graphs in memory, without targets."""
    kind = {torch.float32: np.float32, torch.float64: np.float64}[dtype]
    return make_batch(
        [graph.numbers_N for graph in graphs],
        [graph.edges.src_E for graph in graphs],
        [graph.edges.dst_E for graph in graphs],
        [graph.vectors_E3.astype(kind) for graph in graphs],
        [cell_or_zeros(graph.lattice_33).astype(kind) for graph in graphs],
        [graph.coords_N3.astype(kind) for graph in graphs],
        ids=[graph.id for graph in graphs],
    )
