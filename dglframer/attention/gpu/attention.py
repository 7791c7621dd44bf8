"""The attention backend for GPUs: launches of the kernels in ``weights``.

One launch forward (logits, softmax, frames and sums) and two backward. Between them stay the logits,
their gradients [E, H], the list of the edges that matter [E] and numbers per atom: frames and bases are
found anew. Everything is computed in the inputs' type; the one matrix product, which sums the gradient
of the distance basis over its bins, takes three TF32 products for a float32 one (``tf32x3``), as exact.
"""

import functools
from typing import Any

import torch
import triton
from torch import Tensor

from dglframer.attention.constants import SAME_AXIS, negligible_gap
from dglframer.attention.contract import Attention, AttentionSums, tie_width
from dglframer.attention.gaussians import chebyshev_terms, head_major
from dglframer.attention.gpu import weights
from dglframer.config.networks import CrystalFramerConfig
from dglframer.graphs.batch import Batch

# Edges of one tile; ptxas then keeps all of every kernel in registers (sm_90, published settings).
ATTEND_BLOCK, BASES_BLOCK, BACKWARD_BLOCK = 16, 8, 8
WARPS = 1  # per program: what is added up over the edges of a tile then never leaves its thread
HELD = 2  # axes of a lane that are held while the search goes on, a power of two


class GpuAttention(Attention):
    """``max`` frames or none, whole Gaussians only."""

    @classmethod
    def serves(cls, batch: Batch, settings: CrystalFramerConfig) -> bool:
        is_plain = settings.window_sigmas is None and settings.frame in ("max", "none")
        return batch.r_E3.device.type == "cuda" and is_plain

    def sums(self, q_NHD: Tensor, k_NHD: Tensor, v_NHD: Tensor, decay_NH: Tensor) -> AttentionSums:
        values_NHD, distances_NHK, functions_NQL = _GpuSums.apply(
            q_NHD, k_NHD, v_NHD, decay_NH, self
        )
        return AttentionSums(
            values_NHD, distances_NHK.transpose(0, 1), head_major(functions_NQL, q_NHD.shape[1])
        )

    @functools.cached_property
    def by_source(self) -> tuple[Tensor, Tensor]:
        """(ptr [N + 1], order [E]): the edges that leave each atom, for gradients."""
        return edges_by_source(self.batch.src_E, len(self.batch.numbers_N))


class _GpuSums(torch.autograd.Function):
    """(q, k, v, decay) -> sums of alpha v, alpha b_dist [N, H, K], alpha T_q [N, Q, L]."""

    @staticmethod
    def forward(ctx: Any, q, k, v, decay, attention):
        batch, settings = attention.batch, attention.settings
        q, k, v, decay = (x.detach().contiguous() for x in (q, k, v, decay))
        sizes = Sizes(q, settings)
        n_atoms, heads, _ = q.shape
        logits = q.new_empty(len(batch.src_E), heads)
        softmax, y = q.new_empty(n_atoms, 3, heads), torch.empty_like(q)
        matters = torch.empty_like(batch.src_E, dtype=torch.int32)
        count = matters.new_empty(n_atoms)
        dist = q.new_empty(n_atoms, heads, settings.distance_bins)
        functions = q.new_empty(n_atoms, sizes.angles["Q"], sizes.lanes)
        ptr, u, d2 = batch.edge_ptr, attention.u_E3, attention.d2_E
        # the kernels count places in 32 bits
        assert max(x.numel() for x in (u, logits, q, dist, functions)) < 2**31, "too large a batch"
        weights.attend[(n_atoms,)](
            ptr, batch.src_E, u, d2, q, k, v, decay,
            logits, softmax, matters, count, y, dist, functions,
            **sizes.heads, **sizes.distances, **sizes.angles,
            BLOCK=ATTEND_BLOCK, BASES_BLOCK=BASES_BLOCK, num_warps=WARPS,
        )  # fmt: skip
        ctx.save_for_backward(q, k, v, logits, softmax, matters, count, y, dist, functions)
        ctx.attention = attention
        return y, dist, functions

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, logits, softmax, matters, count, *sums = ctx.saved_tensors
        attention, batch = ctx.attention, ctx.attention.batch
        grad_y, grad_dist, grad_functions = (grad.contiguous() for grad in grads)
        sizes = Sizes(q, attention.settings)
        grad_logits, grad_decay = torch.empty_like(logits), q.new_empty(q.shape[:2])
        grad_q, grad_k, grad_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        weights.centre_gradients[(len(q),)](
            batch.edge_ptr, batch.src_E, attention.u_E3, attention.d2_E, k, v,
            logits, softmax, matters, count, *sums, grad_y, grad_dist, grad_functions,
            grad_logits, grad_q, grad_decay,
            **sizes.heads, **sizes.distances, **sizes.angles,
            BLOCK=BACKWARD_BLOCK, num_warps=WARPS,
        )  # fmt: skip
        source_ptr, order = attention.by_source
        weights.source_gradients[(len(q),)](
            source_ptr, order, batch.dst_E, q, logits, softmax, grad_y, grad_logits, grad_k, grad_v,
            **sizes.heads, BLOCK=BACKWARD_BLOCK, num_warps=WARPS,
        )  # fmt: skip
        return grad_q, grad_k, grad_v, grad_decay, None


class Sizes:
    """What the kernels are compiled for."""

    def __init__(self, q_NHD: Tensor, settings: CrystalFramerConfig):
        _, heads, width = q_NHD.shape
        has_frames = settings.frame != "none"
        step = settings.distance_max_angstrom / settings.distance_bins
        self.lanes = 3 * heads if has_frames else 0
        self.heads = {
            "SCALE": width**-0.5,
            "GAP": negligible_gap(q_NHD.dtype),
            "H": heads,
            "D": width,
            "HP": triton.next_power_of_2(heads),
            "DP": triton.next_power_of_2(width),
        }
        self.distances = {
            "STEP": step,
            "WIDTH": step * settings.distance_width_bins,
            "K": settings.distance_bins,
            "KP": max(16, triton.next_power_of_2(settings.distance_bins)),  # 16: least of tl.dot
        }
        self.angles = {
            "Q": chebyshev_terms(settings, q_NHD.dtype),
            "FRAMES": has_frames,
            "TIE": tie_width(settings) or 0.0,
            "SAME": SAME_AXIS[q_NHD.dtype],
            "HELD": HELD,
        }


def edges_by_source(src_E: Tensor, n_atoms: int) -> tuple[Tensor, Tensor]:
    """(ptr [N + 1], order [E]): edges order[ptr[j]] ... order[ptr[j + 1] - 1] leave atom j, ascending."""
    sorted_E, order_E = torch.sort(src_E, stable=True)
    atoms = torch.arange(n_atoms + 1, device=src_E.device)
    return torch.searchsorted(sorted_E, atoms), order_E
