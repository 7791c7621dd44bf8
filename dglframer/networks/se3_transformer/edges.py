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
OBLIQUE = (0.5403023058681398, 0.7390851332151607, 0.4142135623730951)  # along no lattice direction


@dataclass(frozen=True)
class Edges:
    """E edges src -> dst of a graph with N nodes, sorted by dst.

    ``envelope_E`` falls to 0 where an edge is about to leave the graph; None: edges do not leave.
    ``twins_P2`` says which edges are each other's reverse: what depends on the length alone is
    computed once for both. None: every edge by itself.
    """

    src_E: Tensor  # int64
    dst_E: Tensor  # int64, ascending
    edge_ptr: Tensor  # int64 [N + 1]: edges of node i are edge_ptr[i] to edge_ptr[i + 1]
    d_E3: Tensor  # x_dst - x_src
    scalars_ES: Tensor  # what else the kernels depend on
    envelope_E: Tensor | None = None
    twins_P2: Tensor | None = None  # int64, every edge once; scalars and length of twins are equal

    @functools.cached_property
    def ops(self) -> TorchOps:
        """Softmax and sums over the edges of each node."""
        return TorchOps(self.src_E, self.dst_E, self.edge_ptr)

    @functools.cached_property
    def pairs_PD(self) -> Tensor:
        """[P, D]: the edges, twins beside each other (D = 2), or every edge by itself (D = 1)."""
        if self.twins_P2 is not None:
            return self.twins_P2
        return torch.arange(len(self.src_E), device=self.src_E.device).unsqueeze(1)

    @functools.cached_property
    def radial_inputs_PI(self) -> Tensor:
        """[P, S + 1]: the scalars, then the distance (the published order), of each pair."""
        first_P = self.pairs_PD[:, 0]
        distance_P1 = self.d_E3.index_select(0, first_P).norm(dim=-1, keepdim=True)
        return torch.cat([self.scalars_ES.index_select(0, first_P), distance_P1], 1)

    @functools.cached_property
    def paired_d_E3(self) -> Tensor:
        """``d_E3`` in the order of the pairs."""
        return self.d_E3.index_select(0, self.pairs_PD.flatten())

    @functools.cached_property
    def paired_src_E(self) -> Tensor:
        """``src_E`` in the order of the pairs."""
        return self.src_E.index_select(0, self.pairs_PD.flatten())

    def at_sources(self, features: Features) -> Features:
        """``features`` of the nodes, [N, C, 2l + 1], at the sources, [E, C, 2l + 1], in that order."""
        return {l: x_NCM.index_select(0, self.paired_src_E) for l, x_NCM in features.items()}

    @functools.cached_property
    def row_E(self) -> Tensor:
        """Where each edge is in the order of the pairs."""
        return self.pairs_PD.flatten().argsort()

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
    src_E = batch.src_E.index_select(0, kept)
    return Edges(
        src_E=src_E,
        dst_E=dst_E,
        edge_ptr=pointers(counts_N),
        d_E3=d_E3,
        scalars_ES=d_E3.new_empty(len(kept), 0),
        envelope_E=(1 + torch.cos(d_E3.norm(dim=-1) * (math.pi / cutoff))) / 2,
        twins_P2=find_twins(src_E, dst_E, d_E3),
    )


def find_twins(src_E: Tensor, dst_E: Tensor, d_E3: Tensor) -> Tensor | None:
    """[E / 2, 2]: the edges that are each other's reverse; None if one has none, to the last bit."""
    if len(src_E) % 2 or len(src_E) == 0:
        return None
    # Twins have the same key: their two nodes, and how far the way from the lower node to the higher
    # leads obliquely (from a node to its own image: either way).
    along_E = (d_E3.detach().double() * d_E3.new_tensor(OBLIQUE, dtype=torch.float64)).sum(-1)
    along_E = torch.where(src_E == dst_E, along_E.abs(), along_E * (dst_E - src_E).sign())
    nodes_E = torch.minimum(src_E, dst_E) * (src_E.amax() + 1) + torch.maximum(src_E, dst_E)
    order_E = along_E.argsort(stable=True)
    order_E = order_E[nodes_E[order_E].argsort(stable=True)]
    twins_P2 = order_E.view(-1, 2)
    one_P, other_P = twins_P2.unbind(1)
    met_P = (src_E[one_P] == dst_E[other_P]) & (dst_E[one_P] == src_E[other_P])
    met_P &= (d_E3[one_P] == -d_E3[other_P]).all(1)
    return twins_P2 if bool(met_P.all()) else None
