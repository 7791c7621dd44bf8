"""``attention_sums`` on a CPU, by the loops of the three ``*_kernels`` modules, compiled by numba."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dglframer.attention.basis_sums import angle_sums
from dglframer.attention.cpu import bases as basis_kernels
from dglframer.attention.cpu import frames as frame_kernels
from dglframer.attention.cpu import weights as kernels
from dglframer.attention.frames import Views
from dglframer.attention.gaussians import angle_matrix
from dglframer.attention.geometry import Geometry, tie_width
from dglframer.attention.reference import Sums, least_weight, other_views
from dglframer.config.networks import ModelConfig
from dglframer.graphs.batch import Batch

Result = TypeVar("Result")

SAME_AXIS = {torch.float32: 1e-6, torch.float64: 1e-11}  # what is equal to rounding


def compiled_sums(
    q_NHD: Tensor, k_NHD: Tensor, v_NHD: Tensor, decay_NH: Tensor, geometry: Geometry
) -> Sums:
    """The sums of a model without windows, for tensors on the CPU."""
    y_NHD, dist_NHK, functions_NQL = _CompiledSums.apply(q_NHD, k_NHD, v_NHD, decay_NH, geometry)
    return y_NHD, dist_NHK, angle_sums(functions_NQL, geometry.model)


class _CompiledSums(torch.autograd.Function):
    """(q, k, v, decay) -> sums of alpha v, alpha b_dist [N, H, K], alpha T_q [N, Q, L]."""

    @staticmethod
    def forward(ctx: Any, q, k, v, decay, geometry):
        batch, model = geometry.batch, geometry.model
        q, k, v, decay = (x.detach().contiguous() for x in (q, k, v, decay))
        n_atoms, heads, width = q.shape
        alpha = q.new_empty(len(batch.src_E), heads)
        kept = torch.empty(len(batch.src_E), dtype=torch.uint8)
        y = torch.empty_like(q)
        ptr, src = numpy(batch.edge_ptr), numpy(batch.src_E)
        u, d2 = numpy(geometry.u_E3), numpy(geometry.d2_E)
        scale = arrays_scalar(width**-0.5, q)
        smallest = arrays_scalar(least_weight(q.dtype), q)
        inputs = [*map(numpy, (q, k, decay)), d2, scale]
        in_parallel(lambda *atoms: kernels.logits(*atoms, ptr, src, *inputs, numpy(alpha)), batch)
        weights = [numpy(x) for x in (alpha, kept, y)]
        in_parallel(
            lambda *atoms: kernels.attend(*atoms, ptr, src, numpy(v), smallest, *weights), batch
        )
        views = compiled_views(alpha, geometry)
        lanes = [numpy(x) for x in (views.ptr, views.axes_P3L, views.share_PL)]
        terms = angle_matrix(model, q.dtype).shape[1]
        dist = q.new_zeros(n_atoms, heads, padded_bins(model))
        functions = q.new_zeros(n_atoms, terms, views.axes_P3L.shape[2])
        inputs = [numpy(kept), numpy(alpha), *geometry.windows, u, d2, *lanes]
        outputs = [numpy(x) for x in (dist, functions)]
        in_parallel(lambda *atoms: basis_kernels.sum_bases(*atoms, ptr, *inputs, *outputs), batch)
        ctx.save_for_backward(q, k, v, alpha, kept)
        ctx.geometry, ctx.lanes = geometry, lanes
        return y, dist[:, :, : model.distance_bins], functions

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, alpha, kept = ctx.saved_tensors
        geometry, batch = ctx.geometry, ctx.geometry.batch
        missing = padded_bins(geometry.model) - geometry.model.distance_bins
        grad_y, grad_dist, grad_functions = (
            numpy(grad.contiguous())
            for grad in (grads[0], functional.pad(grads[1], (0, missing)), grads[2])
        )
        grad_alpha = torch.empty_like(alpha)
        grad_q, grad_k, grad_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        grad_decay = q.new_empty(q.shape[:2])
        ptr, src, kept_E = numpy(batch.edge_ptr), numpy(batch.src_E), numpy(kept)
        u, d2 = numpy(geometry.u_E3), numpy(geometry.d2_E)
        inputs = [numpy(x) for x in (q, k, v)]
        outputs = [numpy(x) for x in (grad_alpha, grad_q, grad_k, grad_v, grad_decay)]
        scale = arrays_scalar(q.shape[2] ** -0.5, q)

        def gradients(first: int, last: int) -> None:
            here = first, last, ptr
            basis_kernels.distance_gradients(
                *here, kept_E, *geometry.windows, grad_dist, outputs[0]
            )
            basis_kernels.angle_gradients(
                *here, kept_E, u, d2, *ctx.lanes, grad_functions, outputs[0]
            )
            kernels.attend_backward(
                *here, src, *inputs, d2, scale, numpy(alpha), kept_E, grad_y, *outputs
            )

        in_parallel(gradients, batch)
        return grad_q, grad_k, grad_v, grad_decay, None


def compiled_views(alpha_EH: Tensor, geometry: Geometry) -> Views:
    """The frames of one block: ``max`` frames by compiled loops, with axes merged."""
    if geometry.model.frame != "max":
        return other_views(alpha_EH, geometry)
    batch = geometry.batch
    arrays = [numpy(x) for x in (batch.edge_ptr, alpha_EH, geometry.u_E3, geometry.d2_E)]
    width = arrays_scalar(tie_width(geometry.model) or 0.0, alpha_EH)
    same = SAME_AXIS[alpha_EH.dtype]
    parts = in_parallel(lambda *atoms: frame_kernels.max_views(*atoms, *arrays, width, same), batch)
    rounds_N, axes_P3L, share_PL = (
        torch.cat([torch.from_numpy(part[k]) for part in parts]) for k in range(3)
    )
    return Views(functional.pad(rounds_N.cumsum(0), (1, 0)), axes_P3L, share_PL)


def numpy(tensor: Tensor) -> np.ndarray:
    """The tensor's memory as an array."""
    return tensor.detach().numpy()


def padded_bins(model: ModelConfig) -> int:
    """Room for the distance basis in the compiled loops, which add whole windows of it."""
    window = basis_kernels.WINDOW_BINS * math.ceil(model.distance_width_bins)
    return max(
        window,
        basis_kernels.WINDOW_BINS * math.ceil(model.distance_bins / basis_kernels.WINDOW_BINS),
    )


def arrays_scalar(value: float, like: Tensor) -> Any:
    """A scalar of the tensor's type: compiled loops would compute in float64 otherwise."""
    return numpy(like.new_tensor(value))[()]


def in_parallel(work: Callable[[int, int], Result], batch: Batch) -> list[Result]:
    """work(first atom, last atom) of ranges of whole crystals, side by side on torch's threads.

    Each crystal is computed alike whatever range it is in: the bits do not depend on the threads.
    """
    ranges = crystal_ranges(batch, torch.get_num_threads())
    if len(ranges) == 1:
        return [work(*ranges[0])]
    with ThreadPoolExecutor(len(ranges)) as pool:
        return list(pool.map(lambda atoms: work(*atoms), ranges))


def crystal_ranges(batch: Batch, count: int) -> list[tuple[int, int]]:
    """At most ``count`` ranges of atoms, of whole crystals, with about equally many edges each."""
    last_atom_B = batch.atoms_B.cumsum(0)
    edges_B = batch.edge_ptr[last_atom_B]
    wanted = torch.arange(1, count) * (int(edges_B[-1]) / count)
    cuts = last_atom_B[torch.searchsorted(edges_B.double(), wanted.double())]
    bounds = sorted({0, *cuts.tolist(), int(last_atom_B[-1])})
    return list(pairwise(bounds))


def distance_windows(d2_E: Tensor, model: ModelConfig) -> tuple[np.ndarray, np.ndarray]:
    """(first bin [E], values [E, W]): where the distance basis of each edge is not zero."""
    spacing = model.distance_max_angstrom / model.distance_bins
    width = spacing * model.distance_width_bins
    size = basis_kernels.WINDOW_BINS * math.ceil(model.distance_width_bins)
    low_E = np.empty(len(d2_E), np.int16)
    window_EW = numpy(d2_E.new_empty(len(d2_E), size))
    scale = arrays_scalar(spacing, d2_E), arrays_scalar(width, d2_E)
    basis_kernels.distance_windows(numpy(d2_E), *scale, padded_bins(model), low_E, window_EW)
    return low_E, window_EW
