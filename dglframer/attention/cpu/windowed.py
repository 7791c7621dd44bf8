"""Sums of the cut cosine Gaussians of published checkpoints, and their gradient (``window_sigmas``).

They are no combination of few polynomials, so that every one is computed: slower than ``bases``.
"""

from dglframer.attention.cpu.bases import ROWS
from dglframer.attention.cpu.compiled import inlined, inner
from dglframer.attention.cpu.vectors import (
    HEADS,
    LANES,
    add,
    divide,
    exp,
    fma,
    load_repeated,
    load_row,
    load_vector,
    maximum,
    multiply,
    splat_vector,
    store_row,
    store_vector,
    subtract,
    truncate,
    where_below,
)


@inlined
def minimum(a, b):
    nothing = subtract(a, a)
    return subtract(nothing, maximum(subtract(nothing, a), subtract(nothing, b)))


@inlined
def cosine_and_end(ux, uy, uz, edge, x, y, z, bins, cut):
    """The cosines of one edge, and the bin after the last one that is kept; cut = (widths, kept bins)."""
    kind = ux.dtype.type
    one = kind(1)
    c = fma(splat_vector(uy[edge]), y, multiply(splat_vector(uz[edge]), z))
    c = fma(splat_vector(ux[edge]), x, c)
    c = maximum(minimum(c, splat_vector(one)), splat_vector(-one))
    step, width, widths, kept = cut
    end = add(c, splat_vector(one + widths * width))
    end = add(divide(end, splat_vector(step)), splat_vector(one))
    end = truncate(minimum(end, splat_vector(kind(bins))))
    return c, maximum(end, splat_vector(kept))


@inlined
def gaussian(c, end, k, cut):
    """The Gaussian of the cosines with number k, a float, or 0 outside of the bins that are kept.

    A basis that is not cut has more kept bins than there are.
    """
    step, width, _, kept = cut
    one = width / width
    z = divide(subtract(c, splat_vector(k * step - one)), splat_vector(width))
    value = exp(multiply(multiply(z, z), splat_vector((one - one - one) / (one + one))))
    here = splat_vector(k)
    value = where_below(here, end, value)
    half = one / (one + one)
    return where_below(subtract(end, splat_vector(kept + half)), here, value)


@inner
def sum_gaussians(ux, uy, uz, weight, m, count, groups, axes, shares, kinds, bins, cut, part, sums):
    """As ``bases.sum_cosines``, of Gaussians."""
    for place in range(3 * bins * HEADS):
        sums[place] = 0
    for group in range(groups):
        start = 3 * group * LANES
        x, y, z = (
            load_vector(axes, start),
            load_vector(axes, start + LANES),
            load_vector(axes, start + 2 * LANES),
        )
        share = load_vector(shares, group * LANES)
        for place in range(bins * LANES):
            part[place] = 0
        for edge in range(m):
            c, end = cosine_and_end(ux, uy, uz, edge, x, y, z, bins, cut)
            alpha = multiply(load_repeated(weight, HEADS * edge), share)
            for k in range(bins):
                value = fma(
                    alpha, gaussian(c, end, part.dtype.type(k), cut), load_vector(part, k * LANES)
                )
                store_vector(part, k * LANES, value)
        for r in range(group * ROWS, min(group * ROWS + ROWS, count)):
            lane = HEADS * (r % ROWS)
            for k in range(bins):
                place = HEADS * (kinds[r] * bins + k)
                store_row(sums, place, add(load_row(sums, place), load_row(part, k * LANES + lane)))


@inner
def gaussian_gradients(
    ux, uy, uz, m, count, groups, axes, shares, kinds, bins, cut, part, total, grad_sums, grad
):  # fmt: skip
    """As ``bases.cosine_gradients``, of Gaussians; ``total`` is room for a vector."""
    for group in range(groups):
        start = 3 * group * LANES
        x, y, z = (
            load_vector(axes, start),
            load_vector(axes, start + LANES),
            load_vector(axes, start + 2 * LANES),
        )
        for place in range(bins * LANES):
            part[place] = 0
        for r in range(group * ROWS, min(group * ROWS + ROWS, count)):
            lane = HEADS * (r % ROWS)
            share = load_row(shares, group * LANES + lane)
            for k in range(bins):
                row = load_row(grad_sums, HEADS * (kinds[r] * bins + k))
                store_row(part, k * LANES + lane, multiply(row, share))
        for edge in range(m):
            c, end = cosine_and_end(ux, uy, uz, edge, x, y, z, bins, cut)
            value = multiply(gaussian(c, end, part.dtype.type(0), cut), load_vector(part, 0))
            for k in range(1, bins):
                value = fma(
                    gaussian(c, end, part.dtype.type(k), cut), load_vector(part, k * LANES), value
                )
            store_vector(total, 0, value)
            for r in range(ROWS):
                row = add(load_row(grad, HEADS * edge), load_row(total, HEADS * r))
                store_row(grad, HEADS * edge, row)
