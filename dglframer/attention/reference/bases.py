"""Weighted sums of the position encodings over the edges of each atom, and their gradient.

psi_ij(n) = E0 b_dist(|r|) + sum_k E_k b_ang(e_k . r / |r|) is linear in the bases, so the attention
needs sum_e alpha_e b_e per (atom, head), which is projected afterwards (§5). Positions and
frames carry no gradient: the weights alpha do, and the backward pass recomputes the bases. Nothing
of size edges x heads x basis is ever in memory.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from dglframer.attention.constants import SELF_DISTANCE_SQUARED
from dglframer.attention.frames import WeightedAxes, expand
from dglframer.attention.gaussians import angle_functions, angle_matrix, head_major
from dglframer.config.networks import CrystalFramerConfig
from dglframer.graphs.batch import pointers

CHUNK_VALUES = 2**25  # of the largest product over edges at a time: 128 MiB in float32


def basis_sums(
    alpha_EH: Tensor,
    basis_EK: Tensor,
    u_E3: Tensor,
    d2_E: Tensor,
    axes: WeightedAxes,
    edge_ptr: Tensor,
    settings: CrystalFramerConfig,
) -> tuple[Tensor, Tensor]:
    """Sums over the edges of each atom: distance basis [H, N, K] and functions of cosines [H, N, 3 Q].

    ``alpha_EH`` are the attention weights, ``basis_EK`` the distance basis of each edge, ``u_E3``
    and ``d2_E`` direction and squared length of r. Cosines are averaged over the axes of each
    atom; where there are none, the second result has no heads.
    """
    dist_NHK, functions_NQL = _BasisSums.apply(
        alpha_EH, basis_EK, u_E3, d2_E, axes, edge_ptr, settings
    )
    return dist_NHK.transpose(0, 1), head_major(functions_NQL, alpha_EH.shape[1])


class _BasisSums(torch.autograd.Function):
    """(alpha, ...) -> sums of the distance basis [N, H, K] and of the cosine functions [N, Q, L]."""

    @staticmethod
    def forward(ctx: Any, alpha, basis, u, d2, axes, edge_ptr, settings):
        ctx.save_for_backward(alpha, basis, u, d2, edge_ptr)
        ctx.axes, ctx.settings = axes, settings
        terms = angle_matrix(settings, alpha.dtype).shape[1]
        atoms, heads = len(edge_ptr) - 1, alpha.shape[1]
        dist = alpha.new_zeros(atoms, heads, basis.shape[1])
        functions = alpha.new_zeros(atoms, terms, axes.axes_P3L.shape[2])
        for rows, edges in atom_chunks(edge_ptr, basis.shape[1] * heads):
            ptr = edge_ptr[rows.start : rows.stop + 1] - edges.start
            outer = alpha[edges].unsqueeze(2) * basis[edges].unsqueeze(1)
            dist[rows] = torch.segment_reduce(outer, "sum", offsets=ptr, axis=0)
        for atom_R, edge_R, ptr, row_of_edge_R in axis_groups(axes, edge_ptr, 3 * heads):
            weights = alpha[edge_R].repeat(1, 3) * directed(d2[edge_R])
            weights *= axes.share_PL[row_of_edge_R]
            cosines = torch.einsum("ex,exl->el", u[edge_R], axes.axes_P3L[row_of_edge_R]).clamp(
                -1, 1
            )
            for q, value in enumerate(angle_functions(cosines, settings)):
                functions[atom_R, q] += torch.segment_reduce(
                    weights * value, "sum", offsets=ptr, axis=0
                )
        return dist, functions

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        alpha, basis, u, d2, edge_ptr = ctx.saved_tensors
        axes = ctx.axes
        grad_dist, grad_functions = (grad.contiguous() for grad in grads)
        grad_alpha = torch.empty_like(alpha)
        degree = edge_ptr.diff()
        for rows, edges in atom_chunks(edge_ptr, basis.shape[1] * alpha.shape[1]):
            grad_alpha[edges] = torch.einsum(
                "ehk,ek->eh", grad_dist[rows].repeat_interleave(degree[rows], 0), basis[edges]
            )
        for atom_R, edge_R, _, row_of_edge_R in axis_groups(axes, edge_ptr, 3 * alpha.shape[1]):
            total = torch.zeros_like(alpha[edge_R].repeat(1, 3))
            cosines = torch.einsum("ex,exl->el", u[edge_R], axes.axes_P3L[row_of_edge_R]).clamp(
                -1, 1
            )
            centre_R = atom_R.repeat_interleave(degree[atom_R])
            for q, value in enumerate(angle_functions(cosines, ctx.settings)):
                total += grad_functions[centre_R, q] * value
            total *= directed(d2[edge_R]) * axes.share_PL[row_of_edge_R]
            grad_alpha[edge_R] += total.unflatten(1, (3, -1)).sum(1)
        return grad_alpha, None, None, None, None, None, None


def axis_groups(axes: WeightedAxes, edge_ptr: Tensor, columns: int) -> Iterator[tuple[Tensor, ...]]:
    """Yield (atoms, their edges, pointers into these, the row of axes of each edge) that go together.

    Every row of axes of every atom is in one of the groups, an atom at most once in each, and the groups
    are small enough to bound the memory of edge-wise products. Without frames there are none.
    """
    count_N, degree_N = axes.ptr.diff(), edge_ptr.diff()
    for number in range(int(count_N.max()) if axes.axes_P3L.shape[2] else 0):
        atom_A = (count_N > number).nonzero().flatten()
        ptr_A = pointers(degree_N[atom_A])
        for rows, _ in atom_chunks(ptr_A, 4 * columns):
            atom_R = atom_A[rows]
            row_R, edge_R = expand(edge_ptr[atom_R], degree_N[atom_R])
            ptr_R = ptr_A[rows.start : rows.stop + 1] - ptr_A[rows.start]
            yield atom_R, edge_R, ptr_R, (axes.ptr[atom_R] + number)[row_R]


def directed(d2_E: Tensor) -> Tensor:
    """[E, 1]: 0 for the atom itself, which has no direction, 1 for every other image."""
    return (d2_E > SELF_DISTANCE_SQUARED).to(d2_E).unsqueeze(1)


def atom_chunks(edge_ptr: Tensor, values_per_edge: int) -> list[tuple[slice, slice]]:
    """Slices of whole atoms, and of their edges, that bound the memory of edge-wise products."""
    max_edges = CHUNK_VALUES // values_per_edge
    ends = edge_ptr.tolist()
    chunks, first = [], 0
    for atom in range(1, len(ends)):
        if atom == len(ends) - 1 or ends[atom + 1] - ends[first] > max_edges:
            chunks.append((slice(first, atom), slice(ends[first], ends[atom])))
            first = atom
    return chunks
