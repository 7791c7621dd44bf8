"""The attention backend for CPUs; its loops are in ``weights``, ``bases`` and ``frames``."""

import functools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dglframer.attention.constants import SAME_AXIS, negligible_gap
from dglframer.attention.contract import Attention, AttentionSums, tie_width
from dglframer.attention.cpu import bases, frames, weights
from dglframer.attention.frames import WeightedAxes
from dglframer.attention.gaussians import angle_matrix, angle_sums
from dglframer.config.networks import CrystalFramerConfig
from dglframer.graphs.batch import Batch

Result = TypeVar("Result")


class CpuAttention(Attention):
    """Whole crystals side by side on torch's threads; whole Gaussians only."""

    @classmethod
    def serves(cls, batch: Batch, settings: CrystalFramerConfig) -> bool:
        return batch.r_E3.device.type == "cpu" and settings.window_sigmas is None

    def sums(self, q_NHD: Tensor, k_NHD: Tensor, v_NHD: Tensor, decay_NH: Tensor) -> AttentionSums:
        values_NHD, distances_NHK, functions_NQL = _CpuSums.apply(
            q_NHD, k_NHD, v_NHD, decay_NH, self
        )
        return AttentionSums(values_NHD, distances_NHK, angle_sums(functions_NQL, self.settings))

    @functools.cached_property
    def windows(self) -> tuple[np.ndarray, np.ndarray]:
        """(first bin [E], values [E, W]): the part of each edge's distance basis that is not zero."""
        return distance_windows(self.d2_E, self.settings)

    def axes(self, alpha_EH: Tensor) -> WeightedAxes:
        """The axes of one block: those of ``max`` frames by compiled loops, with equal ones merged."""
        if self.settings.frame != "max":
            return self.other_axes(alpha_EH)
        batch = self.batch
        arrays = [numpy(x) for x in (batch.edge_ptr, alpha_EH, self.u_E3, self.d2_E)]
        width = arrays_scalar(tie_width(self.settings) or 0.0, alpha_EH)
        same = SAME_AXIS[alpha_EH.dtype]
        parts = in_parallel(lambda *atoms: frames.max_axes(*atoms, *arrays, width, same), batch)
        rows_N, axes_P3L, share_PL = (
            torch.cat([torch.from_numpy(part[k]) for part in parts]) for k in range(3)
        )
        return WeightedAxes(functional.pad(rows_N.cumsum(0), (1, 0)), axes_P3L, share_PL)


class _CpuSums(torch.autograd.Function):
    """(q, k, v, decay) -> sums of alpha v, alpha b_dist [N, H, K], alpha T_q [N, Q, L]."""

    @staticmethod
    def forward(ctx: Any, q, k, v, decay, attention):
        batch, settings = attention.batch, attention.settings
        q, k, v, decay = (x.detach().contiguous() for x in (q, k, v, decay))
        n_atoms, heads, width = q.shape
        alpha = q.new_empty(len(batch.src_E), heads)
        matters = torch.empty(len(batch.src_E), dtype=torch.uint8)
        y = torch.empty_like(q)
        ptr, src = numpy(batch.edge_ptr), numpy(batch.src_E)
        u, d2 = numpy(attention.u_E3), numpy(attention.d2_E)
        scale = arrays_scalar(width**-0.5, q)
        gap = arrays_scalar(negligible_gap(q.dtype), q)
        inputs = [*map(numpy, (q, k, decay)), d2, scale]
        in_parallel(lambda *atoms: weights.logits(*atoms, ptr, src, *inputs, numpy(alpha)), batch)
        outputs = [numpy(x) for x in (alpha, matters, y)]
        in_parallel(lambda *atoms: weights.attend(*atoms, ptr, src, numpy(v), gap, *outputs), batch)
        found = attention.axes(alpha)
        axes = [numpy(x) for x in (found.ptr, found.axes_P3L, found.share_PL)]
        terms = angle_matrix(settings, q.dtype).shape[1]
        dist = q.new_zeros(n_atoms, heads, padded_bins(settings))
        functions = q.new_zeros(n_atoms, terms, found.axes_P3L.shape[2])
        inputs = [numpy(matters), numpy(alpha), *attention.windows, u, d2, *axes]
        outputs = [numpy(x) for x in (dist, functions)]
        in_parallel(lambda *atoms: bases.sum_bases(*atoms, ptr, *inputs, *outputs), batch)
        ctx.save_for_backward(q, k, v, alpha, matters)
        ctx.attention, ctx.axes = attention, axes
        return y, dist[:, :, : settings.distance_bins], functions

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, alpha, matters = ctx.saved_tensors
        attention, batch = ctx.attention, ctx.attention.batch
        missing = padded_bins(attention.settings) - attention.settings.distance_bins
        grad_y, grad_dist, grad_functions = (
            numpy(grad.contiguous())
            for grad in (grads[0], functional.pad(grads[1], (0, missing)), grads[2])
        )
        grad_alpha = torch.empty_like(alpha)
        grad_q, grad_k, grad_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        grad_decay = q.new_empty(q.shape[:2])
        ptr, src, matters_E = numpy(batch.edge_ptr), numpy(batch.src_E), numpy(matters)
        u, d2 = numpy(attention.u_E3), numpy(attention.d2_E)
        inputs = [numpy(x) for x in (q, k, v)]
        outputs = [numpy(x) for x in (grad_alpha, grad_q, grad_k, grad_v, grad_decay)]
        scale = arrays_scalar(q.shape[2] ** -0.5, q)

        def gradients(first: int, last: int) -> None:
            here = first, last, ptr
            bases.distance_gradients(*here, matters_E, *attention.windows, grad_dist, outputs[0])
            bases.angle_gradients(*here, matters_E, u, d2, *ctx.axes, grad_functions, outputs[0])
            weights.attend_backward(
                *here, src, *inputs, d2, scale, numpy(alpha), matters_E, grad_y, *outputs
            )

        in_parallel(gradients, batch)
        return grad_q, grad_k, grad_v, grad_decay, None


def numpy(tensor: Tensor) -> np.ndarray:
    """The tensor's memory as an array."""
    return tensor.detach().numpy()


def padded_bins(settings: CrystalFramerConfig) -> int:
    """Room for the distance basis in the compiled loops, which add whole windows of it."""
    window = bases.WINDOW_BINS * math.ceil(settings.distance_width_bins)
    return max(
        window,
        bases.WINDOW_BINS * math.ceil(settings.distance_bins / bases.WINDOW_BINS),
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


def distance_windows(d2_E: Tensor, settings: CrystalFramerConfig) -> tuple[np.ndarray, np.ndarray]:
    """(first bin [E], values [E, W]): where the distance basis of each edge is not zero."""
    spacing = settings.distance_max_angstrom / settings.distance_bins
    width = spacing * settings.distance_width_bins
    size = bases.WINDOW_BINS * math.ceil(settings.distance_width_bins)
    low_E = np.empty(len(d2_E), np.int16)
    window_EW = numpy(d2_E.new_empty(len(d2_E), size))
    scale = arrays_scalar(spacing, d2_E), arrays_scalar(width, d2_E)
    bases.distance_windows(numpy(d2_E), *scale, padded_bins(settings), low_E, window_EW)
    return low_E, window_EW
