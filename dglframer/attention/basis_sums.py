"""Weighted sums of the position encodings over the edges of each atom, and their gradient.

psi_ij(n) = E0 b_dist(|r|) + sum_k E_k b_ang(e_k . r / |r|) is linear in the bases, so the attention
needs sum_e alpha_e b_e per (atom, head), which is projected afterwards (section 5). Positions and
frames carry no gradient: the weights alpha do, and the backward pass recomputes the bases. Nothing
of size edges x heads x basis is ever in memory.
"""

import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from dglframer.attention.frames import Views, expand
from dglframer.attention.gaussians import SELF_DISTANCE_SQUARED, angle_functions, angle_matrix
from dglframer.config.networks import ModelConfig
from dglframer.graphs.batch import pointers

CHUNK_VALUES = 2**25  # of the largest product over edges at a time: 128 MiB in float32


def basis_sums(
    alpha_EH: Tensor,
    basis_EK: Tensor,
    u_E3: Tensor,
    d2_E: Tensor,
    views: Views,
    edge_ptr: Tensor,
    model: ModelConfig,
) -> tuple[Tensor, Tensor]:
    """Sums over the edges of each atom: distance basis [N, H, K0] and cosine bases [N, 3, H, K].

    ``alpha_EH`` are the attention weights, ``basis_EK`` the distance basis of each edge, ``u_E3``
    and ``d2_E`` direction and squared length of r. Cosines are averaged over the views of each
    atom; where these have no lanes, the second result has no heads.
    """
    dist_NHK, functions_NQL = _BasisSums.apply(
        alpha_EH, basis_EK, u_E3, d2_E, views, edge_ptr, model
    )
    return dist_NHK, angle_sums(functions_NQL, model)


def angle_sums(functions_NQL: Tensor, model: ModelConfig) -> Tensor:
    """[N, 3, H, K]: sums of the cosine Gaussians from the sums of the functions that span them."""
    matrix_KQ = angle_matrix_on(model, functions_NQL.dtype, functions_NQL.device)
    return (functions_NQL.transpose(1, 2) @ matrix_KQ.T).unflatten(1, (3, -1))


@functools.lru_cache(maxsize=32)
def angle_matrix_on(model: ModelConfig, dtype: torch.dtype, device: torch.device) -> Tensor:
    """``angle_matrix``, sent to the device once: a copy would make the host wait in every block."""
    with torch.inference_mode(False):  # whoever asks first, others may need it for gradients
        return torch.from_numpy(angle_matrix(model, dtype)).to(device, dtype)


class _BasisSums(torch.autograd.Function):
    """(alpha, ...) -> sums of the distance basis [N, H, K] and of the cosine functions [N, Q, L]."""

    @staticmethod
    def forward(ctx: Any, alpha, basis, u, d2, views, edge_ptr, model):
        ctx.save_for_backward(alpha, basis, u, d2, edge_ptr)
        ctx.views, ctx.model = views, model
        terms = angle_matrix(model, alpha.dtype).shape[1]
        atoms, heads = len(edge_ptr) - 1, alpha.shape[1]
        dist = alpha.new_zeros(atoms, heads, basis.shape[1])
        functions = alpha.new_zeros(atoms, terms, views.axes_P3L.shape[2])
        for rows, edges in atom_chunks(edge_ptr, basis.shape[1] * heads):
            ptr = edge_ptr[rows.start : rows.stop + 1] - edges.start
            outer = alpha[edges].unsqueeze(2) * basis[edges].unsqueeze(1)
            dist[rows] = torch.segment_reduce(outer, "sum", offsets=ptr, axis=0)
        for atom_R, edge_R, ptr, view_R in rounds(views, edge_ptr, 3 * heads):
            weights = alpha[edge_R].repeat(1, 3) * directed(d2[edge_R])
            weights *= views.share_PL[view_R]
            cosines = torch.einsum("ex,exl->el", u[edge_R], views.axes_P3L[view_R]).clamp(-1, 1)
            for q, value in enumerate(angle_functions(cosines, model)):
                functions[atom_R, q] += torch.segment_reduce(
                    weights * value, "sum", offsets=ptr, axis=0
                )
        return dist, functions

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        alpha, basis, u, d2, edge_ptr = ctx.saved_tensors
        views = ctx.views
        grad_dist, grad_functions = (grad.contiguous() for grad in grads)
        grad_alpha = torch.empty_like(alpha)
        degree = edge_ptr.diff()
        for rows, edges in atom_chunks(edge_ptr, basis.shape[1] * alpha.shape[1]):
            grad_alpha[edges] = torch.einsum(
                "ehk,ek->eh", grad_dist[rows].repeat_interleave(degree[rows], 0), basis[edges]
            )
        for atom_R, edge_R, _, view_R in rounds(views, edge_ptr, 3 * alpha.shape[1]):
            total = torch.zeros_like(alpha[edge_R].repeat(1, 3))
            cosines = torch.einsum("ex,exl->el", u[edge_R], views.axes_P3L[view_R]).clamp(-1, 1)
            centre_R = atom_R.repeat_interleave(degree[atom_R])
            for q, value in enumerate(angle_functions(cosines, ctx.model)):
                total += grad_functions[centre_R, q] * value
            total *= directed(d2[edge_R]) * views.share_PL[view_R]
            grad_alpha[edge_R] += total.unflatten(1, (3, -1)).sum(1)
        return grad_alpha, None, None, None, None, None, None


def rounds(views: Views, edge_ptr: Tensor, lanes: int) -> Iterator[tuple[Tensor, ...]]:
    """Yield (atoms, their edges, pointers into these, the view of each edge) that go together.

    Every view of every atom is in one of the groups, an atom at most once in each, and the groups
    are small enough to bound the memory of edge-wise products. Without lanes there are none.
    """
    count_N, degree_N = views.ptr.diff(), edge_ptr.diff()
    for number in range(int(count_N.max()) if views.axes_P3L.shape[2] else 0):
        atom_A = (count_N > number).nonzero().flatten()
        ptr_A = pointers(degree_N[atom_A])
        for rows, _ in atom_chunks(ptr_A, 4 * lanes):
            atom_R = atom_A[rows]
            row_R, edge_R = expand(edge_ptr[atom_R], degree_N[atom_R])
            ptr_R = ptr_A[rows.start : rows.stop + 1] - ptr_A[rows.start]
            yield atom_R, edge_R, ptr_R, (views.ptr[atom_R] + number)[row_R]


def directed(d2_E: Tensor) -> Tensor:
    """[E, 1]: 0 for the atom itself, which has no direction, 1 for every other image."""
    return (d2_E > SELF_DISTANCE_SQUARED).to(d2_E).unsqueeze(1)


def atom_chunks(edge_ptr: Tensor, values_per_edge: int) -> list[tuple[slice, slice]]:
    """Slices of whole atoms, and of their edges, that bound the memory of edge-wise products."""
    largest = CHUNK_VALUES // values_per_edge
    ends = edge_ptr.tolist()
    chunks, first = [], 0
    for atom in range(1, len(ends)):
        if atom == len(ends) - 1 or ends[atom + 1] - ends[first] > largest:
            chunks.append((slice(first, atom), slice(ends[first], ends[atom])))
            first = atom
    return chunks
