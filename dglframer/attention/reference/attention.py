"""The attention backend that defines the others; it serves every batch and every setting."""

import functools

from torch import Tensor

from dglframer.attention.contract import Attention, AttentionSums, tie_width
from dglframer.attention.frames import WeightedAxes, max_axes
from dglframer.attention.gaussians import distance_basis
from dglframer.attention.reference.bases import basis_sums
from dglframer.attention.reference.weights import log_weights
from dglframer.config.networks import CrystalFramerConfig
from dglframer.graphs.batch import Batch
from dglframer.graphs.edge_ops import EdgeOps, edge_ops


class ReferenceAttention(Attention):
    """One edge softmax, one weighted sum of values, and the weighted sums of the bases."""

    @classmethod
    def serves(cls, batch: Batch, settings: CrystalFramerConfig) -> bool:
        return True

    @functools.cached_property
    def ops(self) -> EdgeOps:
        """Operations on edges; where they are DGL's, this makes the DGL graph of the batch."""
        return edge_ops(self.batch)

    @functools.cached_property
    def basis_EK(self) -> Tensor:
        """[E, K]: the distance basis."""
        return distance_basis(self.d2_E.sqrt(), self.settings)

    def sums(self, q_NHD: Tensor, k_NHD: Tensor, v_NHD: Tensor, decay_NH: Tensor) -> AttentionSums:
        edge_ptr, settings = self.batch.edge_ptr, self.settings
        logits_EH = log_weights(self.ops, q_NHD, k_NHD, decay_NH, self.d2_E, self.batch.dst_E)
        alpha_EH = self.ops.softmax(logits_EH)
        axes = self.axes(logits_EH.detach(), alpha_EH.detach())
        values_NHD = self.ops.source_sum(alpha_EH, v_NHD)
        distances_HNK, cosines_HNQ = basis_sums(
            alpha_EH, self.basis_EK, self.u_E3, self.d2_E, axes, edge_ptr, settings
        )
        return AttentionSums(values_NHD, distances_HNK, cosines_HNQ)

    def axes(self, logits_EH: Tensor, alpha_EH: Tensor) -> WeightedAxes:
        """The axes of one block, from the log weights and the weights, both without gradient."""
        if self.settings.frame != "max":
            return self.other_axes(alpha_EH)
        width = tie_width(self.settings)
        return max_axes(logits_EH, self.u_E3, self.d2_E, self.batch.edge_ptr, width)
