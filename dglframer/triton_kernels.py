"""The inner loops of attention on a GPU, compiled by Triton; ``triton_sums`` launches them.

One program, of one warp, per atom and all its heads: it streams over the edges of the atom (or,
in ``source_gradients``, over the edges that leave it) in tiles of BLOCK, and every number is written
by one program and added in one order, so that results repeat to the bit. Sums are of the inputs'
type. Pointers are named after what they point to. Tiles have powers of two as sizes: HP, DP, KP
are the paddings of the H heads, D features of a head and K distances; what is beyond is masked.

Lanes: the H heads x 3 axes of an atom. In a tile lane = axis * HP + head with a fourth axis that is
all padding (8 heads: one lane for each thread of the warp), in memory lane = axis * H + head.
"""

import triton
import triton.language as tl

from dglframer import encodings

SELF_DISTANCE_SQUARED = tl.constexpr(encodings.SELF_DISTANCE_SQUARED)
NEVER = tl.constexpr(float("-inf"))


@triton.jit
def attend(
    ptr, src_E, d2_E, q_NHD, k_NHD, v_NHD, decay_NH, logits_EH, softmax_N2H, y_NHD,
    SCALE: tl.constexpr, H: tl.constexpr, D: tl.constexpr,
    HP: tl.constexpr, DP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """logits = SCALE q_i . k_j - decay_i d^2; largest logit and 1 / sum of exp; y_i = sum alpha v_j.

    The sums are made in one pass: they are scaled down whenever a larger logit turns up.
    """
    i = tl.program_id(0)
    first, last = edge_range(ptr, i)
    h, hd, is_head, is_hd = heads_and_features(H, D, HP, DP)
    q_HD = tl.load(q_NHD + i * H * D + hd, mask=is_hd, other=0.0)
    decay_H = tl.load(decay_NH + i * H + h, mask=is_head, other=0.0)
    largest_H = tl.full((HP,), NEVER, q_HD.dtype)
    total_H = tl.zeros((HP,), q_HD.dtype)
    y_HD = tl.zeros((HP, DP), q_HD.dtype)
    for start in range(first, last, BLOCK):
        e = start + tl.arange(0, BLOCK)
        here = e < last
        j = tl.load(src_E + e, mask=here, other=0).to(tl.int32)
        place_EHD = j[:, None, None] * (H * D) + hd[None]
        is_place = here[:, None, None] & is_hd[None]
        k_EHD = tl.load(k_NHD + place_EHD, mask=is_place, other=0.0)
        d2 = tl.load(d2_E + e, mask=here, other=0.0)
        logit_EH = SCALE * tl.sum(k_EHD * q_HD[None], 2) - decay_H[None] * d2[:, None]
        logit_EH = tl.where(here[:, None], logit_EH, NEVER)
        tl.store(logits_EH + e[:, None] * H + h[None], logit_EH, mask=here[:, None] & is_head[None])
        larger_H = tl.maximum(largest_H, tl.max(logit_EH, 0))
        shrink_H = tl.exp(largest_H - larger_H)
        weight_EH = tl.exp(logit_EH - larger_H[None])
        v_EHD = tl.load(v_NHD + place_EHD, mask=is_place, other=0.0)
        y_HD = y_HD * shrink_H[:, None] + tl.sum(weight_EH[:, :, None] * v_EHD, 0)
        total_H = total_H * shrink_H + tl.sum(weight_EH, 0)
        largest_H = larger_H
    tl.store(softmax_N2H + i * 2 * H + h, largest_H, mask=is_head)
    tl.store(softmax_N2H + i * 2 * H + H + h, 1 / total_H, mask=is_head)
    tl.store(y_NHD + i * H * D + hd, y_HD / total_H[:, None], mask=is_hd)


@triton.jit
def sum_bases(
    ptr, u_E3, d2_E, logits_EH, softmax_N2H, axes_N3L, dist_NHK, cheb_NQL,
    STEP: tl.constexpr, WIDTH: tl.constexpr, H: tl.constexpr, K: tl.constexpr, Q: tl.constexpr,
    FRAMES: tl.constexpr, HP: tl.constexpr, KP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """dist = sum alpha b_dist; cheb = sum alpha T_q(e . u), to which the atom itself adds nothing."""
    i = tl.program_id(0)
    first, last = edge_range(ptr, i)
    h, k = tl.arange(0, HP), tl.arange(0, KP)
    is_head = h < H
    largest_H, inverse_H = load_softmax(softmax_N2H, i, h, is_head, H)
    dist_HK = tl.zeros((HP, KP), largest_H.dtype)
    if FRAMES:
        lane, is_lane = lanes(H, HP)
        moments_QL = zeros(lane.to(largest_H.dtype), Q)
    for start in range(first, last, BLOCK):
        e = start + tl.arange(0, BLOCK)
        here = e < last
        d2 = tl.load(d2_E + e, mask=here, other=0.0)
        logit_EH = tl.load(
            logits_EH + e[:, None] * H + h[None], mask=here[:, None] & is_head[None], other=NEVER
        )
        alpha_EH = tl.exp(logit_EH - largest_H[None]) * inverse_H[None]
        basis_EK = distance_basis(d2, k, STEP, WIDTH)
        dist_HK += tl.sum(alpha_EH[:, :, None] * basis_EK[:, None], 0)
        if FRAMES:
            directed_EH = tl.where((d2 > SELF_DISTANCE_SQUARED)[:, None], alpha_EH, 0.0)
            alpha_EL = tl.reshape(
                tl.broadcast_to(directed_EH[:, :, None], (BLOCK, HP, 4)), (BLOCK, 4 * HP)
            )
            cosine_EL = cosines(u_E3, axes_N3L, i, e, here, lane, is_lane, H)
            moments_QL = add_moments(moments_QL, cosine_EL, alpha_EL, Q)
    tl.store(
        dist_NHK + (i * H + h[:, None]) * K + k[None],
        dist_HK,
        mask=is_head[:, None] & (k < K)[None],
    )
    if FRAMES:
        for q in tl.static_range(Q):
            tl.store(cheb_NQL + (i * Q + q) * 3 * H + lane, moments_QL[q], mask=is_lane)


@triton.jit
def centre_gradients(
    ptr, src_E, u_E3, d2_E, k_NHD, v_NHD, logits_EH, softmax_N2H, axes_N3L,
    y_NHD, dist_NHK, cheb_NQL, grad_y_NHD, grad_dist_NHK, grad_cheb_NQL,
    grad_logits_EH, grad_q_NHD, grad_decay_NH,
    SCALE: tl.constexpr, STEP: tl.constexpr, WIDTH: tl.constexpr,
    H: tl.constexpr, D: tl.constexpr, K: tl.constexpr, Q: tl.constexpr, FRAMES: tl.constexpr,
    HP: tl.constexpr, DP: tl.constexpr, KP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradients of the logits, of q and of the decay, from those of y, dist and cheb.

    The gradient of a logit is alpha (g - mean), g the gradient of alpha; the mean of g under alpha
    is the sum of results times their gradients, known before the edges are visited.
    """
    i = tl.program_id(0)
    first, last = edge_range(ptr, i)
    h, hd, is_head, is_hd = heads_and_features(H, D, HP, DP)
    k = tl.arange(0, KP)
    largest_H, inverse_H = load_softmax(softmax_N2H, i, h, is_head, H)
    grad_y_HD = tl.load(grad_y_NHD + i * H * D + hd, mask=is_hd, other=0.0)
    mean_H = tl.sum(grad_y_HD * tl.load(y_NHD + i * H * D + hd, mask=is_hd, other=0.0), 1)
    place_KH = (i * H + h[None]) * K + k[:, None]
    is_kh = (k < K)[:, None] & is_head[None]
    grad_dist_KH = tl.load(grad_dist_NHK + place_KH, mask=is_kh, other=0.0)
    mean_H += tl.sum(grad_dist_KH * tl.load(dist_NHK + place_KH, mask=is_kh, other=0.0), 0)
    if FRAMES:
        lane, is_lane = lanes(H, HP)
        mean_L = product_sum(cheb_NQL, grad_cheb_NQL, i, lane, is_lane, H, Q)
        mean_H += tl.sum(over_axes(mean_L[None], HP), 0)
    grad_q_HD = tl.zeros((HP, DP), grad_y_HD.dtype)
    grad_decay_H = tl.zeros((HP,), grad_y_HD.dtype)
    for start in range(first, last, BLOCK):
        e = start + tl.arange(0, BLOCK)
        here = e < last
        j = tl.load(src_E + e, mask=here, other=0).to(tl.int32)
        place_EHD = j[:, None, None] * (H * D) + hd[None]
        is_place = here[:, None, None] & is_hd[None]
        d2 = tl.load(d2_E + e, mask=here, other=0.0)
        place_EH, is_eh = e[:, None] * H + h[None], here[:, None] & is_head[None]
        logit_EH = tl.load(logits_EH + place_EH, mask=is_eh, other=NEVER)
        alpha_EH = tl.exp(logit_EH - largest_H[None]) * inverse_H[None]
        v_EHD = tl.load(v_NHD + place_EHD, mask=is_place, other=0.0)
        grad_EH = tl.sum(v_EHD * grad_y_HD[None], 2) - mean_H[None]
        grad_EH += tl.dot(
            distance_basis(d2, k, STEP, WIDTH), grad_dist_KH, input_precision="tf32x3"
        )
        if FRAMES:
            cosine_EL = cosines(u_E3, axes_N3L, i, e, here, lane, is_lane, H)
            total_EL = clenshaw(grad_cheb_NQL, i, cosine_EL, lane, is_lane, H, Q)
            directed = d2 > SELF_DISTANCE_SQUARED
            grad_EH += over_axes(tl.where(directed[:, None], total_EL, 0.0), HP)
        grad_EH *= alpha_EH
        tl.store(grad_logits_EH + place_EH, grad_EH, mask=is_eh)
        grad_decay_H -= tl.sum(grad_EH * d2[:, None], 0)
        k_EHD = tl.load(k_NHD + place_EHD, mask=is_place, other=0.0)
        grad_q_HD += tl.sum(grad_EH[:, :, None] * k_EHD, 0)
    tl.store(grad_q_NHD + i * H * D + hd, SCALE * grad_q_HD, mask=is_hd)
    tl.store(grad_decay_NH + i * H + h, grad_decay_H, mask=is_head)


@triton.jit
def source_gradients(
    source_ptr, order_E, dst_E, q_NHD, logits_EH, softmax_N2H, grad_y_NHD, grad_logits_EH,
    grad_k_NHD, grad_v_NHD,
    SCALE: tl.constexpr, H: tl.constexpr, D: tl.constexpr,
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
        place_EHD, is_place = i[:, None, None] * (H * D) + hd[None], is_eh[:, :, None] & is_hd[None]
        logit_EH = tl.load(logits_EH + place_EH, mask=is_eh, other=NEVER)
        largest_EH, inverse_EH = load_softmax(softmax_N2H, i[:, None], h[None], is_eh, H)
        alpha_EH = tl.exp(logit_EH - largest_EH) * inverse_EH
        grad_y_EHD = tl.load(grad_y_NHD + place_EHD, mask=is_place, other=0.0)
        grad_v_HD += tl.sum(alpha_EH[:, :, None] * grad_y_EHD, 0)
        grad_EH = tl.load(grad_logits_EH + place_EH, mask=is_eh, other=0.0)
        q_EHD = tl.load(q_NHD + place_EHD, mask=is_place, other=0.0)
        grad_k_HD += tl.sum(grad_EH[:, :, None] * q_EHD, 0)
    tl.store(grad_k_NHD + j * H * D + hd, SCALE * grad_k_HD, mask=is_hd)
    tl.store(grad_v_NHD + j * H * D + hd, grad_v_HD, mask=is_hd)


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
def lanes(H: tl.constexpr, HP: tl.constexpr):
    """Of each lane [4 HP] of a tile: its number in memory, and whether it exists."""
    lane = tl.arange(0, 4 * HP)
    axis, head = lane % 4, lane // 4
    return axis * H + head, (axis < 3) & (head < H)


@triton.jit
def load_softmax(softmax_N2H, i, h, mask, H: tl.constexpr):
    """Largest logit and 1 / sum of exp; where masked such that every weight is 0."""
    place = i * 2 * H + h
    largest = tl.load(softmax_N2H + place, mask=mask, other=0.0)
    return largest, tl.load(softmax_N2H + place + H, mask=mask, other=0.0)


@triton.jit
def distance_basis(d2, k, STEP: tl.constexpr, WIDTH: tl.constexpr):
    """[BLOCK, KP] Gaussians of the distance: ``encodings.distance_basis``."""
    z_EK = (tl.sqrt(d2)[:, None] - (k + 1)[None] * STEP) / WIDTH
    return tl.exp(-0.5 * z_EK * z_EK)


@triton.jit
def cosines(u_E3, axes_N3L, i, e, here, lane, is_lane, H: tl.constexpr):
    """[BLOCK, L] cosines between the directions of edges and the axes of their centre."""
    cosine_EL = tl.zeros((e.shape[0], lane.shape[0]), u_E3.dtype.element_ty)
    for x in tl.static_range(3):
        u = tl.load(u_E3 + 3 * e + x, mask=here, other=0.0)
        axis_L = tl.load(axes_N3L + (i * 3 + x) * 3 * H + lane, mask=is_lane, other=0.0)
        cosine_EL += u[:, None] * axis_L[None]
    return tl.minimum(tl.maximum(cosine_EL, -1.0), 1.0)


@triton.jit
def zeros(like, COUNT: tl.constexpr):
    """A tuple of that many tensors: one register each in every thread."""
    none = ()
    for _ in tl.static_range(COUNT):
        none = none + (tl.zeros_like(like),)  # type: ignore[assignment]
    return none


@triton.jit
def add_moments(moments_QL, cosine_EL, alpha_EL, Q: tl.constexpr):
    """moments[q] + sum over edges of alpha T_q(c), by T_q = 2 c T_{q-1} - T_{q-2}."""
    double_EL = 2 * cosine_EL
    older_EL, newer_EL = alpha_EL, alpha_EL * cosine_EL
    sums = (moments_QL[0] + tl.sum(older_EL, 0), moments_QL[1] + tl.sum(newer_EL, 0))
    for q in tl.static_range(2, Q):
        value_EL = double_EL * newer_EL - older_EL
        older_EL = newer_EL
        newer_EL = value_EL
        sums = sums + (moments_QL[q] + tl.sum(value_EL, 0),)  # type: ignore[assignment]
    return sums


@triton.jit
def clenshaw(grad_cheb_NQL, i, cosine_EL, lane, is_lane, H: tl.constexpr, Q: tl.constexpr):
    """[BLOCK, L]: sum_q g_q T_q(c) of each lane, by Clenshaw's recurrence."""
    double_EL = 2 * cosine_EL
    older_EL, newer_EL = tl.zeros_like(cosine_EL), tl.zeros_like(cosine_EL)
    row = grad_cheb_NQL + i * Q * 3 * H + lane
    for p in range(1, Q):
        grad_L = tl.load(row + (Q - p) * 3 * H, mask=is_lane, other=0.0)
        value_EL = grad_L[None] + double_EL * newer_EL - older_EL
        older_EL = newer_EL
        newer_EL = value_EL
    grad_L = tl.load(row, mask=is_lane, other=0.0)
    return grad_L[None] + cosine_EL * newer_EL - older_EL


@triton.jit
def product_sum(a_NQL, b_NQL, i, lane, is_lane, H: tl.constexpr, Q: tl.constexpr):
    """[L]: sum over q of a b of one atom."""
    row = i * Q * 3 * H + lane
    total_L = tl.zeros((lane.shape[0],), a_NQL.dtype.element_ty)
    for q in range(Q):
        a_L = tl.load(a_NQL + row + q * 3 * H, mask=is_lane, other=0.0)
        total_L += a_L * tl.load(b_NQL + row + q * 3 * H, mask=is_lane, other=0.0)
    return total_L


@triton.jit
def over_axes(x_EL, HP: tl.constexpr):
    """[BLOCK, HP]: sum over the axes of lanes [BLOCK, 4 HP]."""
    return tl.sum(tl.reshape(x_EL, (x_EL.shape[0], HP, 4)), 2)
