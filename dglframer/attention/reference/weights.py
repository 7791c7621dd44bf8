"""The weights of the attention, as logarithms (§3)."""

import math

from torch import Tensor

from dglframer.graphs.edge_ops import EdgeOps


def log_weights(
    ops: EdgeOps, q_NHD: Tensor, k_NHD: Tensor, decay_NH: Tensor, d2_E: Tensor, dst_E: Tensor
) -> Tensor:
    """[E, H]: q_i . k_j / sqrt(D) - |r|^2 / 2 sigma_i^2 of each edge, before the softmax."""
    decay_EH = decay_NH.index_select(0, dst_E) * d2_E.unsqueeze(1)
    return ops.dot(q_NHD, k_NHD) / math.sqrt(q_NHD.shape[2]) - decay_EH
