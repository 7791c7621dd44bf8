"""What attention sums over the edges of each atom, on a GPU; ``attention_sums`` states the results.

One launch forward (logits, softmax, frames and sums) and two backward. Between them stay the logits,
their gradients [E, H], the list of the edges that matter [E] and numbers per atom: frames and bases are
found anew. Everything is computed in the inputs' type; the one matrix product, which sums the gradient
of the distance basis over its bins, takes three TF32 products for a float32 one (``tf32x3``), as exact.
"""

from typing import Any

import torch
import triton
from torch import Tensor

from dglframer.attention.basis_sums import angle_sums
from dglframer.attention.gaussians import chebyshev_terms
from dglframer.attention.geometry import Geometry, tie_width
from dglframer.attention.gpu import weights as triton_kernels
from dglframer.attention.reference import least_weight
from dglframer.config.networks import ModelConfig

# Edges of one tile; ptxas then keeps all of every kernel in registers (sm_90, published model).
ATTEND_BLOCK, BASES_BLOCK, BACKWARD_BLOCK = 16, 8, 8
WARPS = 1  # per program: what is added up over the edges of a tile then never leaves its thread
VIEWS = 2  # axes of a lane that are held while the search goes on, a power of two


def triton_sums(
    q_NHD: Tensor, k_NHD: Tensor, v_NHD: Tensor, decay_NH: Tensor, geometry: Geometry
) -> tuple[Tensor, Tensor, Tensor]:
    """The sums of a model without windows and with ``max`` frames, or none.

    Every atom has an edge, its own if no other.
    """
    assert geometry.model.window_sigmas is None and geometry.model.frame in ("max", "none")
    y_NHD, dist_NHK, functions_NQL = _TritonSums.apply(q_NHD, k_NHD, v_NHD, decay_NH, geometry)
    return y_NHD, dist_NHK, angle_sums(functions_NQL, geometry.model)


class _TritonSums(torch.autograd.Function):
    """(q, k, v, decay) -> sums of alpha v, alpha b_dist [N, H, K], alpha T_q [N, Q, L]."""

    @staticmethod
    def forward(ctx: Any, q, k, v, decay, geometry):
        batch, model = geometry.batch, geometry.model
        q, k, v, decay = (x.detach().contiguous() for x in (q, k, v, decay))
        sizes = Sizes(q, model)
        n_atoms, heads, _ = q.shape
        logits = q.new_empty(len(batch.src_E), heads)
        softmax, y = q.new_empty(n_atoms, 3, heads), torch.empty_like(q)
        kept = torch.empty_like(batch.src_E, dtype=torch.int32)
        count = kept.new_empty(n_atoms)
        dist = q.new_empty(n_atoms, heads, model.distance_bins)
        functions = q.new_empty(n_atoms, sizes.angles["Q"], sizes.lanes)
        ptr, u, d2 = batch.edge_ptr, geometry.u_E3, geometry.d2_E
        # the kernels count places in 32 bits
        assert max(x.numel() for x in (u, logits, q, dist, functions)) < 2**31, "too large a batch"
        triton_kernels.attend[(n_atoms,)](
            ptr, batch.src_E, u, d2, q, k, v, decay,
            logits, softmax, kept, count, y, dist, functions,
            **sizes.heads, **sizes.distances, **sizes.angles,
            BLOCK=ATTEND_BLOCK, BASES_BLOCK=BASES_BLOCK, num_warps=WARPS,
        )  # fmt: skip
        ctx.save_for_backward(q, k, v, logits, softmax, kept, count, y, dist, functions)
        ctx.geometry = geometry
        return y, dist, functions

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, logits, softmax, kept, count, *sums = ctx.saved_tensors
        geometry, batch = ctx.geometry, ctx.geometry.batch
        grad_y, grad_dist, grad_functions = (grad.contiguous() for grad in grads)
        sizes = Sizes(q, geometry.model)
        grad_logits, grad_decay = torch.empty_like(logits), q.new_empty(q.shape[:2])
        grad_q, grad_k, grad_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        triton_kernels.centre_gradients[(len(q),)](
            batch.edge_ptr, batch.src_E, geometry.u_E3, geometry.d2_E, k, v,
            logits, softmax, kept, count, *sums, grad_y, grad_dist, grad_functions,
            grad_logits, grad_q, grad_decay,
            **sizes.heads, **sizes.distances, **sizes.angles,
            BLOCK=BACKWARD_BLOCK, num_warps=WARPS,
        )  # fmt: skip
        source_ptr, order = geometry.by_source
        triton_kernels.source_gradients[(len(q),)](
            source_ptr, order, batch.dst_E, q, logits, softmax, grad_y, grad_logits, grad_k, grad_v,
            **sizes.heads, BLOCK=BACKWARD_BLOCK, num_warps=WARPS,
        )  # fmt: skip
        return grad_q, grad_k, grad_v, grad_decay, None


class Sizes:
    """What the kernels are compiled for."""

    def __init__(self, q_NHD: Tensor, model: ModelConfig):
        _, heads, width = q_NHD.shape
        has_frames = model.frame != "none"
        step = model.distance_max_angstrom / model.distance_bins
        self.lanes = 3 * heads if has_frames else 0
        self.heads = {
            "SCALE": width**-0.5,
            "LEAST": least_weight(q_NHD.dtype),
            "H": heads,
            "D": width,
            "HP": triton.next_power_of_2(heads),
            "DP": triton.next_power_of_2(width),
        }
        self.distances = {
            "STEP": step,
            "WIDTH": step * model.distance_width_bins,
            "K": model.distance_bins,
            "KP": max(16, triton.next_power_of_2(model.distance_bins)),  # 16: least of tl.dot
        }
        self.angles = {
            "Q": chebyshev_terms(model, q_NHD.dtype),
            "FRAMES": has_frames,
            "TIE": tie_width(model) or 0.0,
            "ALIKE": 1e-5 if q_NHD.dtype == torch.float32 else 1e-11,
            "VIEWS": VIEWS,
        }


def edges_by_source(src_E: Tensor, n_atoms: int) -> tuple[Tensor, Tensor]:
    """(ptr [N + 1], order [E]): edges order[ptr[j]] ... order[ptr[j + 1] - 1] leave atom j, ascending."""
    sorted_E, order_E = torch.sort(src_E, stable=True)
    atoms = torch.arange(n_atoms + 1, device=src_E.device)
    return torch.searchsorted(sorted_E, atoms), order_E
