"""The four graph operations of the attention, by DGL and by plain torch; tests hold them equal.

DGL's kernels run on the devices of its wheel (PyPI: CPUs), torch's on all. Shapes: N atoms,
E edges, H heads, D features of a head, F any features.
"""

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from dglframer.graphs.batch import Batch

if TYPE_CHECKING:
    import dgl


class EdgeOps(Protocol):
    """Operations on edges (j, n) -> i that are sorted by i."""

    def dot(self, q_NHD: Tensor, k_NHD: Tensor) -> Tensor:
        """[E, H]: q_i . k_j of each edge."""
        ...

    def softmax(self, logits_EH: Tensor) -> Tensor:
        """[E, H]: softmax over the edges of each centre."""
        ...

    def source_sum(self, weights_EH: Tensor, v_NHD: Tensor) -> Tensor:
        """[N, H, D]: weighted sum of v_j over the edges of each centre."""
        ...

    def edge_sum(self, x_EF: Tensor) -> Tensor:
        """[N, F]: sum over the edges of each centre."""
        ...


def edge_ops(batch: Batch) -> EdgeOps:
    """DGL's operations if the batch carries a DGL graph, torch's otherwise."""
    if batch.graph is not None:
        return DglOps(batch.graph)
    return TorchOps(batch.src_E, batch.dst_E, batch.edge_ptr)


class DglOps:
    """Message passing by DGL's fused kernels."""

    def __init__(self, graph: "dgl.DGLGraph"):
        self.graph = graph

    def dot(self, q_NHD: Tensor, k_NHD: Tensor) -> Tensor:
        from dglframer.common.dgl_import import dgl

        return dgl.ops.u_dot_v(self.graph, k_NHD, q_NHD).squeeze(-1)

    def softmax(self, logits_EH: Tensor) -> Tensor:
        from dglframer.common.dgl_import import edge_softmax

        return edge_softmax(self.graph, logits_EH.unsqueeze(-1)).squeeze(-1)

    def source_sum(self, weights_EH: Tensor, v_NHD: Tensor) -> Tensor:
        from dglframer.common.dgl_import import dgl

        return dgl.ops.u_mul_e_sum(self.graph, v_NHD, weights_EH.unsqueeze(-1))

    def edge_sum(self, x_EF: Tensor) -> Tensor:
        from dglframer.common.dgl_import import dgl

        return dgl.ops.copy_e_sum(self.graph, x_EF)


class TorchOps:
    """Message passing by gathers and segment reductions; they add in edge order, without atomics."""

    def __init__(self, src_E: Tensor, dst_E: Tensor, edge_ptr: Tensor):
        self.src_E, self.dst_E, self.edge_ptr = src_E, dst_E, edge_ptr

    def dot(self, q_NHD: Tensor, k_NHD: Tensor) -> Tensor:
        return (q_NHD.index_select(0, self.dst_E) * k_NHD.index_select(0, self.src_E)).sum(-1)

    def softmax(self, logits_EH: Tensor) -> Tensor:
        max_NH = self.reduce(logits_EH.detach(), "max")
        weights_EH = torch.exp(logits_EH - max_NH.index_select(0, self.dst_E))
        return weights_EH / self.edge_sum(weights_EH).index_select(0, self.dst_E)

    def source_sum(self, weights_EH: Tensor, v_NHD: Tensor) -> Tensor:
        messages_EHD = weights_EH.unsqueeze(-1) * v_NHD.index_select(0, self.src_E)
        return self.edge_sum(messages_EHD.flatten(1)).unflatten(1, v_NHD.shape[1:])

    def edge_sum(self, x_EF: Tensor) -> Tensor:
        return self.reduce(x_EF, "sum")

    def reduce(self, x_EF: Tensor, kind: str) -> Tensor:
        return torch.segment_reduce(x_EF, kind, offsets=self.edge_ptr, axis=0)


def pooled(x_NF: Tensor, batch: Batch, kind: str) -> Tensor:
    """[B, F]: mean, sum or max over the atoms of each crystal; an atom counts for its whole orbit."""
    if kind == "max":
        return max_of_crystals(x_NF, batch.atoms_B)
    if batch.multiplicity_N is None:
        return torch.segment_reduce(x_NF, kind, lengths=batch.atoms_B, axis=0)
    count_N1 = batch.multiplicity_N.to(x_NF.dtype).unsqueeze(1)
    sum_BF = torch.segment_reduce(x_NF * count_N1, "sum", lengths=batch.atoms_B, axis=0)
    if kind == "sum":
        return sum_BF
    return sum_BF / torch.segment_reduce(count_N1, "sum", lengths=batch.atoms_B, axis=0)


def max_of_crystals(x_NF: Tensor, atoms_B: Tensor) -> Tensor:
    """[B, F]: the maximum over the atoms of each crystal; equal atoms share its gradient evenly.

    Not by torch.segment_reduce: its gradient for equal atoms is wrong where that of the maximum is negative.
    """
    crystal_N = torch.repeat_interleave(torch.arange(len(atoms_B), device=x_NF.device), atoms_B)
    max_BF = x_NF.new_full((len(atoms_B), x_NF.shape[1]), -torch.inf)
    index_NF = crystal_N.unsqueeze(1).expand_as(x_NF)
    return max_BF.scatter_reduce(0, index_NF, x_NF, "amax", include_self=False)
