"""The search for ``max`` frames on a GPU, compiled by Triton; ``frames.max_frames`` states the rule.

One program, of one warp, per atom and head. Candidates are taken up one after the other, in the order
of the edges; what is done for each runs over tiles of BLOCK edges. ``logits_E`` points to the logits
of one head, H numbers apart. Vectors are tuples of three scalars.
"""

import triton
import triton.language as tl

from dglframer import frames
from dglframer.triton_kernels import NEVER, SELF_DISTANCE_SQUARED, edge_range

ALONG_AXIS = tl.constexpr(frames.ALONG_AXIS)
VIEW_X = tl.constexpr(frames.VIEW_DIRECTION[0])
VIEW_Y = tl.constexpr(frames.VIEW_DIRECTION[1])
VIEW_Z = tl.constexpr(frames.VIEW_DIRECTION[2])


@triton.jit
def max_frames(
    ptr, u_E3, d2_E, logits_EH, axes_N3L,
    TOLERANCE: tl.constexpr, H: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """axes_N3L[i, :, axis * H + h]: the components of the three axes of every atom and head."""
    i, h = tl.program_id(0), tl.program_id(1)
    first, last = edge_range(ptr, i)
    logits_E = logits_EH + h
    # an atom without neighbours keeps the identity
    zero = tl.zeros((), u_E3.dtype.element_ty)
    e1, e2 = (zero + 1.0, zero, zero), (zero, zero + 1.0, zero)
    best_view = zero + NEVER
    best = largest_logit(logits_E, d2_E, first, last, H, BLOCK)
    e = next_first(logits_E, d2_E, first, last, best - TOLERANCE, H, BLOCK)
    while e < last:
        a = direction(u_E3, e)
        second = largest_score(logits_E, u_E3, d2_E, first, last, a, H, BLOCK)
        if second == NEVER:  # every image on one line: any perpendicular serves
            e1 = a
            e2 = across(a, least_along(a))
            e = last
        else:
            second -= TOLERANCE
            f = next_second(logits_E, u_E3, d2_E, first, last, a, second, H, BLOCK)
            while f < last:
                b = across(a, direction(u_E3, f))
                seen = view(logits_E, u_E3, d2_E, first, last, best, a, b, H, BLOCK)
                if seen > best_view:
                    best_view = seen
                    e1 = a
                    e2 = b
                f = next_second(logits_E, u_E3, d2_E, f + 1, last, a, second, H, BLOCK)
            e = next_first(logits_E, d2_E, e + 1, last, best - TOLERANCE, H, BLOCK)
    e3 = cross(e1, e2)
    for x in tl.static_range(3):
        out = axes_N3L + (i * 3 + x) * 3 * H + h
        tl.store(out, e1[x])
        tl.store(out + H, e2[x])
        tl.store(out + 2 * H, e3[x])


@triton.jit
def largest_logit(logits_E, d2_E, first, last, H: tl.constexpr, BLOCK: tl.constexpr):
    """The largest logit of the images of other atoms; minus infinity if there is none."""
    best = tl.full((BLOCK,), NEVER, d2_E.dtype.element_ty)
    for start in range(first, last, BLOCK):
        _, logit = tile(logits_E, d2_E, start, last, H, BLOCK)
        best = tl.maximum(best, logit)
    return tl.max(best, 0)


@triton.jit
def largest_score(logits_E, u_E3, d2_E, first, last, a, H: tl.constexpr, BLOCK: tl.constexpr):
    """The largest score for a second axis beside ``a``; minus infinity if all images lie along it."""
    best = tl.full((BLOCK,), NEVER, d2_E.dtype.element_ty)
    for start in range(first, last, BLOCK):
        e, logit = tile(logits_E, d2_E, start, last, H, BLOCK)
        best = tl.maximum(best, score(logit, a, directions(u_E3, e, last)))
    return tl.max(best, 0)


@triton.jit
def next_first(logits_E, d2_E, start, last, threshold, H: tl.constexpr, BLOCK: tl.constexpr):
    """The first edge from ``start`` on whose logit reaches the threshold; ``last`` if none does."""
    found = last
    while (start < last) & (found == last):
        e, logit = tile(logits_E, d2_E, start, last, H, BLOCK)
        found = tl.min(tl.where((logit >= threshold) & (logit > NEVER), e, last), 0)
        start += BLOCK
    return found


@triton.jit
def next_second(
    logits_E, u_E3, d2_E, start, last, a, threshold, H: tl.constexpr, BLOCK: tl.constexpr
):
    """The first edge from ``start`` on whose score beside ``a`` reaches the threshold, or ``last``."""
    found = last
    while (start < last) & (found == last):
        e, logit = tile(logits_E, d2_E, start, last, H, BLOCK)
        value = score(logit, a, directions(u_E3, e, last))
        found = tl.min(tl.where(value >= threshold, e, last), 0)
        start += BLOCK
    return found


@triton.jit
def view(logits_E, u_E3, d2_E, first, last, best, a, b, H: tl.constexpr, BLOCK: tl.constexpr):
    """The number by which tied frames are ranked, see ``frames.view_keys``."""
    c = cross(a, b)
    x = VIEW_X * a[0] + VIEW_Y * b[0] + VIEW_Z * c[0]
    y = VIEW_X * a[1] + VIEW_Y * b[1] + VIEW_Z * c[1]
    z = VIEW_X * a[2] + VIEW_Y * b[2] + VIEW_Z * c[2]
    total = tl.zeros((BLOCK,), d2_E.dtype.element_ty)
    for start in range(first, last, BLOCK):
        e, logit = tile(logits_E, d2_E, start, last, H, BLOCK)
        weight = tl.maximum(tl.exp(logit - best) - 1e-3, 0.0)
        p = dot((x, y, z), directions(u_E3, e, last))
        total += weight * p * p * p * (1 + p * (1 + p * (1 + p)))
    return tl.sum(total, 0)


@triton.jit
def tile(logits_E, d2_E, start, last, H: tl.constexpr, BLOCK: tl.constexpr):
    """Edges from ``start`` on and their logits, minus infinity for the atom itself and past the end."""
    e = start + tl.arange(0, BLOCK)
    here = e < last
    directed = tl.load(d2_E + e, mask=here, other=0.0) > SELF_DISTANCE_SQUARED
    return e, tl.load(logits_E + e * H, mask=directed, other=NEVER)


@triton.jit
def score(logit, a, u):
    """Weight times (1 - |cos|), as a logarithm; images along ``a`` are out."""
    c = tl.abs(dot(a, u))
    return tl.where(c >= ALONG_AXIS, NEVER, logit + tl.log(1 - tl.minimum(c, ALONG_AXIS)))


@triton.jit
def direction(u_E3, e):
    """The direction of one edge."""
    return tl.load(u_E3 + 3 * e), tl.load(u_E3 + 3 * e + 1), tl.load(u_E3 + 3 * e + 2)


@triton.jit
def directions(u_E3, e, last):
    """The directions of a tile of edges, 0 past the end."""
    here = e < last
    x = tl.load(u_E3 + 3 * e, mask=here, other=0.0)
    y = tl.load(u_E3 + 3 * e + 1, mask=here, other=0.0)
    return x, y, tl.load(u_E3 + 3 * e + 2, mask=here, other=0.0)


@triton.jit
def dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


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
    norm = tl.sqrt(x * x + y * y + z * z)
    return x / norm, y / norm, z / norm


@triton.jit
def least_along(a):
    """The Cartesian direction that is least along ``a``."""
    x, y, z = tl.abs(a[0]), tl.abs(a[1]), tl.abs(a[2])
    is_x = (x <= y) & (x <= z)
    is_y = (y <= z) & (is_x == 0)
    is_z = (is_x == 0) & (is_y == 0)
    return is_x.to(a[0].dtype), is_y.to(a[0].dtype), is_z.to(a[0].dtype)
