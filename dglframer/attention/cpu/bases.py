"""Weighted sums of the bases over the edges of one atom, and their gradient.

Of cosines the sums are of Chebyshev polynomials T_q (docs/models/crystalframer.md §5.2), by recurrences
that stay in registers for a bundle of edges. An atom looks along rows of axes: one axis for each of 8
heads, with its share, and the number k of the axis in its frame. A group is as many rows as fit into a
vector.
"""

import numpy as np

from dglframer.attention.cpu.compiled import inner
from dglframer.attention.cpu.vectors import (
    EDGES,
    HEADS,
    LANES,
    add,
    add_to_rows,
    clenshaw,
    cosines,
    double_each,
    exp,
    fma,
    load_row,
    load_vector,
    maximum,
    multiply,
    multiply_each,
    next_terms,
    splat_row,
    store_row,
    store_vector,
    subtract,
    total,
    weighted,
    where_below,
    zeros,
)

ROWS = LANES // HEADS  # of a vector
WINDOW_BINS = 16  # centres of the distance basis within 8 widths, if the width is one spacing


@inner
def add_distances(e, alpha, low, window, size, sums):
    """sums[k] += alpha_e b_k(|r|) over the window of edge e, which has ``size`` bins."""
    weight = load_row(alpha, HEADS * e)
    for b in range(size):
        place = HEADS * (low[e] + b)
        value = fma(splat_row(window[size * e + b]), weight, load_row(sums, place))
        store_row(sums, place, value)


@inner
def distance_gradient(e, low, window, size, grad_sums, grad):
    """Row: grad plus the sum over the window of edge e of b_k(|r|) grad_sums[k]."""
    other = subtract(grad, grad)
    for b in range(0, size, 2):
        place = HEADS * (low[e] + b)
        grad = fma(splat_row(window[size * e + b]), load_row(grad_sums, place), grad)
        place += HEADS
        other = fma(splat_row(window[size * e + b + 1]), load_row(grad_sums, place), other)
    return add(grad, other)


@inner
def group_rows(rows, kinds, first, last, axes, shares, group_kinds):
    """Lay rows first ... last - 1 out as groups; returns their number. What fills the last has no share."""
    count = last - first
    groups = (count + ROWS - 1) // ROWS
    for place in range(groups * 3 * LANES):
        axes[place] = 0
    for place in range(groups * LANES):
        shares[place] = 0
    for r in range(count):
        group, lane = r // ROWS, HEADS * (r % ROWS)
        group_kinds[r] = kinds[first + r]
        for x in range(3):
            row = load_row(rows, 4 * HEADS * (first + r) + HEADS * x)
            store_row(axes, (3 * group + x) * LANES + lane, row)
        row = load_row(rows, 4 * HEADS * (first + r) + 3 * HEADS)
        store_row(shares, group * LANES + lane, row)
    return groups


@inner
def sum_cosines(ux, uy, uz, weight, m, count, groups, axes, shares, kinds, terms, part, sums):
    """sums[k, q] = sum over m edges of weight T_q(e_k . u), an average over the rows of axis k."""
    for place in range(3 * terms * HEADS):
        sums[place] = 0
    for group in range(groups):
        start = 3 * group * LANES
        x, y, z = (
            load_vector(axes, start),
            load_vector(axes, start + LANES),
            load_vector(axes, start + 2 * LANES),
        )
        share = load_vector(shares, group * LANES)
        for place in range(terms * LANES):
            part[place] = 0
        for edge in range(0, m, EDGES):
            c = cosines(ux, uy, uz, edge, x, y, z)
            older = weighted(weight, edge, share)
            newer = multiply_each(older, c)
            two_c = double_each(c)
            store_vector(part, 0, add(load_vector(part, 0), total(older)))
            store_vector(part, LANES, add(load_vector(part, LANES), total(newer)))
            for q in range(2, terms, 2):
                older = next_terms(two_c, newer, older)
                place = q * LANES
                store_vector(part, place, add(load_vector(part, place), total(older)))
                newer = next_terms(two_c, older, newer)
                place += LANES
                store_vector(part, place, add(load_vector(part, place), total(newer)))
        for r in range(group * ROWS, min(group * ROWS + ROWS, count)):
            lane = HEADS * (r % ROWS)
            for q in range(terms):
                place = HEADS * (kinds[r] * terms + q)
                row = add(load_row(sums, place), load_row(part, q * LANES + lane))
                store_row(sums, place, row)


@inner
def cosine_gradients(
    ux, uy, uz, m, count, groups, axes, shares, kinds, terms, part, grad_sums, grad
):
    """grad[edge] += sum over k and q of T_q(e_k . u) grad_sums[k, q], by Clenshaw's recurrence."""
    for group in range(groups):
        start = 3 * group * LANES
        x, y, z = (
            load_vector(axes, start),
            load_vector(axes, start + LANES),
            load_vector(axes, start + 2 * LANES),
        )
        for place in range(terms * LANES):
            part[place] = 0
        for r in range(group * ROWS, min(group * ROWS + ROWS, count)):
            lane = HEADS * (r % ROWS)
            share = load_row(shares, group * LANES + lane)
            for q in range(terms):
                row = load_row(grad_sums, HEADS * (kinds[r] * terms + q))
                store_row(part, q * LANES + lane, multiply(row, share))
        for edge in range(0, m, EDGES):
            c = cosines(ux, uy, uz, edge, x, y, z)
            two_c = double_each(c)
            older, newer = zeros(part), zeros(part)
            for half in range(terms // 2 - 1, 0, -1):
                older = clenshaw(two_c, newer, older, load_vector(part, (2 * half + 1) * LANES))
                newer = clenshaw(two_c, older, newer, load_vector(part, 2 * half * LANES))
            older = clenshaw(two_c, newer, older, load_vector(part, LANES))
            add_to_rows(grad, edge, clenshaw(c, older, newer, load_vector(part, 0)))


@inner
def distance_window(d2, e, spacing, width, padded, size, cut, ramp, low, window):
    """The distance basis of edge e where it is not below 2e-14: the first bin, and ``size`` values.

    exp(-(d - (k + 1) spacing)^2 / 2 width^2), k = low, low + 1, ...; there is room for
    ``padded`` bins, ``ramp`` = 0 ... 7. cut = (widths, kept bins, bins) of published checkpoints, or 0.
    """
    kind = d2.dtype.type
    d = np.sqrt(d2[e])
    low[e] = min(max(int(d / spacing) - size // 2, 0), padded - size)
    first, last = kind(-1), kind(padded)
    if cut[1] > 0:
        start = np.trunc((d - cut[0] * width) / spacing - kind(1))
        first = min(max(start, kind(0)), cut[2] - cut[1])
        last = first + cut[1]
    centre, step, half = splat_row(d / width), splat_row(spacing / width), splat_row(kind(-0.5))
    for b in range(0, size, HEADS):
        bins = add(load_row(ramp, 0), splat_row(kind(low[e] + b)))
        z = subtract(centre, multiply(add(bins, splat_row(kind(1))), step))
        value = exp(maximum(multiply(multiply(z, z), half), splat_row(kind(-50))))
        value = where_below(bins, splat_row(last), value)
        store_row(window, size * e + b, where_below(splat_row(first - kind(0.5)), bins, value))
