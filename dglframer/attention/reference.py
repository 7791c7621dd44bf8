"""What attention sums over the edges of each atom: by the reference path, or compiled.

Inputs are queries, keys and values [N, H, D] and the decay 1 / 2 sigma^2 [N, H]; results are the
sums of alpha v [N, H, D], of alpha times the distance basis [N, H, K0] and of alpha times the cosine
bases [N, 3, H, K] (no heads without frames). The reference path is edge operations of DGL or torch
and runs anywhere; the compiled paths agree with it to rounding and to the weights they pass over.
"""

import importlib.util
import math

import torch
from torch import Tensor

from dglframer.attention.basis_sums import basis_sums
from dglframer.attention.fixed_frames import weighted_pca_frames
from dglframer.attention.frames import Views, max_views, single_views
from dglframer.attention.geometry import Geometry, tie_width

HAS_NUMBA = importlib.util.find_spec("numba") is not None
HAS_TRITON = importlib.util.find_spec("triton") is not None

Sums = tuple[Tensor, Tensor, Tensor]


def attention_sums(
    q_NHD: Tensor, k_NHD: Tensor, v_NHD: Tensor, decay_NH: Tensor, geometry: Geometry
) -> Sums:
    """The sums, by the fastest path that can do it here; in float32 under autocast, which it ends."""
    if q_NHD.dtype == torch.bfloat16:
        with torch.autocast(q_NHD.device.type, enabled=False):
            q_NHD, k_NHD, v_NHD = q_NHD.float(), k_NHD.float(), v_NHD.float()
            return attention_sums(q_NHD, k_NHD, v_NHD, decay_NH.float(), geometry)
    if HAS_NUMBA and q_NHD.device.type == "cpu" and geometry.model.window_sigmas is None:
        from dglframer.attention.cpu.attention import compiled_sums

        return compiled_sums(q_NHD, k_NHD, v_NHD, decay_NH, geometry)
    is_plain = geometry.model.window_sigmas is None and geometry.model.frame in ("max", "none")
    if HAS_TRITON and q_NHD.device.type == "cuda" and is_plain:
        from dglframer.attention.gpu.attention import triton_sums

        return triton_sums(q_NHD, k_NHD, v_NHD, decay_NH, geometry)
    return reference_sums(q_NHD, k_NHD, v_NHD, decay_NH, geometry)


def reference_sums(
    q_NHD: Tensor, k_NHD: Tensor, v_NHD: Tensor, decay_NH: Tensor, geometry: Geometry
) -> Sums:
    """One edge softmax, one weighted sum of values, and the weighted sums of the bases."""
    ops, batch, model = geometry.ops, geometry.batch, geometry.model
    decay_EH = decay_NH.index_select(0, batch.dst_E) * geometry.d2_E.unsqueeze(1)
    logits_EH = ops.dot(q_NHD, k_NHD) / math.sqrt(q_NHD.shape[2]) - decay_EH
    alpha_EH = ops.softmax(logits_EH)
    if model.frame == "max":
        directions = (geometry.u_E3, geometry.d2_E, batch.edge_ptr)
        views = max_views(logits_EH.detach(), *directions, tie_width(model))
    else:
        views = other_views(alpha_EH.detach(), geometry)
    y_NHD = ops.source_sum(alpha_EH, v_NHD)
    dist_NHK, angle_N3HK = basis_sums(
        alpha_EH,
        geometry.basis_EK,
        geometry.u_E3,
        geometry.d2_E,
        views,
        batch.edge_ptr,
        model,
    )
    return y_NHD, dist_NHK, angle_N3HK


def other_views(alpha_EH: Tensor, geometry: Geometry) -> Views:
    """The frames of one block, as ``model.frame`` says, where it does not say ``max``."""
    if geometry.model.frame == "weighted_pca":
        edges = (geometry.u_E3, geometry.d2_E, geometry.batch.edge_ptr)
        return single_views(weighted_pca_frames(alpha_EH, *edges))
    return geometry.fixed_views


def least_weight(dtype: torch.dtype) -> float:
    """Edges whose weight is below exp(-this) of the atom's largest, in every head, are passed over."""
    return 18.5 if dtype == torch.float32 else 41.5  # 1e-8 and 1e-18
