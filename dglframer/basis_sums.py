"""Weighted sums of the position encodings over the edges of each atom, and their gradient.

psi_ij(n) = E0 b_dist(|r|) + sum_k E_k b_ang(e_k . r / |r|) is linear in the bases, so the attention
needs sum_e alpha_e b_e per (atom, head), which is projected afterwards (section 5). Positions and
frames carry no gradient: the weights alpha do, and the backward pass recomputes the bases. Nothing
of size edges x heads x basis is ever in memory.
"""

from typing import Any

import torch
from torch import Tensor

from dglframer.config import ModelConfig
from dglframer.encodings import SELF_DISTANCE_SQUARED, angle_functions, angle_matrix


def basis_sums(
    alpha_EH: Tensor,
    basis_EK: Tensor,
    u_E3: Tensor,
    d2_E: Tensor,
    frames_NH33: Tensor | None,
    edge_ptr: Tensor,
    model: ModelConfig,
) -> tuple[Tensor, Tensor]:
    """Sums over the edges of each atom: distance basis [N, H, K0] and cosine bases [N, 3, H, K].

    ``alpha_EH`` are the attention weights, ``basis_EK`` the distance basis of each edge, ``u_E3``
    and ``d2_E`` direction and squared length of r, ``frames_NH33`` the axes as rows. Without
    frames the second result has no heads.
    """
    axes_N3L = lanes(frames_NH33, u_E3, len(edge_ptr) - 1)
    dist_NHK, functions_NQL = _BasisSums.apply(
        alpha_EH, basis_EK, u_E3, d2_E, axes_N3L, edge_ptr, model
    )
    return dist_NHK, angle_sums(functions_NQL, model)


def lanes(frames_NH33: Tensor | None, u_E3: Tensor, n_atoms: int) -> Tensor:
    """[N, 3, L]: the components of every axis of an atom, lane = axis * H + head; L = 0 if no frames."""
    if frames_NH33 is None:
        return u_E3.new_empty(n_atoms, 3, 0)
    return frames_NH33.permute(0, 3, 2, 1).flatten(2).contiguous()


def angle_sums(functions_NQL: Tensor, model: ModelConfig) -> Tensor:
    """[N, 3, H, K]: sums of the cosine Gaussians from the sums of the functions that span them."""
    matrix_KQ = torch.from_numpy(angle_matrix(model, functions_NQL.dtype)).to(functions_NQL)
    return (functions_NQL.transpose(1, 2) @ matrix_KQ.T).unflatten(1, (3, -1))


class _BasisSums(torch.autograd.Function):
    """(alpha, ...) -> sums of the distance basis [N, H, K] and of the cosine functions [N, Q, L]."""

    @staticmethod
    def forward(ctx: Any, alpha, basis, u, d2, axes, edge_ptr, model):
        ctx.save_for_backward(alpha, basis, u, d2, axes, edge_ptr)
        ctx.model = model
        terms = angle_matrix(model, alpha.dtype).shape[1]
        n_atoms, heads = axes.shape[0], alpha.shape[1]
        dist = alpha.new_zeros(n_atoms, heads, basis.shape[1])
        functions = alpha.new_zeros(n_atoms, terms, axes.shape[2])
        for rows, edges in atom_chunks(edge_ptr, basis.shape[1] * heads):
            ptr = edge_ptr[rows.start : rows.stop + 1] - edges.start
            outer = alpha[edges].unsqueeze(2) * basis[edges].unsqueeze(1)
            dist[rows] = torch.segment_reduce(outer, "sum", offsets=ptr, axis=0)
            if not axes.shape[2]:
                continue
            weights = alpha[edges].repeat(1, 3) * directed(d2[edges])
            for q, value in enumerate(angle_functions(cosines(u, axes, edge_ptr, edges), model)):
                functions[rows, q] = torch.segment_reduce(
                    weights * value, "sum", offsets=ptr, axis=0
                )
        return dist, functions

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        alpha, basis, u, d2, axes, edge_ptr = ctx.saved_tensors
        grad_dist, grad_functions = (grad.contiguous() for grad in grads)
        grad_alpha = torch.empty_like(alpha)
        degree = edge_ptr.diff()
        for rows, edges in atom_chunks(edge_ptr, basis.shape[1] * alpha.shape[1]):
            centre = torch.repeat_interleave(
                torch.arange(rows.start, rows.stop, device=u.device), degree[rows]
            )
            grad_alpha[edges] = torch.einsum("ehk,ek->eh", grad_dist[centre], basis[edges])
            if not axes.shape[2]:
                continue
            total = torch.zeros_like(alpha[edges].repeat(1, 3))
            for q, value in enumerate(
                angle_functions(cosines(u, axes, edge_ptr, edges), ctx.model)
            ):
                total += grad_functions[centre, q] * value
            total *= directed(d2[edges])
            grad_alpha[edges] += total.unflatten(1, (3, -1)).sum(1)
        return grad_alpha, None, None, None, None, None, None


def directed(d2_E: Tensor) -> Tensor:
    """[E, 1]: 0 for the atom itself, which has no direction, 1 for every other image."""
    return (d2_E > SELF_DISTANCE_SQUARED).to(d2_E).unsqueeze(1)


def cosines(u_E3: Tensor, axes_N3L: Tensor, edge_ptr: Tensor, edges: slice) -> Tensor:
    """[e, L]: cosines between the directions of some edges and the axes of their centres."""
    index = torch.arange(edges.start, edges.stop, device=u_E3.device)
    centre = torch.searchsorted(edge_ptr, index, right=True) - 1
    return torch.einsum("ex,exl->el", u_E3[edges], axes_N3L[centre]).clamp(-1, 1)


def atom_chunks(edge_ptr: Tensor, values_per_edge: int) -> list[tuple[slice, slice]]:
    """Slices of whole atoms, and of their edges, that bound the memory of edge-wise products."""
    largest = 2**25 // values_per_edge
    ends = edge_ptr.tolist()
    chunks, first = [], 0
    for atom in range(1, len(ends)):
        if atom == len(ends) - 1 or ends[atom + 1] - ends[first] > largest:
            chunks.append((slice(first, atom), slice(ends[first], ends[atom])))
            first = atom
    return chunks
