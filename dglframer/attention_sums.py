"""What attention sums over the edges of each atom: by the reference path, or compiled for CPUs.

Inputs are queries, keys and values [N, H, D] and the decay 1 / 2 sigma^2 [N, H]; results are the
sums of alpha v [N, H, D], of alpha times the distance basis [N, H, K0] and of alpha times the cosine
bases [N, 3, H, K] (no heads without frames). The reference path is edge operations of DGL or torch
and runs anywhere; the compiled path agrees with it to rounding and to the weights it passes over.
"""

import functools
import importlib.util
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dglframer.basis_sums import angle_sums, basis_sums, lanes
from dglframer.batch import Batch
from dglframer.config import ModelConfig
from dglframer.encodings import angle_matrix, distance_basis
from dglframer.frames import max_frames, tie_tolerance
from dglframer.ops import EdgeOps, edge_ops

HAS_NUMBA = importlib.util.find_spec("numba") is not None
HAS_TRITON = importlib.util.find_spec("triton") is not None

Sums = tuple[Tensor, Tensor, Tensor]


class Geometry:
    """What the blocks share of a batch: distances, directions, what follows from them when needed."""

    def __init__(self, batch: Batch, model: ModelConfig):
        self.batch, self.model = batch, model
        self.ops: EdgeOps = edge_ops(batch)
        self.d2_E = batch.r_E3.square().sum(-1)
        self.u_E3 = batch.r_E3 / self.d2_E.sqrt().clamp(min=1e-6).unsqueeze(1)

    @functools.cached_property
    def basis_EK(self) -> Tensor:
        """[E, K]: the distance basis."""
        return distance_basis(self.d2_E.sqrt(), self.model)

    @functools.cached_property
    def windows(self) -> tuple[np.ndarray, np.ndarray]:
        """(first bin [E], values [E, W]): where the distance basis is not zero, for compiled loops."""
        from dglframer import kernels

        model = self.model
        spacing = model.distance_max_angstrom / model.distance_bins
        width = spacing * model.distance_width_bins
        size = kernels.WINDOW_BINS * math.ceil(model.distance_width_bins)
        low_E = np.empty(len(self.d2_E), np.int16)
        window_EW = numpy(self.d2_E.new_empty(len(self.d2_E), size))
        scale = arrays_scalar(spacing, self.d2_E), arrays_scalar(width, self.d2_E)
        kernels.distance_windows(numpy(self.d2_E), *scale, padded_bins(model), low_E, window_EW)
        return low_E, window_EW

    @functools.cached_property
    def by_source(self) -> tuple[Tensor, Tensor]:
        """(ptr [N + 1], order [E]): the edges that leave each atom, for gradients on a GPU."""
        from dglframer.triton_sums import edges_by_source

        return edges_by_source(self.batch.src_E, len(self.batch.numbers_N))


def attention_sums(
    q_NHD: Tensor, k_NHD: Tensor, v_NHD: Tensor, decay_NH: Tensor, geometry: Geometry
) -> Sums:
    """The sums, by the fastest path that can do it here."""
    if HAS_NUMBA and q_NHD.device.type == "cpu" and geometry.model.window_sigmas is None:
        y_NHD, dist_NHK, functions_NQL = _CompiledSums.apply(
            q_NHD, k_NHD, v_NHD, decay_NH, geometry
        )
        return y_NHD, dist_NHK, angle_sums(functions_NQL, geometry.model)
    if HAS_TRITON and q_NHD.device.type == "cuda" and geometry.model.window_sigmas is None:
        from dglframer.triton_sums import triton_sums

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
    frames_NH33 = None
    if model.frame == "max":
        frames_NH33 = max_frames(logits_EH.detach(), geometry.u_E3, geometry.d2_E, batch.edge_ptr)
    y_NHD = ops.source_sum(alpha_EH, v_NHD)
    dist_NHK, angle_N3HK = basis_sums(
        alpha_EH,
        geometry.basis_EK,
        geometry.u_E3,
        geometry.d2_E,
        frames_NH33,
        batch.edge_ptr,
        model,
    )
    return y_NHD, dist_NHK, angle_N3HK


def least_weight(dtype: torch.dtype) -> float:
    """Edges whose weight is below exp(-this) of the atom's largest, in every head, are passed over."""
    return 18.5 if dtype == torch.float32 else 41.5  # 1e-8 and 1e-18


class _CompiledSums(torch.autograd.Function):
    """(q, k, v, decay) -> sums of alpha v, alpha b_dist [N, H, K], alpha T_q [N, Q, L]."""

    @staticmethod
    def forward(ctx: Any, q, k, v, decay, geometry):
        from dglframer import frame_kernels, kernels

        batch, model = geometry.batch, geometry.model
        q, k, v, decay = (x.detach().contiguous() for x in (q, k, v, decay))
        n_atoms, heads, width = q.shape
        alpha = q.new_empty(len(batch.src_E), heads)
        kept = torch.empty(len(batch.src_E), dtype=torch.uint8)
        y = torch.empty_like(q)
        frames = None if model.frame == "none" else q.new_empty(n_atoms, heads, 3, 3)
        ptr, src = numpy(batch.edge_ptr), numpy(batch.src_E)
        u, d2 = numpy(geometry.u_E3), numpy(geometry.d2_E)
        scale = arrays_scalar(width**-0.5, q)
        smallest = arrays_scalar(least_weight(q.dtype), q)

        def weights(first: int, last: int) -> None:
            here = first, last, ptr
            kernels.logits(*here, src, *map(numpy, (q, k, decay)), d2, scale, numpy(alpha))
            if frames is not None:
                tolerance = tie_tolerance(q.dtype)
                frame_kernels.max_frames(*here, numpy(alpha), u, d2, tolerance, numpy(frames))
            kernels.attend(*here, src, numpy(v), smallest, *map(numpy, (alpha, kept, y)))

        in_parallel(weights, batch)
        axes = lanes(frames, geometry.u_E3, n_atoms)
        terms = angle_matrix(model, q.dtype).shape[1]
        dist = q.new_zeros(n_atoms, heads, padded_bins(model))
        functions = q.new_zeros(n_atoms, terms, axes.shape[2])
        inputs = [numpy(kept), numpy(alpha), *geometry.windows]
        outputs = [numpy(x) for x in (axes, dist, functions)]
        in_parallel(lambda *atoms: kernels.sum_bases(*atoms, ptr, *inputs, u, d2, *outputs), batch)
        ctx.save_for_backward(q, k, v, alpha, kept, axes)
        ctx.geometry = geometry
        return y, dist[:, :, : model.distance_bins], functions

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        from dglframer import kernels

        q, k, v, alpha, kept, axes = ctx.saved_tensors
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
            kernels.distance_gradients(*here, kept_E, *geometry.windows, grad_dist, outputs[0])
            kernels.angle_gradients(*here, kept_E, u, d2, numpy(axes), grad_functions, outputs[0])
            kernels.attend_backward(
                *here, src, *inputs, d2, scale, numpy(alpha), kept_E, grad_y, *outputs
            )

        in_parallel(gradients, batch)
        return grad_q, grad_k, grad_v, grad_decay, None


def numpy(tensor: Tensor) -> np.ndarray:
    """The tensor's memory as an array."""
    return tensor.detach().numpy()


def padded_bins(model: ModelConfig) -> int:
    """Room for the distance basis in the compiled loops, which add whole windows of it."""
    from dglframer.kernels import WINDOW_BINS

    window = WINDOW_BINS * math.ceil(model.distance_width_bins)
    return max(window, WINDOW_BINS * math.ceil(model.distance_bins / WINDOW_BINS))


def arrays_scalar(value: float, like: Tensor) -> Any:
    """A scalar of the tensor's type: compiled loops would compute in float64 otherwise."""
    return numpy(like.new_tensor(value))[()]


def in_parallel(work: Callable[[int, int], None], batch: Batch) -> None:
    """Call work(first atom, last atom) on ranges of whole crystals, side by side on torch's threads.

    Each crystal is computed alike whatever range it is in: the bits do not depend on the threads.
    """
    ranges = crystal_ranges(batch, torch.get_num_threads())
    if len(ranges) == 1:
        work(*ranges[0])
        return
    with ThreadPoolExecutor(len(ranges)) as pool:
        for _ in pool.map(lambda atoms: work(*atoms), ranges):
            pass


def crystal_ranges(batch: Batch, count: int) -> list[tuple[int, int]]:
    """At most ``count`` ranges of atoms, of whole crystals, with about equally many edges each."""
    last_atom_B = batch.atoms_B.cumsum(0)
    edges_B = batch.edge_ptr[last_atom_B]
    wanted = torch.arange(1, count) * (int(edges_B[-1]) / count)
    cuts = last_atom_B[torch.searchsorted(edges_B.double(), wanted.double())]
    bounds = sorted({0, *cuts.tolist(), int(last_atom_B[-1])})
    return list(pairwise(bounds))
