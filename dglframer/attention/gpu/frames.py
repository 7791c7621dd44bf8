"""The search for ``max`` frames on a GPU, compiled by Triton; ``attention.frames`` states the rule.

The heads of an atom search side by side: what differs between them (edges, axes, scores) are vectors
[HP], and loops run while any head has something left to do. Pairs of tied images (e, f) are taken up
in the order of the edges, the axes of their frames held, at most HELD for each lane. What an axis
sees is how the weight is distributed over the cosines to it: of axes for which that is the same, known
by two means of powers of it (the key), one is kept, with the shares of all. (Images that the symmetry
of a site exchanges then have the right gradient in their sum, not each for itself.) Where a lane has no
room for one more, an axis gives way; ``next_axes`` hands out those, and in the end all that are left.
So the average is over every tie, however many are held.

A vector in space is a tuple of three tensors. TIE is the width of ties, 0 to take the first of the best.
"""

from typing import Any, NamedTuple

import triton
import triton.language as tl

from dglframer.attention import constants
from dglframer.attention.gpu.bases import (
    NEVER,
    across,
    axis_cosines,
    cross,
    dot,
    lanes,
    least_along,
    score,
    to_lanes,
)

SELF_DISTANCE_SQUARED = tl.constexpr(constants.SELF_DISTANCE_SQUARED)
# Edges of one tile: of the search [BLOCK, HP], and of the keys [KEY_BLOCK, 4 HP].
BLOCK, KEY_BLOCK = tl.constexpr(32), tl.constexpr(16)


class Atom(NamedTuple):
    """The atom whose frames are sought, with all its heads."""

    u_E3: Any  # pointers
    d2_E: Any
    logits_EH: Any
    first: Any  # its edges: from this one
    last: Any  # to before this one
    best_H: Any  # the largest logit of other images
    head_H: Any  # 0 .. HP - 1


class Search(NamedTuple):
    """How far each head has come."""

    e_H: Any  # the edges of the frame that is next; e = last: there is none
    f_H: Any
    e1: Any  # the first axis of that frame
    second_H: Any  # the score of the best f beside this e
    total_H: Any  # sum of the shares of all e
    total_f_H: Any  # sum of the shares of all f beside this e


class HeldAxes(NamedTuple):
    """Axes [HELD, 4 HP] that wait for others which see the same; a share of 0 marks a free place."""

    x_VL: Any
    y_VL: Any
    z_VL: Any
    odd_VL: Any  # the key
    even_VL: Any
    share_VL: Any


@triton.jit
def start_search(atom, H: tl.constexpr, TIE: tl.constexpr, HELD: tl.constexpr):
    """(Search, HeldAxes) for the first call of ``next_axes``."""
    none_H = tl.zeros_like(atom.best_H)
    total_H = none_H
    if TIE > 0:
        for start in range(atom.first, atom.last, BLOCK):
            logit_EH = other_logits(atom, start, H)[1]
            total_H += tl.sum(tie_share(atom.best_H[None] - logit_EH, TIE), 0)
    before_H = tl.zeros_like(atom.head_H) + atom.first - 1
    done_H = tl.zeros_like(atom.head_H) + atom.last
    search = Search(before_H, done_H, (none_H, none_H, none_H), none_H, total_H, none_H)
    free_VL = tl.zeros((HELD, 4 * atom.head_H.shape[0]), atom.best_H.dtype)
    held = HeldAxes(free_VL, free_VL, free_VL, free_VL, free_VL, free_VL)
    return next_frames(atom, search, H, TIE), held


@triton.jit
def next_axes(
    atom, search, held, H: tl.constexpr, TIE: tl.constexpr, HELD: tl.constexpr,
    SAME: tl.constexpr,
):  # fmt: skip
    """(Search, HeldAxes, axes (x_L, y_L, z_L), their shares [L], whether there is more to come).

    A share of 0 marks a lane that sees nothing this time. Keys within ``SAME`` are the same.
    """
    place_V1 = tl.arange(0, HELD)[:, None]
    x_L, y_L, z_L, share_L = taken_out(held, place_V1 == 0)
    crowded = 0
    while (tl.min(search.e_H, 0) < atom.last) & (crowded == 0):
        axis, new_L = frame(atom, search, H, TIE)
        odd_L, even_L = tl.zeros_like(new_L), tl.zeros_like(new_L)
        if tl.min(tl.where(new_L > 0, new_L, 1.0), 0) < 1:  # a head has other frames beside this
            odd_L, even_L = keys(atom, axis, H)
        is_used_VL = held.share_VL > 0
        distance_VL = tl.maximum(
            tl.abs(held.odd_VL - odd_L[None]), tl.abs(held.even_VL - even_L[None])
        )
        same_L = tl.min(tl.where(is_used_VL & (distance_VL <= SAME), place_V1, HELD), 0)
        free_L = tl.min(tl.where(is_used_VL, HELD, place_V1), 0)
        place_L = tl.where(same_L < HELD, same_L, tl.where(free_L < HELD, free_L, 0))
        here_VL = (place_V1 == place_L[None]) & (new_L > 0)[None]
        gives_way_VL = here_VL & (same_L == HELD)[None]
        x_L, y_L, z_L, share_L = taken_out(held, gives_way_VL)
        crowded = (tl.max(share_L, 0) > 0).to(tl.int32)
        held = HeldAxes(
            tl.where(gives_way_VL, axis[0][None], held.x_VL),
            tl.where(gives_way_VL, axis[1][None], held.y_VL),
            tl.where(gives_way_VL, axis[2][None], held.z_VL),
            tl.where(gives_way_VL, odd_L[None], held.odd_VL),
            tl.where(gives_way_VL, even_L[None], held.even_VL),
            tl.where(gives_way_VL, 0.0, held.share_VL) + tl.where(here_VL, new_L[None], 0.0),
        )
        search = next_frames(atom, search, H, TIE)
    if crowded == 0:
        full_L = tl.min(tl.where(held.share_VL > 0, place_V1, HELD), 0)
        out_VL = place_V1 == full_L[None]
        x_L, y_L, z_L, share_L = taken_out(held, out_VL)
        held = HeldAxes(
            held.x_VL,
            held.y_VL,
            held.z_VL,
            held.odd_VL,
            held.even_VL,
            tl.where(out_VL, 0.0, held.share_VL),
        )
    more = (tl.min(search.e_H, 0) < atom.last) | (tl.max(tl.max(held.share_VL, 0), 0) > 0)
    return search, held, (x_L, y_L, z_L), share_L, more


@triton.jit
def taken_out(held, chosen_VL):
    """(x, y, z, share) [L] of the one held axis of each lane that is chosen; 0 where none is."""
    x_L = tl.sum(tl.where(chosen_VL, held.x_VL, 0.0), 0)
    y_L = tl.sum(tl.where(chosen_VL, held.y_VL, 0.0), 0)
    z_L = tl.sum(tl.where(chosen_VL, held.z_VL, 0.0), 0)
    return x_L, y_L, z_L, tl.sum(tl.where(chosen_VL, held.share_VL, 0.0), 0)


@triton.jit
def next_frames(atom, search, H: tl.constexpr, TIE: tl.constexpr):
    """The search, each head one frame further."""
    first, last = atom.first, atom.last
    e_H, e1, second_H, total_f_H = search.e_H, search.e1, search.second_H, search.total_f_H
    if TIE > 0:
        f_H = next_second(atom, e1, second_H, search.f_H + 1, H, TIE)
    else:
        f_H = tl.zeros_like(atom.head_H) + last
    spent_H = (f_H == last) & (e_H < last)
    if tl.max(spent_H.to(tl.int32), 0) > 0:
        if TIE > 0:
            e_H = tl.where(spent_H, next_first(atom, e_H + 1, H, TIE), e_H)
        else:
            e_H = tl.where(e_H < first, next_first(atom, e_H + 1, H, TIE), last)
        e1 = direction(atom, e_H)
        second_H, best_f_H = best_second(atom, e1, H)
        if TIE > 0:
            total_f_H = second_total(atom, e1, second_H, H, TIE)
            found_H = next_second(atom, e1, second_H, tl.zeros_like(atom.head_H) + first, H, TIE)
            f_H = tl.where(spent_H, found_H, f_H)
        else:
            f_H = best_f_H
    return Search(e_H, f_H, e1, second_H, search.total_H, total_f_H)


@triton.jit
def next_first(atom, start_H, H: tl.constexpr, TIE: tl.constexpr):
    """The first edge from ``start_H`` on whose logit ties with the best; ``last`` if none does."""
    last = atom.last
    found_H = tl.zeros_like(atom.head_H) + last
    start = tl.min(start_H, 0)
    while (start < last) & (tl.max(found_H, 0) == last):
        e, logit_EH = other_logits(atom, start, H)
        gap_EH = atom.best_H[None] - logit_EH
        tied_EH = gap_EH < TIE if TIE > 0 else gap_EH == 0
        tied_EH = tied_EH & (e[:, None] >= start_H[None])
        found_H = tl.minimum(found_H, tl.min(tl.where(tied_EH, e[:, None], last), 0))
        start += BLOCK
    return found_H


@triton.jit
def next_second(atom, a, second_H, start_H, H: tl.constexpr, TIE: tl.constexpr):
    """The first edge from ``start_H`` on whose score beside ``a`` ties with the best, or ``last``."""
    last = atom.last
    found_H = tl.zeros_like(atom.head_H) + last
    start = tl.min(start_H, 0)
    while (start < last) & (tl.max(found_H, 0) == last):
        e, score_EH = scores(atom, a, start, H)
        tied_EH = (second_H[None] - score_EH < TIE) & (e[:, None] >= start_H[None])
        found_H = tl.minimum(found_H, tl.min(tl.where(tied_EH, e[:, None], last), 0))
        start += BLOCK
    return found_H


@triton.jit
def best_second(atom, a, H: tl.constexpr):
    """(largest score beside ``a``, first edge that has it); (0, last) if all images lie along it."""
    last = atom.last
    max_H = tl.full((atom.head_H.shape[0],), NEVER, atom.best_H.dtype)
    f_H = tl.zeros_like(atom.head_H) + last
    for start in range(atom.first, last, BLOCK):
        f, score_EH = scores(atom, a, start, H)
        top_H = tl.max(score_EH, 0)
        place_H = tl.min(tl.where(score_EH == top_H[None], f[:, None], last), 0)
        f_H = tl.where(top_H > max_H, place_H, f_H)
        max_H = tl.maximum(max_H, top_H)
    return tl.where(f_H < last, max_H, 0.0), f_H


@triton.jit
def second_total(atom, a, second_H, H: tl.constexpr, TIE: tl.constexpr):
    """[HP]: sum of the shares of second images beside ``a``."""
    total_H = tl.zeros_like(second_H)
    for start in range(atom.first, atom.last, BLOCK):
        score_EH = scores(atom, a, start, H)[1]
        total_H += tl.sum(tie_share(second_H[None] - score_EH, TIE), 0)
    return total_H


@triton.jit
def frame(atom, search, H: tl.constexpr, TIE: tl.constexpr):
    """(axis (x, y, z), share) [L] of the frame that is next; heads without one have share 0."""
    logits_EH, last, h = atom.logits_EH, atom.last, atom.head_H
    e_H, f_H, total_H, total_f_H = search.e_H, search.f_H, search.total_H, search.total_f_H
    is_pair_H = f_H < last  # else every image is on one line, and any perpendicular serves
    is_next_H = (e_H < last) & (h < H)
    share_H = tl.where(is_next_H, tl.full((h.shape[0],), 1.0, atom.best_H.dtype), 0.0)
    if TIE > 0:
        logit_H = tl.load(logits_EH + e_H * H + h, mask=is_next_H, other=0.0)
        share_H *= tie_share(atom.best_H - logit_H, TIE) / tl.where(is_next_H, total_H, 1.0)
        logit_H = tl.load(logits_EH + f_H * H + h, mask=is_next_H & is_pair_H, other=0.0)
        cosine_H = dot(search.e1, direction(atom, f_H))
        share_f_H = tie_share(search.second_H - score(logit_H, cosine_H), TIE)
        share_H *= tl.where(is_pair_H, share_f_H / tl.where(is_pair_H, total_f_H, 1.0), 1.0)
    axis = lanes(h.shape[0])[1]
    f_L = to_lanes(f_H)
    a = direction(atom, to_lanes(e_H))
    f = direction(atom, f_L)
    least = least_along(a)
    b = across(
        a,
        (
            tl.where(f_L < last, f[0], least[0]),
            tl.where(f_L < last, f[1], least[1]),
            tl.where(f_L < last, f[2], least[2]),
        ),
    )
    c = cross(a, b)
    x_L = tl.where(axis == 0, a[0], tl.where(axis == 1, b[0], c[0]))
    y_L = tl.where(axis == 0, a[1], tl.where(axis == 1, b[1], c[1]))
    z_L = tl.where(axis == 0, a[2], tl.where(axis == 1, b[2], c[2]))
    return (x_L, y_L, z_L), tl.where(axis < 3, to_lanes(share_H), 0.0)


@triton.jit
def keys(atom, axis, H: tl.constexpr):
    """(odd, even): means of c + c^3 + ... + c^9 and c^2 + ... + c^10 over other images, by weight.

    c = e . u; the CPU's ``store_key`` says why these powers.
    """
    last = atom.last
    best_L = to_lanes(atom.best_H)
    head = lanes(atom.head_H.shape[0])[0]
    odd_L, even_L, total_L = tl.zeros_like(best_L), tl.zeros_like(best_L), tl.zeros_like(best_L)
    for start in range(atom.first, last, KEY_BLOCK):
        e = start + tl.arange(0, KEY_BLOCK)
        directed = tl.load(atom.d2_E + e, mask=e < last, other=0.0) > SELF_DISTANCE_SQUARED
        is_el = directed[:, None] & (head < H)[None]
        logit_EL = tl.load(atom.logits_EH + e[:, None] * H + head[None], mask=is_el, other=NEVER)
        cosine_EL = axis_cosines(atom.u_E3, e, e < last, axis)
        square_EL = cosine_EL * cosine_EL
        weight_EL = tl.exp(logit_EL - best_L[None])
        high_EL = 1 + square_EL * (1 + square_EL * (1 + square_EL))
        both_EL = weight_EL * cosine_EL * (1 + square_EL * high_EL)
        total_L += tl.sum(weight_EL, 0)
        odd_L += tl.sum(both_EL, 0)
        even_L += tl.sum(both_EL * cosine_EL, 0)
    total_L = tl.where(total_L > 0, total_L, 1.0)
    return odd_L / total_L, even_L / total_L


@triton.jit
def other_logits(atom, start, H: tl.constexpr):
    """(edges, logits [BLOCK, HP]) from ``start`` on: minus infinity for the atom itself and the end."""
    h = atom.head_H
    e = start + tl.arange(0, BLOCK)
    directed = tl.load(atom.d2_E + e, mask=e < atom.last, other=0.0) > SELF_DISTANCE_SQUARED
    place_EH, is_eh = e[:, None] * H + h[None], directed[:, None] & (h < H)[None]
    return e, tl.load(atom.logits_EH + place_EH, mask=is_eh, other=NEVER)


@triton.jit
def scores(atom, a, start, H: tl.constexpr):
    """(edges, scores [BLOCK, HP] for a second image beside ``a``) from ``start`` on."""
    e, logit_EH = other_logits(atom, start, H)
    return e, score(logit_EH, axis_cosines(atom.u_E3, e, e < atom.last, a))


@triton.jit
def tie_share(gap, TIE: tl.constexpr):
    """``frames.tie_share``."""
    rest = 1 - (gap / TIE) * (gap / TIE)
    return tl.where(gap < TIE, rest * rest, 0.0)


@triton.jit
def direction(atom, e_H):
    """The direction of one edge of each head, 0 past the end."""
    u_E3, is_edge_H = atom.u_E3, e_H < atom.last
    x_H = tl.load(u_E3 + 3 * e_H, mask=is_edge_H, other=0.0)
    y_H = tl.load(u_E3 + 3 * e_H + 1, mask=is_edge_H, other=0.0)
    return x_H, y_H, tl.load(u_E3 + 3 * e_H + 2, mask=is_edge_H, other=0.0)
