"""The edges that a network looks at, with what it needs to know of each."""

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dglframer.batch import Batch, pointers
from dglframer.ops import TorchOps

SHORTEST_ANGSTROM = 1e-6  # below it an edge is a self-edge, which has no direction


@dataclass(frozen=True)
class Edges:
    """E edges src -> dst of a graph with N nodes, sorted by dst.

    ``envelope_E`` falls to 0 where an edge is about to leave the graph; None: edges do not leave.
    """

    src_E: Tensor  # int64
    dst_E: Tensor  # int64, ascending
    edge_ptr: Tensor  # int64 [N + 1]: edges of node i are edge_ptr[i] to edge_ptr[i + 1]
    d_E3: Tensor  # x_dst - x_src
    scalars_ES: Tensor  # what else the kernels depend on
    envelope_E: Tensor | None = None

    @functools.cached_property
    def ops(self) -> TorchOps:
        """Softmax and sums over the edges of each node."""
        return TorchOps(self.src_E, self.dst_E, self.edge_ptr)

    @functools.cached_property
    def radial_inputs_EI(self) -> Tensor:
        """[E, S + 1]: the scalars, then the distance (the published order)."""
        distance_E1 = self.d_E3.norm(dim=-1, keepdim=True)
        return torch.cat([self.scalars_ES, distance_E1], 1)

    @functools.cached_property
    def degree_N1(self) -> Tensor:
        """[N, 1]: what a sum over edges is divided by for a mean.

        Edges that leave count less and less, and one more is counted: a plain mean jumps as an edge
        leaves, and one over the envelopes jumps as the last edge does.
        """
        if self.envelope_E is None:
            return self.edge_ptr.diff().clamp(min=1).unsqueeze(1)
        return 1 + self.ops.edge_sum(self.envelope_E.unsqueeze(1))


def edges_within(batch: Batch, cutoff: float) -> Edges:
    """The edges of a batch shorter than ``cutoff`` (angstrom), self-edges left out.

    The envelope (1 + cos(pi r / cutoff)) / 2 makes what is computed a smooth function of positions.
    """
    r_E = batch.r_E3.detach().norm(dim=-1)
    kept = torch.nonzero((r_E < cutoff) & (r_E > SHORTEST_ANGSTROM)).squeeze(1)
    dst_E = batch.dst_E.index_select(0, kept)
    d_E3 = -batch.r_E3.index_select(0, kept)  # r points from the centre dst to the neighbour src
    counts_N = torch.bincount(dst_E, minlength=len(batch.numbers_N))
    return Edges(
        src_E=batch.src_E.index_select(0, kept),
        dst_E=dst_E,
        edge_ptr=pointers(counts_N),
        d_E3=d_E3,
        scalars_ES=d_E3.new_empty(len(kept), 0),
        envelope_E=(1 + torch.cos(d_E3.norm(dim=-1) * (math.pi / cutoff))) / 2,
    )
