"""Directions, axes and what bases of them need, in Triton; shared by the kernels and the search.

A vector in space is a tuple of three tensors. Lanes: the H heads x 3 axes of an atom. In a tile lane =
4 * head + axis, the fourth axis being padding (8 heads: one lane for each thread of a warp), in memory
lane = axis * H + head.
"""

import triton
import triton.language as tl

from dglframer.attention import constants

ALONG_AXIS = tl.constexpr(constants.ALONG_AXIS)
NEVER = tl.constexpr(float("-inf"))


@triton.jit
def lanes(HP: tl.constexpr):
    """(head, axis) of each lane [4 HP] of a tile."""
    lane = tl.arange(0, 4 * HP)
    return lane // 4, lane % 4


@triton.jit
def lanes_in_memory(H: tl.constexpr, HP: tl.constexpr):
    """Of each lane [4 HP] of a tile: its head, its number in memory, and whether it exists."""
    head, axis = lanes(HP)
    return head, axis * H + head, (axis < 3) & (head < H)


@triton.jit
def to_lanes(x_H):
    """[4 HP]: the value of a head for each of its lanes."""
    return tl.gather(x_H, lanes(x_H.shape[0])[0], 0)


@triton.jit
def over_axes(x_EL, HP: tl.constexpr):
    """[BLOCK, HP]: sum over the axes of lanes [BLOCK, 4 HP]."""
    return tl.sum(tl.reshape(x_EL, (x_EL.shape[0], HP, 4)), 2)


@triton.jit
def axis_cosines(u_E3, e, here, axis):
    """[edges, axes] cosines between the directions of edges and some axes (of heads, or of lanes)."""
    x = tl.load(u_E3 + 3 * e, mask=here, other=0.0)[:, None]
    y = tl.load(u_E3 + 3 * e + 1, mask=here, other=0.0)[:, None]
    z = tl.load(u_E3 + 3 * e + 2, mask=here, other=0.0)[:, None]
    return dot((x, y, z), (axis[0][None], axis[1][None], axis[2][None]))


@triton.jit
def dot(a, b):
    """One order of rounding wherever it is compiled in: the same bits forward and backward."""
    return tl.fma(a[2], b[2], tl.fma(a[1], b[1], a[0] * b[0]))


@triton.jit
def cross(a, b):
    x = a[1] * b[2] - a[2] * b[1]
    y = a[2] * b[0] - a[0] * b[2]
    return x, y, a[0] * b[1] - a[1] * b[0]


@triton.jit
def across(a, u):
    """The part of u perpendicular to the unit vector a, normalised."""
    c = dot(a, u)
    x, y, z = u[0] - c * a[0], u[1] - c * a[1], u[2] - c * a[2]
    norm = tl.sqrt(dot((x, y, z), (x, y, z)))
    return x / norm, y / norm, z / norm


@triton.jit
def least_along(a):
    """The Cartesian direction that is least along ``a``."""
    x, y, z = tl.abs(a[0]), tl.abs(a[1]), tl.abs(a[2])
    is_x = (x <= y) & (x <= z)
    is_y = (y <= z) & (is_x == 0)
    is_z = (is_x == 0) & (is_y == 0)
    return is_x.to(a[0].dtype), is_y.to(a[0].dtype), is_z.to(a[0].dtype)


@triton.jit
def score(logit, cosine):
    """Weight times (1 - |cos|), as a logarithm; images along the first axis are out."""
    c = tl.abs(cosine)
    return tl.where(c >= ALONG_AXIS, NEVER, logit + tl.log(1 - tl.minimum(c, ALONG_AXIS)))


@triton.jit
def clamped(cosine):
    return tl.minimum(tl.maximum(cosine, -1.0), 1.0)


@triton.jit
def distance_basis(d2, k, STEP: tl.constexpr, WIDTH: tl.constexpr):
    """[BLOCK, KP] Gaussians of the distance: ``gaussians.distance_basis``."""
    z_EK = (tl.sqrt(d2)[:, None] - (k + 1)[None] * STEP) / WIDTH
    return tl.exp(-0.5 * z_EK * z_EK)


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
