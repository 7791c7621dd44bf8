"""The edges that a network looks at, with what it needs to know of each."""

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dglframer.graphs.batch import Batch, pointers
from dglframer.graphs.edge_ops import TorchOps
from dglframer.networks.base import Features

SHORTEST_ANGSTROM = 1e-6  # below it an edge is a self-edge, which has no direction
COLUMNS = (1, 2, 4, 8, 16)  # edges that may share a row
ROW_COST = 6


@dataclass(frozen=True)
class Edges:
    """E edges src -> dst of a graph with N nodes, sorted by dst.

    ``envelope_E`` falls to 0 where an edge is about to leave the graph; None: edges do not leave.
    ``alike_PD`` says which edges have equal scalars and lengths: what depends on these alone is computed
    once for the D edges of a row. Every edge is in one row, perhaps several times. None: each by itself.
    """

    src_E: Tensor  # int64
    dst_E: Tensor  # int64, ascending
    edge_ptr: Tensor  # int64 [N + 1]: edges of node i are edge_ptr[i] to edge_ptr[i + 1]
    d_E3: Tensor  # x_dst - x_src
    scalars_ES: Tensor  # what else the kernels depend on
    envelope_E: Tensor | None = None
    alike_PD: Tensor | None = None  # int64

    @functools.cached_property
    def ops(self) -> TorchOps:
        """Softmax and sums over the edges of each node."""
        return TorchOps(self.src_E, self.dst_E, self.edge_ptr)

    @functools.cached_property
    def rows_PD(self) -> Tensor:
        """``alike_PD``, or rows of one edge."""
        if self.alike_PD is not None:
            return self.alike_PD
        return torch.arange(len(self.src_E), device=self.src_E.device).unsqueeze(1)

    @functools.cached_property
    def radial_inputs_PI(self) -> Tensor:
        """[P, S + 1]: the scalars, then the distance (the published order), of each row."""
        first_P = self.rows_PD[:, 0]
        distance_P1 = self.d_E3.index_select(0, first_P).norm(dim=-1, keepdim=True)
        return torch.cat([self.scalars_ES.index_select(0, first_P), distance_P1], 1)

    @functools.cached_property
    def d_X3(self) -> Tensor:
        """``d_E3`` of the X = P D edges in the rows."""
        return self.d_E3.index_select(0, self.rows_PD.flatten())

    @functools.cached_property
    def src_X(self) -> Tensor:
        """``src_E`` of the edges in the rows."""
        return self.src_E.index_select(0, self.rows_PD.flatten())

    def at_sources(self, features: Features) -> Features:
        """``features`` of the nodes, [N, C, 2l + 1], at the sources of the rows, [X, C, 2l + 1]."""
        return {l: x_NCM.index_select(0, self.src_X) for l, x_NCM in features.items()}

    @functools.cached_property
    def place_E(self) -> Tensor:
        """Where each edge is among the X."""
        edge_X = self.rows_PD.flatten()
        place_E = torch.empty_like(self.src_E)
        place_E[edge_X] = torch.arange(len(edge_X), device=edge_X.device)
        return place_E

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
    length_E = d_E3.norm(dim=-1)
    return Edges(
        src_E=batch.src_E.index_select(0, kept),
        dst_E=dst_E,
        edge_ptr=pointers(counts_N),
        d_E3=d_E3,
        scalars_ES=d_E3.new_empty(len(kept), 0),
        envelope_E=(1 + torch.cos(length_E * (math.pi / cutoff))) / 2,
        # A gradient by positions has to tell edges apart that are equally long by chance.
        alike_PD=None if length_E.requires_grad else edges_alike(length_E),
    )


def edges_alike(length_E: Tensor) -> Tensor:
    """[P, D]: rows of D edges that are equally long, to rounding; the rest of a row repeats its first.

    In a crystal many are, first of all an edge and its reverse. D makes the work least: a row costs as
    much as ROW_COST edges, and an edge that is repeated as much as any other.
    """
    # In angstrom: about the rounding error of a length of 5 angstrom.
    resolution = 8 * torch.finfo(length_E.dtype).eps
    length_E = (length_E.detach() / resolution).round()
    order_E = length_E.argsort(stable=True)
    _, group_E, edges_G = length_E[order_E].unique_consecutive(
        return_inverse=True, return_counts=True
    )
    rows = {D: (edges_G + D - 1) // D for D in COLUMNS}
    D = min(COLUMNS, key=lambda D: int(rows[D].sum()) * (ROW_COST + D))
    rank_E = torch.arange(len(order_E), device=order_E.device) - pointers(edges_G)[group_E]
    place_E = pointers(rows[D])[group_E] * D + rank_E
    alike_PD = order_E.new_full((int(rows[D].sum()), D), -1)
    alike_PD.view(-1)[place_E] = order_E
    return torch.where(alike_PD < 0, alike_PD[:, :1], alike_PD)
