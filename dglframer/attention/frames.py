"""Dynamic frames: axes per atom and head, from the attention weights themselves (§6).

Frames are constants for the gradient (paper, footnote): everything here runs without autograd.

**Ties.** Crystals are symmetric, and images of equal weight are the rule. ``average`` follows up
every choice within ``tie_width`` of the best and averages the encodings over the frames found, with
shares that fall smoothly to zero at that width: the result is a function of the crystal alone, and a
smooth one as a tie forms. ``first`` takes the first best edge, as the released code would without
its noise; it depends on the order of the atoms and on rounding. This module is the definition;
the compiled backends merge tied axes that see the same, which changes nothing.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dglframer.attention.constants import ALONG_AXIS, SELF_DISTANCE_SQUARED
from dglframer.graphs.batch import pointers


@dataclass(frozen=True)
class WeightedAxes:
    """The axes that each atom looks along, with the share of each in the average over tied frames.

    Atom i has the rows ptr[i] <= p < ptr[i + 1]. A row has L = 3 H columns, column = axis * H + head,
    with the components ``axes_P3L`` and the shares ``share_PL``. The shares of a column add to one over
    the rows of an atom; a share of zero marks a column without an axis in that row.
    """

    ptr: Tensor  # int64 [N + 1]
    axes_P3L: Tensor
    share_PL: Tensor


def single_frames(frames_NH33: Tensor) -> WeightedAxes:
    """One frame for each atom and head (rows are the axes; H = 0 without frames)."""
    axes_N3L = frames_NH33.permute(0, 3, 2, 1).flatten(2).contiguous()
    ptr = torch.arange(len(axes_N3L) + 1, device=axes_N3L.device)
    return WeightedAxes(ptr, axes_N3L, torch.ones_like(axes_N3L[:, 0]))


def same_in_all_heads(axes: WeightedAxes, heads: int) -> WeightedAxes:
    """The axes of one head for every head."""
    return WeightedAxes(
        axes.ptr,
        axes.axes_P3L.repeat_interleave(heads, 2),
        axes.share_PL.repeat_interleave(heads, 1),
    )


def tie_share(gap: Tensor, width: float) -> Tensor:
    """(1 - (gap / width)^2)^2, 0 from ``width`` on: level at the best, and where it ends."""
    return (1 - (gap / width).clamp(max=1).square()).square()


@torch.no_grad()
def max_axes(
    logits_EH: Tensor, u_E3: Tensor, d2_E: Tensor, edge_ptr: Tensor, tie_width: float | None
) -> WeightedAxes:
    """``max`` frames (§6.1); ``tie_width`` None takes the first of the best.

    e1: direction of the image of largest weight (logit), the atom itself left out. e2: direction of
    the image with the largest (1 - |cos(e1, r)|) x weight, made perpendicular to e1; e3 = e1 x e2.
    An atom without neighbours gets the identity; where all images lie on one line, any e2 serves.
    Index C runs over candidates (atom, head, e1), P over (C, edge of the atom), F over (C, e2).
    """
    heads = logits_EH.shape[1]
    degree_N = edge_ptr.diff()
    centre_E = torch.repeat_interleave(torch.arange(len(degree_N), device=d2_E.device), degree_N)
    others_EH = logits_EH.masked_fill(d2_E.unsqueeze(1) <= SELF_DISTANCE_SQUARED, -torch.inf)
    place_EH = centre_E.unsqueeze(1) * heads + torch.arange(heads, device=d2_E.device)
    e1_C, head_C = others_EH.isfinite().nonzero(as_tuple=True)
    place_C = place_EH[e1_C, head_C]
    kept, share_C = tied(others_EH[e1_C, head_C], place_C, len(degree_N) * heads, tie_width)
    e1_C, head_C, place_C = e1_C[kept], head_C[kept], place_C[kept]

    # every edge f of the centre of every candidate c
    c_P, f_P = expand(edge_ptr[centre_E[e1_C]], degree_N[centre_E[e1_C]])
    cos_P = (u_E3[e1_C[c_P]] * u_E3[f_P]).sum(-1).abs()
    score_P = others_EH[f_P, head_C[c_P]] + torch.log1p(-cos_P.clamp(max=ALONG_AXIS))
    across = (cos_P < ALONG_AXIS) & score_P.isfinite()
    c_P, f_P, score_P = c_P[across], f_P[across], score_P[across]
    kept, share_P = tied(score_P, c_P, len(e1_C), tie_width)
    lonely = torch.bincount(c_P, minlength=len(e1_C)) == 0  # all images on one line with e1
    helper_C3 = torch.nn.functional.one_hot(u_E3[e1_C[lonely]].abs().argmin(1), 3).to(u_E3)

    c_F = torch.cat([c_P[kept], lonely.nonzero().flatten()])
    e2_F3 = torch.cat([u_E3[f_P[kept]], helper_C3])
    share_F = share_C[c_F] * torch.cat([share_P, share_P.new_ones(len(helper_C3))])
    frames_F33 = complete_frames(u_E3[e1_C[c_F]], e2_F3)
    alone = torch.ones(len(degree_N) * heads, dtype=torch.bool, device=d2_E.device)
    alone[place_C] = False
    identity = torch.eye(3).to(u_E3).expand(int(alone.sum()), 3, 3)
    return collect(
        torch.cat([frames_F33, identity]),
        torch.cat([share_F, share_F.new_ones(len(identity))]),
        torch.cat([place_C[c_F], alone.nonzero().flatten()]),
        len(degree_N),
        heads,
    )


def tied(score_X: Tensor, group_X: Tensor, groups: int, width: float | None) -> tuple[Tensor, ...]:
    """(which of X are kept, their shares): the best of each group and what ties with it.

    Groups are ascending numbers below ``groups``; with ``width`` None the first best alone is kept.
    """
    best_G = score_X.new_full((groups,), -torch.inf)
    best_G.scatter_reduce_(0, group_X, score_X, "amax")
    gap_X = best_G[group_X] - score_X
    if width is None:
        first_G = torch.full_like(best_G, len(score_X), dtype=torch.int64)
        best_X = (gap_X == 0).nonzero().flatten()
        first_G.scatter_reduce_(0, group_X[best_X], best_X, "amin")
        kept_X = first_G[first_G < len(score_X)].sort().values
        return kept_X, score_X.new_ones(len(kept_X))
    kept_X = (gap_X < width).nonzero().flatten()
    share_X = tie_share(gap_X[kept_X], width)
    total_G = score_X.new_zeros(groups).index_add_(0, group_X[kept_X], share_X)
    return kept_X, share_X / total_G[group_X[kept_X]]


def expand(start_C: Tensor, count_C: Tensor) -> tuple[Tensor, Tensor]:
    """(c_P, f_P): for each c the numbers start_C[c] ... start_C[c] + count_C[c] - 1."""
    c_P = torch.repeat_interleave(torch.arange(len(count_C), device=count_C.device), count_C)
    before_C = count_C.cumsum(0) - count_C
    return c_P, torch.arange(len(c_P), device=c_P.device) + (start_C - before_C)[c_P]


def complete_frames(e1_F3: Tensor, u_F3: Tensor) -> Tensor:
    """[F, 3, 3]: e1, the part of u perpendicular to e1 (normalised), and their cross product."""
    e2_F3 = u_F3 - (e1_F3 * u_F3).sum(-1, keepdim=True) * e1_F3
    e2_F3 = e2_F3 / e2_F3.norm(dim=-1, keepdim=True)
    return torch.stack([e1_F3, e2_F3, torch.linalg.cross(e1_F3, e2_F3)], 1)


def collect(
    frames_F33: Tensor, share_F: Tensor, place_F: Tensor, atoms: int, heads: int
) -> WeightedAxes:
    """The axes of any number of frames for each place = atom * heads + head."""
    order_F = torch.argsort(place_F, stable=True)
    frames_F33, share_F, place_F = frames_F33[order_F], share_F[order_F], place_F[order_F]
    count_S = torch.bincount(place_F, minlength=atoms * heads)
    row_in_atom_F = (
        torch.arange(len(place_F), device=place_F.device) - (count_S.cumsum(0) - count_S)[place_F]
    )
    rows_N = count_S.view(atoms, heads).amax(1)
    ptr = pointers(rows_N)
    row_F = ptr[place_F // heads] + row_in_atom_F
    axes_P3AH = frames_F33.new_zeros(int(ptr[-1]), 3, 3, heads)
    share_PAH = frames_F33.new_zeros(int(ptr[-1]), 3, heads)
    axes_P3AH[row_F, :, :, place_F % heads] = frames_F33.transpose(1, 2)
    share_PAH[row_F, :, place_F % heads] = share_F.unsqueeze(1)
    return WeightedAxes(ptr, axes_P3AH.flatten(2), share_PAH.flatten(1))
