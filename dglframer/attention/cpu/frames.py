"""The search for the ``max`` frames of one atom; ``attention.frames`` states the rule.

The 8 heads of a row search together and share candidate axes: most have the same ones. Frames that tie are
merged axis by axis: the encoding along an axis depends on nothing but the distribution of the cosines with
it, so axes with the same distribution count as one, with the sum of their shares. Most ties are symmetries,
and most of them leave a single axis.

Axes are found in four arrays: ``vectors`` [A, 3], ``keys`` [16 A], ``chosen`` and ``share`` [3, 8, C], with
``count`` [3, 8]: head h looks along axis k of its frame as ``chosen[k, h, :count[k, h]]``, numbers of
vectors. Where there is no room for one more a function returns FULL; the caller makes room and tries again.
(Arrays are arguments, one by one, and never part of a tuple or a slice: numba counts references to those.)
"""

import numpy as np

from dglframer.attention.constants import ALONG_AXIS
from dglframer.attention.cpu.compiled import inlined, inner
from dglframer.attention.cpu.vectors import (
    HEADS,
    LANES,
    absolute,
    add,
    at_least,
    fma,
    load_row,
    load_vector,
    maximum,
    multiply,
    splat_row,
    splat_vector,
    store_row,
    store_vector,
    subtract,
    where_below,
)

FULL = -1


@inner
def add_axis(x, y, z, vectors, found, same):
    """Number of the axis among those found so far, which it may be the next of, or FULL."""
    for a in range(found):
        dx, dy, dz = abs(vectors[a, 0] - x), abs(vectors[a, 1] - y), abs(vectors[a, 2] - z)
        if max(dx, dy, dz) < same:
            return a
    if found == len(vectors):
        return FULL
    vectors[found, 0], vectors[found, 1], vectors[found, 2] = x, y, z
    return found


@inner
def choose(k, h, axis, part, chosen, share, count):
    """Head h looks along this axis as axis k of its frame, with a share; returns FULL or 0."""
    n = count[k, h]
    if n == chosen.shape[2]:
        return FULL
    chosen[k, h, n], share[k, h, n] = axis, part
    count[k, h] = n + 1
    return 0


@inlined
def tie_share(value, best, width):
    """``frames.tie_share`` of the gap between two logarithms; a width of 0: the best alone."""
    one = best / best
    if value >= best:
        return one
    ratio = min(np.log(best / value) / width, one)
    rest = one - ratio * ratio
    return rest * rest


@inner
def complete(x, y, z, hx, hy, hz):
    """(second axis, third axis): the part of h perpendicular to (x, y, z), and their cross product."""
    c = x * hx + y * hy + z * hz
    px, py, pz = hx - c * x, hy - c * y, hz - c * z
    norm = np.sqrt(px * px + py * py + pz * pz)
    px, py, pz = px / norm, py / norm, pz / norm
    return px, py, pz, y * pz - z * py, z * px - x * pz, x * py - y * px


@inner
def search_axes(
    ux, uy, uz, weight, across, m, width, same, firsts, first_share, heads, begins,
    vectors, keys, chosen, share, count,
):  # fmt: skip
    """Find every choice of frame within ``width`` of the best, for every head; returns FULL or 0.

    ``weight`` [m, 8] and (ux, uy, uz) [m] are those of the images other than the atom itself. ``across``,
    ``firsts`` [m], ``first_share`` [m, 8], ``heads`` [40] and ``begins`` [8] are room to work in. With a
    width of 0 the first of the best is taken.
    """
    for k in range(3):
        for h in range(HEADS):
            count[k, h] = 0
    if m == 0:  # no neighbour within the cutoff: nothing to see, any frame serves
        return identity_axes(vectors, chosen, share, count)
    kind = weight.dtype.type
    none, one, found = kind(0), kind(1), 0
    # places in ``heads`` of the numbers of each head
    best, total, limit, second, second_total = 0, 8, 16, 24, 32
    best_row = load_row(weight, 0)
    for f in range(1, m):
        best_row = maximum(load_row(weight, HEADS * f), best_row)
    store_row(heads, best, best_row)
    gap = np.exp(-width)
    for h in range(HEADS):  # a head that sees nothing of these images needs no frame
        heads[limit + h] = heads[best + h] * gap if heads[best + h] > 0 else np.inf
        heads[total + h] = 0
    n_firsts = tied_firsts(weight, m, width, firsts, first_share, heads)
    along, ones = splat_vector(kind(ALONG_AXIS)), splat_vector(one)
    for c in range(n_firsts):
        e = firsts[c]
        x, y, z = ux[e], uy[e], uz[e]
        vx, vy, vz = splat_vector(x), splat_vector(y), splat_vector(z)
        for f in range(0, m, LANES):  # 1 - |cos|, or 0 along the first axis
            cosine = fma(vy, load_vector(uy, f), multiply(vz, load_vector(uz, f)))
            cosine = absolute(fma(vx, load_vector(ux, f), cosine))
            store_vector(across, f, where_below(cosine, along, subtract(ones, cosine)))
        second_row = splat_row(none)
        for f in range(m):
            score = multiply(load_row(weight, HEADS * f), splat_row(across[f]))
            second_row = maximum(score, second_row)
        store_row(heads, second, second_row)
        a = add_axis(x, y, z, vectors, found, same)
        if a == FULL:
            return FULL
        found = max(found, a + 1)
        for h in range(HEADS):
            heads[second_total + h], heads[limit + h], begins[h] = 0, np.inf, count[1, h]
            part = first_share[HEADS * c + h]
            if part > 0:
                if choose(0, h, a, part / heads[total + h], chosen, share, count) == FULL:
                    return FULL
                if heads[second + h] > 0:
                    heads[limit + h] = heads[second + h] * gap
        found = add_seconds(
            e,
            ux,
            uy,
            uz,
            weight,
            across,
            m,
            width,
            same,
            heads,
            found,
            vectors,
            chosen,
            share,
            count,
        )
        if found == FULL:
            return FULL
        for h in range(HEADS):
            part = first_share[HEADS * c + h]
            if part > 0 and heads[second_total + h] == 0:
                found = add_perpendicular(x, y, z, h, same, found, vectors, chosen, share, count)
                if found == FULL:
                    return FULL
                heads[second_total + h] = 1
            for n in range(begins[h], count[1, h]):
                factor = part / heads[total + h] / heads[second_total + h]
                share[1, h, n] *= factor
                share[2, h, n] *= factor
    merge_axes(
        ux, uy, uz, weight, across, m, same, heads, found, vectors, keys, chosen, share, count
    )
    return 0


@inner
def identity_axes(vectors, chosen, share, count):
    """The Cartesian axes for every head; there is always room for three."""
    kind = vectors.dtype.type
    for k in range(3):
        for x in range(3):
            vectors[k, x] = kind(x == k)
        for h in range(HEADS):
            choose(k, h, k, kind(1), chosen, share, count)
    return 0


@inner
def tied_firsts(weight, m, width, firsts, first_share, heads):
    """How many images are the first axis of some head; they, their shares [., 8], and the sums of these.

    ``heads`` holds the best weights, the sums and the limits, see ``search_axes``.
    """
    best, total, limit_row = 0, 8, load_row(heads, 16)
    count = 0
    for f in range(m):
        bits = at_least(load_row(weight, HEADS * f), limit_row)
        if bits == 0:
            continue
        is_first = False
        for h in range(HEADS):
            part = weight.dtype.type(0)
            if (bits >> h) & 1 and not (width == 0 and heads[total + h] > 0):
                part = tie_share(weight[HEADS * f + h], heads[best + h], width)
            first_share[HEADS * count + h] = part
            heads[total + h] += part
            is_first = is_first or part > 0
        if is_first:
            firsts[count] = f
            count += 1
    return count


@inner
def add_seconds(
    e, ux, uy, uz, weight, across, m, width, same, heads, found, vectors, chosen, share, count
):  # fmt: skip
    """Second and third axes beside the first axis along image e; how many axes there are then, or FULL."""
    limit_row, second, second_total = load_row(heads, 16), 24, 32
    for f in range(m):
        bits = at_least(multiply(load_row(weight, HEADS * f), splat_row(across[f])), limit_row)
        if bits == 0:
            continue
        px, py, pz, qx, qy, qz = complete(ux[e], uy[e], uz[e], ux[f], uy[f], uz[f])
        a = add_axis(px, py, pz, vectors, found, same)
        if a == FULL:
            return FULL
        found = max(found, a + 1)
        b = add_axis(qx, qy, qz, vectors, found, same)
        if b == FULL:
            return FULL
        found = max(found, b + 1)
        for h in range(HEADS):
            if (bits >> h) & 1 and not (width == 0 and heads[second_total + h] > 0):
                part = tie_share(weight[HEADS * f + h] * across[f], heads[second + h], width)
                if choose(1, h, a, part, chosen, share, count) == FULL:
                    return FULL
                choose(2, h, b, part, chosen, share, count)
                heads[second_total + h] += part
    return found


@inner
def add_perpendicular(x, y, z, h, same, found, vectors, chosen, share, count):
    """Every image is on one line with (x, y, z): any perpendicular serves. As ``add_seconds``."""
    kind = vectors.dtype.type
    is_y = abs(y) < abs(x)
    is_z = abs(z) < min(abs(x), abs(y))
    is_y = is_y and not is_z
    px, py, pz, qx, qy, qz = complete(x, y, z, kind(not is_y and not is_z), kind(is_y), kind(is_z))
    a = add_axis(px, py, pz, vectors, found, same)
    if a == FULL:
        return FULL
    found = max(found, a + 1)
    b = add_axis(qx, qy, qz, vectors, found, same)
    if b == FULL:
        return FULL
    if choose(1, h, a, kind(1), chosen, share, count) == FULL:
        return FULL
    choose(2, h, b, kind(1), chosen, share, count)
    return max(found, b + 1)


@inner
def merge_axes(
    ux, uy, uz, weight, cosine, m, same, heads, found, vectors, keys, chosen, share, count
):  # fmt: skip
    """Of the axes of a head, those that are equal or see the same become one, with the sum of the shares."""
    row = load_row(weight, 0)
    for f in range(1, m):
        row = add(load_row(weight, HEADS * f), row)
    store_row(heads, 0, row)  # all weight of each head
    for a in range(found):
        keys[2 * HEADS * a] = np.inf
    for k in range(3):
        for h in range(HEADS):
            kept = 0
            for n in range(count[k, h]):  # equal axes have one number
                axis, j = chosen[k, h, n], 0
                while j < kept and chosen[k, h, j] != axis:
                    j += 1
                if j < kept:
                    share[k, h, j] += share[k, h, n]
                else:
                    chosen[k, h, kept], share[k, h, kept] = axis, share[k, h, n]
                    kept += 1
            count[k, h] = kept
            if kept < 2:
                continue
            distinct, limit = 0, same * heads[h]
            for n in range(kept):
                a = chosen[k, h, n]
                if keys[2 * HEADS * a] == np.inf:
                    store_key(a, ux, uy, uz, weight, cosine, m, vectors, keys)
                j = 0
                while j < distinct and not alike(keys, chosen[k, h, j], a, h, limit):
                    j += 1
                if j < distinct:
                    share[k, h, j] += share[k, h, n]
                else:
                    chosen[k, h, distinct], share[k, h, distinct] = a, share[k, h, n]
                    distinct += 1
            count[k, h] = distinct


@inlined
def alike(keys, a, b, h, limit):
    first, second = 2 * HEADS * a + h, 2 * HEADS * b + h
    odd, even = (
        abs(keys[first] - keys[second]),
        abs(keys[first + HEADS] - keys[second + HEADS]),
    )
    return max(odd, even) <= limit


@inner
def store_key(a, ux, uy, uz, weight, cosine, m, vectors, keys):
    """Sums of c + c^3 + ... + c^9 and c^2 + c^4 + ... + c^10 over the cosines with axis a.

    They tell distributions apart. The low powers matter: high ones hardly change as an axis along the
    heaviest image is tilted. So do the high ones: at a site of point group 622 opposite axes along no
    symmetry direction have equal odd powers below the seventh.
    The polynomials that are invariant under a crystallographic point group are made of some of degree 9
    and less, so that axes which no operation relates differ in one of these powers.
    """
    x, y, z = splat_vector(vectors[a, 0]), splat_vector(vectors[a, 1]), splat_vector(vectors[a, 2])
    for f in range(0, m, LANES):
        c = fma(y, load_vector(uy, f), multiply(z, load_vector(uz, f)))
        store_vector(cosine, f, fma(x, load_vector(ux, f), c))
    zero, one = weight.dtype.type(0), weight.dtype.type(1)
    odd, even = splat_row(zero), splat_row(zero)
    for f in range(m):
        c = cosine[f]
        square = c * c
        both = c * (one + square * (one + square * (one + square * (one + square))))
        row = load_row(weight, HEADS * f)
        odd = fma(row, splat_row(both), odd)
        even = fma(row, splat_row(both * c), even)
    store_row(keys, 2 * HEADS * a, odd)
    store_row(keys, 2 * HEADS * a + HEADS, even)


@inner
def rows_needed(count):
    """How many rows of axes ``append_rows`` adds for an atom."""
    needed = 0
    for k in range(3):
        here = 0
        for h in range(HEADS):
            here = max(here, count[k, h])
        needed += here
    return needed


@inner
def append_rows(vectors, chosen, share, count, rows, kinds, used):
    """Add the axes of an atom as rows (x, y, z, share) of 8 heads, by axis k; returns the number of rows."""
    for k in range(3):
        here = 0
        for h in range(HEADS):
            here = max(here, count[k, h])
        for n in range(here):
            start = HEADS * 4 * used
            for h in range(HEADS):
                x = y = z = part = rows.dtype.type(0)
                if n < count[k, h]:
                    a = chosen[k, h, n]
                    x, y, z, part = vectors[a, 0], vectors[a, 1], vectors[a, 2], share[k, h, n]
                rows[start + h], rows[start + HEADS + h] = x, y
                rows[start + 2 * HEADS + h], rows[start + 3 * HEADS + h] = z, part
            kinds[used] = k
            used += 1
    return used
