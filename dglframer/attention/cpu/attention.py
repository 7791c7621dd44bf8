"""The attention backend for CPUs; its loops are in ``atoms`` and the modules that it calls.

The loops take 8 heads at a time, in rows: q, k and v are turned to [N, D, 8] for them. Heads that are
missing in the last row are copies of the first; nothing is read of them.
"""

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
from dglframer.attention.cpu import atoms
from dglframer.attention.cpu.bases import WINDOW_BINS
from dglframer.attention.cpu.vectors import HEADS
from dglframer.attention.frames import WeightedAxes
from dglframer.attention.gaussians import angle_step, cosine_functions, kept_bins
from dglframer.common.threads import thread_count
from dglframer.config.networks import CrystalFramerConfig
from dglframer.graphs.batch import Batch

EDGES_PER_THREAD = 16_384  # fewer are computed sooner than a thread begins
Result = TypeVar("Result")
Axes = tuple[np.ndarray, np.ndarray, np.ndarray]  # (ptr, rows, kinds), see ``atoms``


class CpuAttention(Attention):
    """Whole crystals side by side on torch's threads."""

    @classmethod
    def serves(cls, batch: Batch, settings: CrystalFramerConfig) -> bool:
        return batch.r_E3.device.type == "cpu"

    def sums(self, q_NHD: Tensor, k_NHD: Tensor, v_NHD: Tensor, decay_NH: Tensor) -> AttentionSums:
        values_NHD, sums_HNB = _CpuSums.apply(q_NHD, k_NHD, v_NHD, decay_NH, self)
        bins = self.settings.distance_bins
        return AttentionSums(values_NHD, sums_HNB[:, :, :bins], sums_HNB[:, :, bins:])

    @functools.cached_property
    def geometry(self) -> tuple[np.ndarray, ...]:
        """What ``atoms`` calls geometry: edges, the pairs (i, j) that share them, directions, windows."""
        batch = self.batch
        src_E, dst_E, n_atoms = batch.src_E, batch.dst_E, len(batch.numbers_N)
        is_first_E = torch.ones(len(src_E), dtype=torch.bool)
        is_first_E[1:] = (src_E[1:] != src_E[:-1]) | (dst_E[1:] != dst_E[:-1])
        first_P = is_first_E.nonzero().flatten()
        pair_edge = functional.pad(first_P, (0, 1), value=len(src_E))
        pairs_N = torch.bincount(dst_E[first_P], minlength=n_atoms)
        pair_ptr = functional.pad(pairs_N.cumsum(0), (1, 0))
        tensors = (batch.edge_ptr, pair_ptr, src_E[first_P], pair_edge, self.d2_E)
        arrays = [array_of(x) for x in (*tensors, *self.u_E3.unbind(1))]
        return *arrays, *distance_windows(self.d2_E, self.settings)

    @functools.cached_property
    def fault_of_edges(self) -> str:
        """What is wrong with the edges of the batch, or nothing; looked at once for all blocks."""
        batch, n_atoms = self.batch, len(self.batch.numbers_N)
        ends = int(batch.edge_ptr[-1]), len(batch.dst_E), len(batch.r_E3)
        if len(batch.edge_ptr) != n_atoms + 1 or set(ends) != {len(batch.src_E)}:
            return "the edges of the batch do not fit each other"
        if len(batch.src_E) and not 0 <= int(batch.src_E.min()) <= int(batch.src_E.max()) < n_atoms:
            return "an edge leads to an atom that is not in the batch"
        return ""

    @functools.cached_property
    def ranges(self) -> list[tuple[int, int]]:
        """First atom, and the one after the last, of what each thread computes."""
        worth = 1 + len(self.batch.src_E) // EDGES_PER_THREAD
        return crystal_ranges(self.batch, min(thread_count(), worth))

    def given_axes(self, axes: WeightedAxes, block: int) -> Axes:
        """Axes for the heads of one row, in the form that ``atoms`` takes."""
        count = len(axes.share_PL)
        heads = block_heads(axes.share_PL.shape[1] // 3, block)
        axes_P3KH = axes.axes_P3L.unflatten(2, (3, -1))[..., heads]
        share_P1KH = axes.share_PL.unflatten(1, (3, -1))[..., heads].unsqueeze(1)
        rows_PK4H = torch.cat([axes_P3KH, share_P1KH], 1).transpose(1, 2)
        kinds = np.tile(np.arange(3), count)
        return array_of(axes.ptr) * 3, array_of(rows_PK4H), kinds

    @property
    def no_axes(self) -> Axes:
        none = np.zeros(0, np.int64)
        ptr = np.zeros(len(self.batch.numbers_N) + 1, np.int64)
        return ptr, array_of(self.d2_E.new_empty(0)), none


class _CpuSums(torch.autograd.Function):
    """(q, k, v, decay) -> sums of alpha v [N, H, D], of alpha and the functions of position [H, N, B]."""

    @staticmethod
    def forward(ctx: Any, q, k, v, decay, attention):
        check_inputs(q, k, v, decay, attention)
        settings = attention.settings
        n_atoms, heads, _ = q.shape
        blocks = range(math.ceil(heads / HEADS))
        functions = 3 * cosine_functions(settings, q.dtype)
        sums = q.new_empty(heads, n_atoms, settings.distance_bins + functions)
        parts = [RowOfHeads(attention, block, q, k, v, decay) for block in blocks]
        for block, part in enumerate(parts):
            here = sums[HEADS * block : HEADS * block + part.heads]
            part.forward(here, searches=settings.frame == "max")
        if settings.frame == "weighted_pca":
            alpha_EH = torch.cat(
                [torch.from_numpy(part.alpha).view(-1, HEADS) for part in parts], 1
            )
            found = attention.other_axes(alpha_EH[:, :heads])
            for block, part in enumerate(parts):
                part.given = attention.given_axes(found, block)
                here = sums[HEADS * block : HEADS * block + part.heads]
                part.forward(here, attends=False)
        ctx.parts, ctx.heads = parts, heads
        return torch.cat([part.values() for part in parts], 1)[:, :heads], sums

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_y, grad_sums = grads
        grad_sums = grad_sums.contiguous()
        found = []
        for block, part in enumerate(ctx.parts):
            here = grad_sums[HEADS * block : HEADS * block + part.heads]
            found.append(part.backward(grad_y, here))
        grad_q, grad_k, grad_v, grad_decay = (
            torch.cat(parts, 1)[:, : ctx.heads] for parts in zip(*found, strict=True)
        )
        return grad_q, grad_k, grad_v, grad_decay, None


class RowOfHeads:
    """The computation of one row of 8 heads, and what its gradient needs."""

    def __init__(
        self, attention: CpuAttention, block: int, q: Tensor, k: Tensor, v: Tensor, decay: Tensor
    ):
        self.attention, self.block = attention, block
        settings, dtype = attention.settings, q.dtype
        self.chosen = block_heads(settings.heads, block)
        self.heads = min(HEADS, settings.heads - HEADS * block)
        self.features = q.shape[2]
        self.q, self.k, self.v = (array_of(self.rows(x)) for x in (q, k, v))
        self.decay = array_of(self.heads_of(decay))
        size = window_size(settings)
        functions = cosine_functions(settings, dtype)
        bins = settings.distance_bins
        self.sizes = (self.features, size, padded_bins(settings), bins, functions, self.heads)
        self.scalar = functools.partial(scalar_of, like=q)
        self.scale = self.scalar(self.features**-0.5)
        step = angle_step(settings)
        cut = (step, settings.angle_width_bins * step, settings.window_sigmas or 0.0)
        self.cut = tuple(self.scalar(x) for x in (*cut, cosine_bins_kept(settings)))
        edges = len(attention.batch.src_E)
        self.alpha = array_of(q.new_empty(edges * HEADS))
        self.matters = np.empty(edges, np.uint8)
        self.y = array_of(q.new_empty(q.shape[0] * self.features * HEADS))
        if settings.frame in ("max", "none", "weighted_pca"):
            self.given = attention.no_axes
        else:
            self.given = attention.given_axes(attention.fixed_axes, block)
        self.axes: list[tuple[int, Axes]] = []

    def heads_of(self, x_NHX: Tensor) -> Tensor:
        """[N, 8, ...]: the heads of this row; a whole row needs no copy."""
        if self.heads < HEADS:
            return x_NHX[:, self.chosen]
        return x_NHX[:, self.chosen[0] : self.chosen[0] + HEADS]

    def rows(self, x_NHD: Tensor) -> Tensor:
        """[N, D, 8]: the heads of this row innermost."""
        return self.heads_of(x_NHD).transpose(1, 2)

    def forward(self, sums: Tensor, attends: bool = True, searches: bool = False) -> None:
        """Fill alpha, y and the sums [H, N, B]; remember the axes of each range of atoms."""
        attention, settings = self.attention, self.attention.settings
        gap, width = negligible_gap(sums.dtype), tie_width(settings) or 0.0
        scalars = [self.scalar(x) for x in (gap, width, SAME_AXIS[sums.dtype])]
        out = sums.numpy()

        def work(first: int, last: int) -> Axes:
            return atoms.forward(
                first, last, attends, searches, attention.geometry, self.sizes,
                self.q, self.k, self.v, self.decay, self.scale, *scalars, self.cut,
                self.given, self.alpha, self.matters, self.y, out,
            )  # fmt: skip

        found = in_parallel(work, attention.ranges)
        self.axes = [
            (first if searches else 0, axes)
            for (first, _), axes in zip(attention.ranges, found, strict=True)
        ]

    def values(self) -> Tensor:
        """[N, 8, D]"""
        return torch.from_numpy(self.y).view(-1, self.features, HEADS).transpose(1, 2)

    def backward(self, grad_y_NHD: Tensor, grad_sums: Tensor) -> tuple[Tensor, ...]:
        """Gradients of q, k, v [N, 8, D] and the decay [N, 8]."""
        attention = self.attention
        grad_y = grad_y_NHD.new_zeros(len(grad_y_NHD), self.features, HEADS)
        here = grad_y_NHD[:, HEADS * self.block : HEADS * self.block + self.heads]
        grad_y[..., : self.heads] = here.transpose(1, 2)
        grad_y_array, grad_sums_array = array_of(grad_y), grad_sums.numpy()
        grads = [np.empty_like(x) for x in (self.q, self.k, self.v, self.decay)]
        jobs = {
            atoms_range: axes for atoms_range, axes in zip(attention.ranges, self.axes, strict=True)
        }

        def work(first: int, last: int) -> None:
            rows_first, axes = jobs[first, last]
            atoms.backward(
                first, last, rows_first, attention.geometry, self.sizes, self.q, self.k, self.v,
                self.scale, self.cut, axes, self.alpha, self.matters, grad_y_array, grad_sums_array,
                *grads,
            )  # fmt: skip

        in_parallel(work, attention.ranges)
        *qkv, decay = (torch.from_numpy(x) for x in grads)
        turned = [x.view(-1, self.features, HEADS).transpose(1, 2) for x in qkv]
        return *turned, decay.view(-1, HEADS)


def check_inputs(q: Tensor, k: Tensor, v: Tensor, decay: Tensor, attention: CpuAttention) -> None:
    """Raise ValueError unless shapes and types are those of the batch: the loops look at neither."""
    batch, settings = attention.batch, attention.settings
    expected = len(batch.numbers_N), settings.heads, settings.width // settings.heads
    for x in (q, k, v):
        if tuple(x.shape) != expected or x.dtype != batch.r_E3.dtype:
            raise ValueError(f"{tuple(x.shape)} {x.dtype}: not {expected} {batch.r_E3.dtype}")
    if tuple(decay.shape) != expected[:2] or decay.dtype != q.dtype:
        raise ValueError(f"decay: {tuple(decay.shape)} {decay.dtype}: not {expected[:2]} {q.dtype}")
    if attention.fault_of_edges:
        raise ValueError(attention.fault_of_edges)


def block_heads(heads: int, block: int) -> list[int]:
    """The heads of a row; copies of its first one where there are no more."""
    here = range(HEADS * block, HEADS * block + HEADS)
    return [head if head < heads else HEADS * block for head in here]


def array_of(tensor: Tensor) -> np.ndarray:
    """The numbers of a tensor as an array of one axis, without a copy where they are side by side."""
    return tensor.detach().contiguous().view(-1).numpy()


def scalar_of(value: float, like: Tensor) -> Any:
    """A scalar of the tensor's type: compiled loops would compute in float64 otherwise."""
    return (np.float32 if like.dtype == torch.float32 else np.float64)(value)


def cosine_bins_kept(settings: CrystalFramerConfig) -> int:
    """For ``windowed``: 0 for whole Gaussians of cosines, more than there are where none is cut."""
    if settings.window_sigmas is None:
        return 0
    kept = kept_bins(settings, settings.angle_width_bins)
    return kept if settings.angle_bins - kept > 8 else 2 * settings.angle_bins


def window_size(settings: CrystalFramerConfig) -> int:
    """Bins of an edge's window, which spans 8 widths on both sides of its distance."""
    return WINDOW_BINS * math.ceil(settings.distance_width_bins)


def padded_bins(settings: CrystalFramerConfig) -> int:
    """Room for the distance basis in the loops, which add whole windows of it."""
    bins = WINDOW_BINS * math.ceil(settings.distance_bins / WINDOW_BINS)
    return max(window_size(settings), bins)


def distance_windows(d2_E: Tensor, settings: CrystalFramerConfig) -> tuple[np.ndarray, np.ndarray]:
    """(first bin [E], values [E, W] as one axis): where the distance basis of each edge is not zero."""
    scalar = functools.partial(scalar_of, like=d2_E)
    spacing = settings.distance_max_angstrom / settings.distance_bins
    size, bins = window_size(settings), settings.distance_bins
    kept = kept_bins(settings, settings.distance_width_bins) if settings.window_sigmas else 0
    if bins - kept <= 8:
        kept = 0
    cut = tuple(scalar(x) for x in (settings.window_sigmas or 0.0, kept, bins))
    low_E = np.empty(len(d2_E), np.int16)
    window = array_of(d2_E.new_empty(len(d2_E) * size))
    ramp = array_of(torch.arange(HEADS).to(d2_E))
    shape = (
        scalar(spacing),
        scalar(spacing * settings.distance_width_bins),
        padded_bins(settings),
        size,
    )
    atoms.windows(0, len(d2_E), array_of(d2_E), *shape, cut, ramp, low_E, window)
    return low_E, window


def in_parallel(work: Callable[[int, int], Result], ranges: list[tuple[int, int]]) -> list[Result]:
    """work(first atom, last atom) of ranges of whole crystals, side by side.

    Each crystal is computed alike whatever range it is in: the bits do not depend on the threads.
    """
    first, *others = ranges
    if not others:
        return [work(*first)]
    with ThreadPoolExecutor(len(others)) as pool:
        found = pool.map(lambda atoms: work(*atoms), others)
        return [work(*first), *found]


def crystal_ranges(batch: Batch, count: int) -> list[tuple[int, int]]:
    """At most ``count`` ranges of atoms, of whole crystals, with about equally many edges each."""
    last_atom_B = batch.atoms_B.cumsum(0)
    edges_B = batch.edge_ptr[last_atom_B]
    wanted = torch.arange(1, count) * (int(edges_B[-1]) / count)
    cuts = last_atom_B[torch.searchsorted(edges_B.double(), wanted.double())]
    bounds = sorted({0, *cuts.tolist(), int(last_atom_B[-1])})
    return list(pairwise(bounds))
