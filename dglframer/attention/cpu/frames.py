"""The search for the ``max`` frames of one atom; ``attention.frames`` states the rule.

The 8 heads of a row search together and share candidate axes: most have the same ones. Frames that tie are
merged axis by axis: the encoding along an axis depends on nothing but the distribution of the cosines with
it, so axes with the same distribution count as one, with the sum of their shares. Most ties are symmetries,
and most of them leave a single axis.

Found axes are a tuple of arrays that grow: (vectors [A, 3], keys [A, 16], chosen [3, 8, C], share [3, 8, C],
count [3, 8]): head h looks along axis k of its frame as chosen[k, h, :count[k, h]], numbers of vectors.
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


@inner
def new_search(like):
    """Empty arrays for the axes of an atom, of the element type of an array."""
    return (
        np.zeros((64, 3), like.dtype),
        np.zeros((64, 2 * HEADS), like.dtype),
        np.zeros((3, HEADS, 16), np.int64),
        np.zeros((3, HEADS, 16), like.dtype),
        np.zeros((3, HEADS), np.int64),
    )


@inner
def add_axis(x, y, z, search, found, same):
    """(search, number of the axis, axes so far): an axis is added unless an equal one is there."""
    vectors, keys, chosen, share, count = search
    for a in range(found):
        if (
            max(abs(vectors[a, 0] - x), abs(vectors[a, 1] - y), abs(vectors[a, 2] - z)) < same
        ):  # fmt: skip
            return search, a, found
    if found == len(vectors):
        vectors = np.concatenate((vectors, np.zeros_like(vectors)))
        keys = np.concatenate((keys, np.zeros_like(keys)))
        search = vectors, keys, chosen, share, count
    vectors[found, 0], vectors[found, 1], vectors[found, 2] = x, y, z
    return search, found, found + 1


@inner
def choose(search, k, h, axis, part):
    """Head h looks along this axis as axis k of its frame, with a share."""
    vectors, keys, chosen, share, count = search
    n = count[k, h]
    if n == chosen.shape[2]:
        chosen = np.concatenate((chosen, np.zeros_like(chosen)), axis=2)
        share = np.concatenate((share, np.zeros_like(share)), axis=2)
        search = vectors, keys, chosen, share, count
    chosen[k, h, n], share[k, h, n] = axis, part
    count[k, h] = n + 1
    return search


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
def search_axes(ux, uy, uz, weight, across, m, width, same, firsts, first_share, search):
    """(search, axes): every choice of frame within ``width`` of the best, for every head.

    ``weight`` [m, 8] and (ux, uy, uz) [m] are those of the images other than the atom itself. ``across``,
    ``firsts`` [m] and ``first_share`` [m, 8] are room to work in. A width of 0 takes the first of the best.
    """
    search[4][:] = 0
    kind = weight.dtype.type
    found, none, one = 0, kind(0), kind(1)
    if m == 0:  # no neighbour within the cutoff: nothing to see, any frame serves
        for k in range(3):
            x, y, z = kind(k == 0), kind(k == 1), kind(k == 2)
            search, a, found = add_axis(x, y, z, search, found, same)
            for h in range(HEADS):
                search = choose(search, k, h, a, one)
        return search, found
    best, total, second, second_total = (
        np.zeros(HEADS, weight.dtype),
        np.zeros(HEADS, weight.dtype),
        np.zeros(HEADS, weight.dtype),
        np.zeros(HEADS, weight.dtype),
    )
    limits, before = np.zeros(HEADS, weight.dtype), np.zeros(HEADS, np.int64)
    gap = np.exp(-width)
    best_row = load_row(weight, 0)
    for f in range(1, m):
        best_row = maximum(load_row(weight, HEADS * f), best_row)
    store_row(best, 0, best_row)
    for h in range(HEADS):  # a head that sees nothing of these images needs no frame
        limits[h] = best[h] * gap if best[h] > 0 else np.inf
    n_firsts = tied_firsts(weight, m, best, limits, width, firsts, first_share, total)
    along = splat_vector(kind(ALONG_AXIS))
    for c in range(n_firsts):
        e = firsts[c]
        x, y, z = ux[e], uy[e], uz[e]
        vx, vy, vz, ones = splat_vector(x), splat_vector(y), splat_vector(z), splat_vector(one)
        for f in range(0, m, LANES):  # 1 - |cos|, or 0 along the first axis
            cosine = fma(vy, load_vector(uy, f), multiply(vz, load_vector(uz, f)))
            cosine = absolute(fma(vx, load_vector(ux, f), cosine))
            store_vector(across, f, where_below(cosine, along, subtract(ones, cosine)))
        second_row = splat_row(none)
        for f in range(m):
            score = multiply(load_row(weight, HEADS * f), splat_row(across[f]))
            second_row = maximum(score, second_row)
        store_row(second, 0, second_row)
        search, a, found = add_axis(x, y, z, search, found, same)
        for h in range(HEADS):
            second_total[h], before[h], limits[h] = 0, search[4][1, h], np.inf
            if first_share[HEADS * c + h] > 0:
                search = choose(search, 0, h, a, first_share[HEADS * c + h] / total[h])
                if second[h] > 0:
                    limits[h] = second[h] * gap
        search, found = add_seconds(
            e, ux, uy, uz, weight, across, m, width, same, second, limits, second_total, search, found
        )  # fmt: skip
        for h in range(HEADS):
            if first_share[HEADS * c + h] > 0 and second_total[h] == 0:
                # every image on one line: any perpendicular serves
                j = np.argmin(np.abs(np.array([x, y, z])))
                px, py, pz, qx, qy, qz = complete(
                    x, y, z, kind(j == 0), kind(j == 1), kind(j == 2)
                )
                search, a, found = add_axis(px, py, pz, search, found, same)
                search = choose(search, 1, h, a, one)
                search, a, found = add_axis(qx, qy, qz, search, found, same)
                search = choose(search, 2, h, a, one)
                second_total[h] = 1
            for n in range(before[h], search[4][1, h]):
                factor = first_share[HEADS * c + h] / total[h] / second_total[h]
                search[3][1, h, n] *= factor
                search[3][2, h, n] *= factor
    merge_axes(ux, uy, uz, weight, across, m, same, search, found)
    return search, found


@inner
def tied_firsts(weight, m, best, limits, width, firsts, first_share, total):
    """How many images are the first axis of some head; they, their shares [., 8], and the sums of these."""
    count, limit = 0, load_row(limits, 0)
    total[:] = 0
    for f in range(m):
        bits = at_least(load_row(weight, HEADS * f), limit)
        if bits == 0:
            continue
        is_first = False
        for h in range(HEADS):
            part = weight.dtype.type(0)
            if (bits >> h) & 1 and not (width == 0 and total[h] > 0):
                part = tie_share(weight[HEADS * f + h], best[h], width)
            first_share[HEADS * count + h] = part
            total[h] += part
            is_first = is_first or part > 0
        if is_first:
            firsts[count] = f
            count += 1
    return count


@inner
def add_seconds(
    e, ux, uy, uz, weight, across, m, width, same, second, limits, second_total, search, found
):  # fmt: skip
    """(search, axes): the second and third axes beside the first axis along image e."""
    limit = load_row(limits, 0)
    for f in range(m):
        bits = at_least(multiply(load_row(weight, HEADS * f), splat_row(across[f])), limit)
        if bits == 0:
            continue
        px, py, pz, qx, qy, qz = complete(ux[e], uy[e], uz[e], ux[f], uy[f], uz[f])
        search, a, found = add_axis(px, py, pz, search, found, same)
        search, b, found = add_axis(qx, qy, qz, search, found, same)
        for h in range(HEADS):
            if (bits >> h) & 1 and not (width == 0 and second_total[h] > 0):
                part = tie_share(weight[HEADS * f + h] * across[f], second[h], width)
                search = choose(search, 1, h, a, part)
                search = choose(search, 2, h, b, part)
                second_total[h] += part
    return search, found


@inner
def merge_axes(ux, uy, uz, weight, cosine, m, same, search, found):
    """Of the axes of a head, those that are equal or see the same become one, with the sum of the shares."""
    vectors, keys, chosen, share, count = search
    all_weight = np.zeros(HEADS, weight.dtype)
    row = load_row(weight, 0)
    for f in range(1, m):
        row = add(load_row(weight, HEADS * f), row)
    store_row(all_weight, 0, row)
    keys[:found, 0] = np.inf
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
            if kept == 1:
                continue
            distinct, limit = 0, same * all_weight[h]
            for n in range(kept):
                a = chosen[k, h, n]
                if keys[a, 0] == np.inf:
                    store_keys(vectors[a], ux, uy, uz, weight, cosine, m, keys[a])
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
    odd, even = abs(keys[a, h] - keys[b, h]), abs(keys[a, HEADS + h] - keys[b, HEADS + h])
    return max(odd, even) <= limit


@inner
def store_keys(axis, ux, uy, uz, weight, cosine, m, key):
    """Sums of c + c^3 + c^5 and c^2 + c^4 + c^6 over the cosines with an axis tell distributions apart.

    The low powers matter: high ones hardly change as an axis along the heaviest image is tilted.
    """
    x, y, z = splat_vector(axis[0]), splat_vector(axis[1]), splat_vector(axis[2])
    for f in range(0, m, LANES):
        c = fma(y, load_vector(uy, f), multiply(z, load_vector(uz, f)))
        store_vector(cosine, f, fma(x, load_vector(ux, f), c))
    odd = splat_row(weight.dtype.type(0))
    even, one = odd, weight.dtype.type(1)
    for f in range(m):
        c = cosine[f]
        square = c * c
        both = c * (one + square * (one + square))
        row = load_row(weight, HEADS * f)
        odd = fma(row, splat_row(both), odd)
        even = fma(row, splat_row(both * c), even)
    store_row(key, 0, odd)
    store_row(key, HEADS, even)


@inner
def append_rows(search, rows, kinds, used):
    """(rows, kinds, number of rows): the axes of an atom as rows (x, y, z, share) of 8 heads, by kind k."""
    vectors, _, chosen, share, count = search
    for k in range(3):
        most = count[k].max()
        while HEADS * 4 * (used + most) > len(rows):
            rows = np.concatenate((rows, np.zeros_like(rows)))
            kinds = np.concatenate((kinds, np.zeros_like(kinds)))
        for n in range(most):
            start = HEADS * 4 * used
            rows[start : start + HEADS * 4] = 0
            for h in range(HEADS):
                if n < count[k, h]:
                    a = chosen[k, h, n]
                    rows[start + h] = vectors[a, 0]
                    rows[start + HEADS + h] = vectors[a, 1]
                    rows[start + 2 * HEADS + h] = vectors[a, 2]
                    rows[start + 3 * HEADS + h] = share[k, h, n]
            kinds[used] = k
            used += 1
    return rows, kinds, used
