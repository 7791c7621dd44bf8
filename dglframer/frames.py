"""Dynamic frames: three axes per atom and head, from the attention weights themselves (section 6).

Frames are constants for the gradient (paper, footnote): everything here runs without autograd.

**Ties.** Crystals are symmetric, and images of equal weight are the rule. Every choice that ties is
followed up: each first axis within ``tie_tolerance`` of the best, with each second axis within it
of its best, gives a candidate frame, and the frame with the largest ``view_key`` is taken, a number
that depends on nothing but what the atom sees in that frame. So the choice does not depend on the
order of atoms, the orientation or the cell. Tied frames that a rotation symmetry of the site
relates see the same, and it does not matter which of them is taken. ``frame_kernels`` does the same
with compiled loops.
"""

import torch
from torch import Tensor

from dglframer.encodings import SELF_DISTANCE_SQUARED

ALONG_AXIS = 0.9999  # images with |cos| to the first axis of this or more are no second axis
VIEW_DIRECTION = (0.42, 0.57, 0.71)  # generic: no symmetry maps it to itself


def tie_tolerance(dtype: torch.dtype) -> float:
    """Logarithms of weights that differ by less are equal: a few roundings of ``dtype``."""
    return 1e-5 if dtype == torch.float32 else 1e-10


@torch.no_grad()
def max_frames(logits_EH: Tensor, u_E3: Tensor, d2_E: Tensor, edge_ptr: Tensor) -> Tensor:
    """[N, H, 3, 3], rows e1, e2, e3: the ``max`` frames (docs/model.md, section 6).

    e1: direction of the image of largest weight (logit), the atom itself left out. e2: direction of
    the image with the largest (1 - |cos(e1, r)|) x weight, made perpendicular to e1; e3 = e1 x e2.
    An atom without neighbours gets the identity; where all images lie on one line, any e2 serves.
    Index C runs over candidates (atom, head, e1), P over (C, edge of the atom), F over (C, e2).
    """
    n_heads = logits_EH.shape[1]
    degree_N = edge_ptr.diff()
    centre_E = torch.repeat_interleave(torch.arange(len(degree_N), device=d2_E.device), degree_N)
    others_EH = logits_EH.masked_fill(d2_E.unsqueeze(1) <= SELF_DISTANCE_SQUARED, -torch.inf)
    best_NH = torch.segment_reduce(others_EH, "max", offsets=edge_ptr, axis=0)
    tolerance = tie_tolerance(logits_EH.dtype)
    tied_EH = others_EH >= (best_NH - tolerance)[centre_E]
    frames_NH33 = (
        torch.eye(3, dtype=u_E3.dtype, device=u_E3.device)
        .expand(len(degree_N), n_heads, 3, 3)
        .clone()
    )
    e1_C, head_C = (tied_EH & others_EH.isfinite()).nonzero(as_tuple=True)
    if not len(e1_C):
        return frames_NH33

    # every edge f of the centre of every candidate c
    c_P, f_P = expand(edge_ptr[centre_E[e1_C]], degree_N[centre_E[e1_C]])
    logit_P = others_EH[f_P, head_C[c_P]]
    cos_P = (u_E3[e1_C[c_P]] * u_E3[f_P]).sum(-1).abs()
    score_P = (logit_P + torch.log1p(-cos_P.clamp(max=ALONG_AXIS))).masked_fill(
        cos_P >= ALONG_AXIS, -torch.inf
    )
    best_C = torch.full((len(e1_C),), -torch.inf, dtype=u_E3.dtype, device=u_E3.device)
    best_C.scatter_reduce_(0, c_P, score_P, "amax")
    chosen_P = score_P.isfinite() & (score_P >= (best_C - tolerance)[c_P])
    lonely_C = best_C.isinf()

    c_F = torch.cat([c_P[chosen_P], lonely_C.nonzero().flatten()])
    helper_C3 = torch.nn.functional.one_hot(u_E3[e1_C[lonely_C]].abs().argmin(1), 3).to(u_E3)
    e2_F3 = torch.cat([u_E3[f_P[chosen_P]], helper_C3])
    frames_F33 = complete_frames(u_E3[e1_C[c_F]], e2_F3)
    slot_F = centre_E[e1_C[c_F]] * n_heads + head_C[c_F]
    keys_F = view_keys(frames_F33, slot_F, others_EH, best_NH, u_E3, edge_ptr)
    order_F = torch.argsort(keys_F, stable=True)  # the largest key is written last
    order_F = order_F[torch.argsort(slot_F[order_F], stable=True)]
    last_F = torch.ones_like(slot_F, dtype=torch.bool)
    last_F[:-1] = slot_F[order_F][1:] != slot_F[order_F][:-1]
    winner_F = order_F[last_F]
    frames_NH33.view(-1, 3, 3)[slot_F[winner_F]] = frames_F33[winner_F]
    return frames_NH33


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


def view_keys(
    frames_F33: Tensor,
    slot_F: Tensor,
    others_EH: Tensor,
    best_NH: Tensor,
    u_E3: Tensor,
    edge_ptr: Tensor,
) -> Tensor:
    """[F]: sum over images of (w - 0.001)_+ g(p), p = 0.42 x + 0.57 y + 0.71 z in the frame.

    w is the weight relative to the largest and g(p) = p^3 + p^4 + p^5 + p^6, an arbitrary function
    without symmetry: frames that see different things get different keys. A slot is one (atom,
    head); slots with a single frame need no key and get 0.
    """
    n_heads = others_EH.shape[1]
    keys_F = torch.zeros(len(slot_F), dtype=u_E3.dtype, device=u_E3.device)
    several = torch.bincount(slot_F, minlength=best_NH.numel())[slot_F] > 1
    tied = several.nonzero().flatten()
    if not len(tied):
        return keys_F
    atom_F, head_F = slot_F[tied] // n_heads, slot_F[tied] % n_heads
    f_P, e_P = expand(edge_ptr[atom_F], edge_ptr[atom_F + 1] - edge_ptr[atom_F])
    relative_P = others_EH[e_P, head_F[f_P]] - best_NH[atom_F, head_F][f_P]
    weight_P = (relative_P.exp() - 1e-3).clamp(min=0)
    direction_F3 = torch.einsum(
        "k,fkx->fx", torch.tensor(VIEW_DIRECTION).to(frames_F33), frames_F33[tied]
    )
    p_P = (direction_F3[f_P] * u_E3[e_P]).sum(-1)
    value_P = weight_P * p_P**3 * (1 + p_P * (1 + p_P * (1 + p_P)))
    keys_F[tied] = torch.zeros_like(keys_F[tied]).index_add_(0, f_P, value_P)
    return keys_F
