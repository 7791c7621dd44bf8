"""The inner loops of attention on a GPU, compiled by Triton; ``attention`` launches them.

One program, of one warp, per atom and all its heads: it streams over the edges of the atom (or,
in ``source_gradients``, over the edges that leave it) in tiles of BLOCK, and every number is written
by one program and added in one order, so that results repeat to the bit. Sums are of the inputs'
type. Pointers are named after what they point to. Tiles have powers of two as sizes: HP, DP, KP
are the paddings of the H heads, D features of a head and K distances; what is beyond is masked.
What one thread stores and another loads later on has a barrier between the two.

Edges whose weight is below exp(-GAP) of the max in every head are left out, but for the search
for frames: ``matters_E`` lists the others, those of an atom from its first edge on.
"""

import triton
import triton.language as tl

from dglframer.attention.gpu.bases import (
    NEVER,
    add_moments,
    axis_cosines,
    clamped,
    clenshaw,
    distance_basis,
    lanes_in_memory,
    over_axes,
    product_sum,
    to_lanes,
    zeros,
)
from dglframer.attention.gpu.frames import SELF_DISTANCE_SQUARED, Atom, next_axes, start_search

KEEP_BLOCK = tl.constexpr(32)  # edges of a tile [KEEP_BLOCK, HP]


@triton.jit
def attend(
    ptr, src_E, u_E3, d2_E, q_NHD, k_NHD, v_NHD, decay_NH,
    logits_EH, softmax_N3H, matters_E, count_N, y_NHD, dist_NHK, cheb_NQL,
    SCALE: tl.constexpr, GAP: tl.constexpr, STEP: tl.constexpr, WIDTH: tl.constexpr,
    H: tl.constexpr, D: tl.constexpr, K: tl.constexpr, Q: tl.constexpr,
    HP: tl.constexpr, DP: tl.constexpr, KP: tl.constexpr,
    FRAMES: tl.constexpr, TIE: tl.constexpr, SAME: tl.constexpr, HELD: tl.constexpr,
    BLOCK: tl.constexpr, BASES_BLOCK: tl.constexpr,
):  # fmt: skip
    """The forward pass of one block: three sums over the edges of an atom, in an average over axes.

    y = sum alpha v, dist = sum alpha b_dist, cheb = sum alpha T_q(e . u), to which the atom itself
    adds nothing; softmax = the max logit, 1 / sum of exp, the max logit of other images.
    """
    i = tl.program_id(0)
    first, last = edge_range(ptr, i)
    h, hd, is_head, is_hd = heads_and_features(H, D, HP, DP)
    max_H, best_H = store_logits(
        src_E, d2_E, q_NHD, k_NHD, decay_NH, logits_EH, i, first, last, SCALE, H, D, HP, DP, BLOCK
    )
    tl.debug_barrier()
    count, total_H = keep(logits_EH, matters_E, first, last, max_H, h, H, GAP)
    tl.debug_barrier()
    inverse_H = 1 / total_H
    tl.store(count_N + i, count)
    softmax = softmax_N3H + i * 3 * H + h
    tl.store(softmax, max_H, mask=is_head)
    tl.store(softmax + H, inverse_H, mask=is_head)
    tl.store(softmax + 2 * H, best_H, mask=is_head)

    k = tl.arange(0, KP)
    y_HD = tl.zeros((HP, DP), max_H.dtype)
    dist_HK = tl.zeros((HP, KP), max_H.dtype)
    for t in range(0, count, BASES_BLOCK):
        e, here = kept_edges(matters_E, first, t, count, BASES_BLOCK)
        alpha_EH = weights(logits_EH, e, here, max_H, inverse_H, h, H)
        j = tl.load(src_E + e, mask=here, other=0).to(tl.int32)
        place_EHD, is_place = (
            j[:, None, None] * (H * D) + hd[None],
            here[:, None, None] & is_hd[None],
        )
        v_EHD = tl.load(v_NHD + place_EHD, mask=is_place, other=0.0)
        y_HD += tl.sum(alpha_EH[:, :, None] * v_EHD, 0)
        d2 = tl.load(d2_E + e, mask=here, other=0.0)
        basis_EK = distance_basis(d2, k, STEP, WIDTH)
        dist_HK += tl.sum(alpha_EH[:, :, None] * basis_EK[:, None], 0)
    tl.store(y_NHD + i * H * D + hd, y_HD, mask=is_hd)
    is_hk = is_head[:, None] & (k < K)[None]
    tl.store(dist_NHK + (i * H + h[:, None]) * K + k[None], dist_HK, mask=is_hk)

    if FRAMES:
        atom = Atom(u_E3, d2_E, logits_EH, first, last, best_H, h)
        search, held = start_search(atom, H, TIE, HELD)
        head, lane, is_lane = lanes_in_memory(H, HP)
        max_L, inverse_L = to_lanes(max_H), to_lanes(inverse_H)
        rounds = 0
        more = True
        while more:
            search, held, axis, share_L, more = next_axes(atom, search, held, H, TIE, HELD, SAME)
            share_L *= inverse_L
            moments_QL = zeros(max_L, Q)
            for t in range(0, count, BASES_BLOCK):
                e, here = kept_edges(matters_E, first, t, count, BASES_BLOCK)
                directed = tl.load(d2_E + e, mask=here, other=0.0) > SELF_DISTANCE_SQUARED
                is_el = directed[:, None] & is_lane[None]
                logit_EL = tl.load(logits_EH + e[:, None] * H + head[None], mask=is_el, other=NEVER)
                alpha_EL = tl.exp(logit_EL - max_L[None]) * share_L[None]
                cosine_EL = clamped(axis_cosines(u_E3, e, here, axis))
                moments_QL = add_moments(moments_QL, cosine_EL, alpha_EL, Q)
            for q in tl.static_range(Q):
                place_L = cheb_NQL + (i * Q + q) * 3 * H + lane
                so_far_L = tl.load(place_L, mask=is_lane & (rounds > 0), other=0.0)
                tl.store(place_L, so_far_L + moments_QL[q], mask=is_lane)
            rounds += 1


@triton.jit
def centre_gradients(
    ptr, src_E, u_E3, d2_E, k_NHD, v_NHD, logits_EH, softmax_N3H, matters_E, count_N,
    y_NHD, dist_NHK, cheb_NQL, grad_y_NHD, grad_dist_NHK, grad_cheb_NQL,
    grad_logits_EH, grad_q_NHD, grad_decay_NH,
    SCALE: tl.constexpr, GAP: tl.constexpr, STEP: tl.constexpr, WIDTH: tl.constexpr,
    H: tl.constexpr, D: tl.constexpr, K: tl.constexpr, Q: tl.constexpr,
    HP: tl.constexpr, DP: tl.constexpr, KP: tl.constexpr,
    FRAMES: tl.constexpr, TIE: tl.constexpr, SAME: tl.constexpr, HELD: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradients of the logits, of q and of the decay, from those of y, dist and cheb.

    The gradient of a logit is alpha (g - mean), g the gradient of alpha; the mean of g under alpha
    is the sum of results times their gradients, known before the edges are visited. The part of g
    that comes from cheb is added up axis by axis where the gradient of the logits goes in the end.
    """
    i = tl.program_id(0)
    first, last = edge_range(ptr, i)
    count = tl.load(count_N + i)
    h, hd, is_head, is_hd = heads_and_features(H, D, HP, DP)
    k = tl.arange(0, KP)
    max_H, inverse_H = load_softmax(softmax_N3H, i, h, is_head, H)
    grad_y_HD = tl.load(grad_y_NHD + i * H * D + hd, mask=is_hd, other=0.0)
    mean_H = tl.sum(grad_y_HD * tl.load(y_NHD + i * H * D + hd, mask=is_hd, other=0.0), 1)
    place_KH = (i * H + h[None]) * K + k[:, None]
    is_kh = (k < K)[:, None] & is_head[None]
    grad_dist_KH = tl.load(grad_dist_NHK + place_KH, mask=is_kh, other=0.0)
    mean_H += tl.sum(grad_dist_KH * tl.load(dist_NHK + place_KH, mask=is_kh, other=0.0), 0)
    if FRAMES:
        _, lane, is_lane = lanes_in_memory(H, HP)
        mean_L = product_sum(cheb_NQL, grad_cheb_NQL, i, lane, is_lane, H, Q)
        mean_H += tl.sum(over_axes(mean_L[None], HP), 0)
        best_H = tl.load(softmax_N3H + (i * 3 + 2) * H + h, mask=is_head, other=0.0)
        atom = Atom(u_E3, d2_E, logits_EH, first, last, best_H, h)
        search, held = start_search(atom, H, TIE, HELD)
        rounds = 0
        more = True
        while more:
            search, held, axis, share_L, more = next_axes(atom, search, held, H, TIE, HELD, SAME)
            for t in range(0, count, BLOCK):
                e, here = kept_edges(matters_E, first, t, count, BLOCK)
                cosine_EL = clamped(axis_cosines(u_E3, e, here, axis))
                total_EL = clenshaw(grad_cheb_NQL, i, cosine_EL, lane, is_lane, H, Q)
                grad_EH = over_axes(total_EL * share_L[None], HP)
                d2 = tl.load(d2_E + e, mask=here, other=0.0)
                grad_EH = tl.where((d2 > SELF_DISTANCE_SQUARED)[:, None], grad_EH, 0.0)
                place_EH, is_eh = e[:, None] * H + h[None], here[:, None] & is_head[None]
                so_far = is_eh & (rounds > 0)
                grad_EH += tl.load(grad_logits_EH + place_EH, mask=so_far, other=0.0)
                tl.store(grad_logits_EH + place_EH, grad_EH, mask=is_eh)
            rounds += 1
            tl.debug_barrier()

    grad_q_HD = tl.zeros((HP, DP), grad_y_HD.dtype)
    grad_decay_H = tl.zeros((HP,), grad_y_HD.dtype)
    for t in range(0, count, BLOCK):
        e, here = kept_edges(matters_E, first, t, count, BLOCK)
        j = tl.load(src_E + e, mask=here, other=0).to(tl.int32)
        place_EHD, is_place = (
            j[:, None, None] * (H * D) + hd[None],
            here[:, None, None] & is_hd[None],
        )
        d2 = tl.load(d2_E + e, mask=here, other=0.0)
        place_EH, is_eh = e[:, None] * H + h[None], here[:, None] & is_head[None]
        v_EHD = tl.load(v_NHD + place_EHD, mask=is_place, other=0.0)
        grad_EH = tl.sum(v_EHD * grad_y_HD[None], 2) - mean_H[None]
        grad_EH += tl.dot(
            distance_basis(d2, k, STEP, WIDTH), grad_dist_KH, input_precision="tf32x3"
        )
        if FRAMES:
            grad_EH += tl.load(grad_logits_EH + place_EH, mask=is_eh, other=0.0)
        alpha_EH = weights(logits_EH, e, here, max_H, inverse_H, h, H)
        grad_EH *= alpha_EH
        tl.store(grad_logits_EH + place_EH, grad_EH, mask=is_eh)
        grad_decay_H -= tl.sum(grad_EH * d2[:, None], 0)
        k_EHD = tl.load(k_NHD + place_EHD, mask=is_place, other=0.0)
        grad_q_HD += tl.sum(grad_EH[:, :, None] * k_EHD, 0)
    tl.store(grad_q_NHD + i * H * D + hd, SCALE * grad_q_HD, mask=is_hd)
    tl.store(grad_decay_NH + i * H + h, grad_decay_H, mask=is_head)


@triton.jit
def source_gradients(
    source_ptr, order_E, dst_E, q_NHD, logits_EH, softmax_N3H, grad_y_NHD, grad_logits_EH,
    grad_k_NHD, grad_v_NHD,
    SCALE: tl.constexpr, GAP: tl.constexpr, H: tl.constexpr, D: tl.constexpr,
    HP: tl.constexpr, DP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """grad_k_j = SCALE sum grad_logit q_i and grad_v_j = sum alpha grad_y_i, over edges from j."""
    j = tl.program_id(0)
    first, last = edge_range(source_ptr, j)
    h, hd, is_head, is_hd = heads_and_features(H, D, HP, DP)
    grad_k_HD = tl.zeros((HP, DP), q_NHD.dtype.element_ty)
    grad_v_HD = tl.zeros((HP, DP), q_NHD.dtype.element_ty)
    for start in range(first, last, BLOCK):
        t = start + tl.arange(0, BLOCK)
        here = t < last
        e = tl.load(order_E + t, mask=here, other=0).to(tl.int32)
        i = tl.load(dst_E + e, mask=here, other=0).to(tl.int32)
        place_EH, is_eh = e[:, None] * H + h[None], here[:, None] & is_head[None]
        logit_EH = tl.load(logits_EH + place_EH, mask=is_eh, other=NEVER)
        max_EH, inverse_EH = load_softmax(softmax_N3H, i[:, None], h[None], is_eh, H)
        is_eh &= matters(logit_EH - max_EH, GAP)[:, None]
        place_EHD, is_place = i[:, None, None] * (H * D) + hd[None], is_eh[:, :, None] & is_hd[None]
        alpha_EH = tl.exp(logit_EH - max_EH) * inverse_EH
        grad_y_EHD = tl.load(grad_y_NHD + place_EHD, mask=is_place, other=0.0)
        grad_v_HD += tl.sum(alpha_EH[:, :, None] * grad_y_EHD, 0)
        grad_EH = tl.load(grad_logits_EH + place_EH, mask=is_eh, other=0.0)
        q_EHD = tl.load(q_NHD + place_EHD, mask=is_place, other=0.0)
        grad_k_HD += tl.sum(grad_EH[:, :, None] * q_EHD, 0)
    tl.store(grad_k_NHD + j * H * D + hd, SCALE * grad_k_HD, mask=is_hd)
    tl.store(grad_v_NHD + j * H * D + hd, grad_v_HD, mask=is_hd)


@triton.jit
def store_logits(
    src_E, d2_E, q_NHD, k_NHD, decay_NH, logits_EH, i, first, last,
    SCALE: tl.constexpr, H: tl.constexpr, D: tl.constexpr,
    HP: tl.constexpr, DP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """logits = SCALE q_i . k_j - decay_i d^2; the max, and the max of other images (or 0)."""
    h, hd, is_head, is_hd = heads_and_features(H, D, HP, DP)
    q_HD = tl.load(q_NHD + i * H * D + hd, mask=is_hd, other=0.0)
    decay_H = tl.load(decay_NH + i * H + h, mask=is_head, other=0.0)
    max_H = tl.full((HP,), NEVER, q_HD.dtype)
    best_H = tl.full((HP,), NEVER, q_HD.dtype)
    for start in range(first, last, BLOCK):
        e = start + tl.arange(0, BLOCK)
        here = e < last
        j = tl.load(src_E + e, mask=here, other=0).to(tl.int32)
        place_EHD, is_place = (
            j[:, None, None] * (H * D) + hd[None],
            here[:, None, None] & is_hd[None],
        )
        k_EHD = tl.load(k_NHD + place_EHD, mask=is_place, other=0.0)
        d2 = tl.load(d2_E + e, mask=here, other=0.0)
        logit_EH = SCALE * tl.sum(k_EHD * q_HD[None], 2) - decay_H[None] * d2[:, None]
        tl.store(logits_EH + e[:, None] * H + h[None], logit_EH, mask=here[:, None] & is_head[None])
        max_H = tl.maximum(max_H, tl.max(tl.where(here[:, None], logit_EH, NEVER), 0))
        other_EH = tl.where((d2 > SELF_DISTANCE_SQUARED)[:, None], logit_EH, NEVER)
        best_H = tl.maximum(best_H, tl.max(other_EH, 0))
    return max_H, tl.where(best_H > NEVER, best_H, 0.0)


@triton.jit
def keep(logits_EH, matters_E, first, last, max_H, h, H: tl.constexpr, GAP: tl.constexpr):
    """List the edges that matter; how many there are, and the sums of their exp(logit - max)."""
    count = first - first
    total_H = tl.zeros_like(max_H)
    for start in range(first, last, KEEP_BLOCK):
        e = start + tl.arange(0, KEEP_BLOCK)
        is_eh = (e < last)[:, None] & (h < H)[None]
        logit_EH = tl.load(logits_EH + e[:, None] * H + h[None], mask=is_eh, other=NEVER)
        kept = matters(logit_EH - max_H[None], GAP)
        number = kept.to(tl.int32)
        tl.store(matters_E + first + count + tl.cumsum(number, 0) - 1, e, mask=kept)
        count += tl.sum(number, 0)
        total_H += tl.sum(tl.where(kept[:, None], tl.exp(logit_EH - max_H[None]), 0.0), 0)
    return count, tl.where(h < H, total_H, 1.0)


@triton.jit
def matters(log_weight_EH, GAP: tl.constexpr):
    """[BLOCK]: whether the weight of an edge, relative to the max, is not tiny in every head."""
    return tl.max(log_weight_EH, 1) >= -GAP


@triton.jit
def kept_edges(matters_E, first, t, count, BLOCK: tl.constexpr):
    """Number t of the kept edges of an atom and those that follow, and which of them there are."""
    place = t + tl.arange(0, BLOCK)
    here = place < count
    return tl.load(matters_E + first + place, mask=here, other=0), here


@triton.jit
def weights(logits_EH, e, here, max_H, inverse_H, h, H: tl.constexpr):
    """[BLOCK, HP]: alpha of some edges, 0 past the end."""
    place_EH, is_eh = e[:, None] * H + h[None], here[:, None] & (h < H)[None]
    logit_EH = tl.load(logits_EH + place_EH, mask=is_eh, other=NEVER)
    return tl.exp(logit_EH - max_H[None]) * inverse_H[None]


@triton.jit
def edge_range(ptr, i):
    """First edge and the one after the last. Places are 32 bits wide: 64 would fill the registers."""
    return tl.load(ptr + i).to(tl.int32), tl.load(ptr + i + 1).to(tl.int32)


@triton.jit
def heads_and_features(H: tl.constexpr, D: tl.constexpr, HP: tl.constexpr, DP: tl.constexpr):
    """Heads [HP], offsets of features [HP, DP] in an atom's [H, D], and which of either exist."""
    h, d = tl.arange(0, HP), tl.arange(0, DP)
    return h, h[:, None] * D + d[None], h < H, (h < H)[:, None] & (d < D)[None]


@triton.jit
def load_softmax(softmax_N3H, i, h, mask, H: tl.constexpr):
    """Largest logit and 1 / sum of exp; where masked such that every weight is 0."""
    place = i * 3 * H + h
    max = tl.load(softmax_N3H + place, mask=mask, other=0.0)
    return max, tl.load(softmax_N3H + place + H, mask=mask, other=0.0)
