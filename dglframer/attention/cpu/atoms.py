"""One block of attention over a range of atoms, forward and backward: what torch's side calls.

The range holds whole crystals: no edge leaves it, so that ranges run side by side, and no bit depends on how
many do. Arrays have one axis; ``attention`` says what they hold. ``geometry`` = (ptr, pair_ptr, pair_src,
pair_edge, d2, ux, uy, uz, low, window), ``sizes`` = (D, bins of the window, padded distance bins, distance
bins, functions of a cosine, heads), ``cut`` is that of ``windowed``, with no kept bins for whole Gaussians.
"""

import numpy as np

from dglframer.attention.constants import SELF_DISTANCE_SQUARED
from dglframer.attention.cpu import bases, frames, weights, windowed
from dglframer.attention.cpu.compiled import STAMP, entry, inner
from dglframer.attention.cpu.vectors import HEADS, LANES, load_row, splat_row, store_row

PADDING = 2 * LANES  # images that bundles and vectors may read beyond the last


@inner
def max_edges(first, last, ptr):
    """Of any atom of the range."""
    found = 0
    for i in range(first, last):
        found = max(found, ptr[i + 1] - ptr[i])
    return found


@inner
def clear_padding(m, ux, uy, uz, rows):
    for e in range(m, m + PADDING):
        ux[e] = uy[e] = uz[e] = 0
        store_row(rows, HEADS * e, splat_row(rows.dtype.type(0)))


def make_forward(stamp):
    def forward(
        first, last, attends, searches, geometry, sizes, q, k, v, decay, scale, gap, width, same, cut,
        given, alpha, matters, y, sums,
    ):  # fmt: skip
        """Weights, values and sums of the bases; returns (ptr, rows, kinds) of the axes of each atom.

        ``attends``: alpha, matters and y are still to be computed. ``searches``: axes are those of ``max``
        frames, else ``given``, which is what this function returns for a range that begins at atom 0.
        """
        if stamp == "":
            return given
        ptr, pair_ptr, pair_src, pair_edge, d2, ux_E, uy_E, uz_E, low, window = geometry
        features, size, padded, bins, functions, heads = sizes
        given_ptr, given_rows, given_kinds = given
        kind = alpha.dtype
        room = max_edges(first, last, ptr) + PADDING
        ux, uy, uz = np.zeros(room, kind), np.zeros(room, kind), np.zeros(room, kind)
        weight, across = np.zeros(room * HEADS, kind), np.zeros(room, kind)
        firsts, first_share = np.zeros(room, np.int64), np.zeros(room * HEADS, kind)
        heads_room, begins = np.zeros(5 * HEADS, kind), np.zeros(HEADS, np.int64)
        vectors, keys = np.zeros((64, 3), kind), np.zeros(64 * 2 * HEADS, kind)
        chosen, share = np.zeros((3, HEADS, 16), np.int64), np.zeros((3, HEADS, 16), kind)
        count_KH = np.zeros((3, HEADS), np.int64)
        rows = np.zeros(4 * HEADS * (4 * (last - first) + 64), kind)
        kinds = np.zeros(len(rows) // (4 * HEADS), np.int64)
        rows_ptr, used = np.zeros(last - first + 1, np.int64), 0
        axes, shares = np.zeros(64 * LANES, kind), np.zeros(64 * LANES, kind)
        group_kinds = np.zeros(64, np.int64)
        distances, cosines = np.zeros(HEADS * padded, kind), np.zeros(3 * functions * HEADS, kind)
        part = np.zeros(functions * LANES, kind)
        for i in range(first, last):
            if attends:
                weights.attend(
                    i,
                    ptr,
                    pair_ptr,
                    pair_src,
                    pair_edge,
                    d2,
                    features,
                    q,
                    k,
                    v,
                    decay,
                    scale,
                    gap,
                    alpha,
                    matters,
                    y,
                )
            for place in range(HEADS * padded):
                distances[place] = 0
            m = 0
            for e in range(ptr[i], ptr[i + 1]):
                if matters[e] == 0:
                    continue
                bases.add_distances(e, alpha, low, window, size, distances)
                if d2[e] > SELF_DISTANCE_SQUARED:
                    ux[m], uy[m], uz[m] = ux_E[e], uy_E[e], uz_E[e]
                    store_row(weight, HEADS * m, load_row(alpha, HEADS * e))
                    m += 1
            for h in range(heads):
                for b in range(bins):
                    sums[h, i, b] = distances[HEADS * b + h]
            if searches:
                clear_padding(m, ux, uy, uz, weight)
                while frames.search_axes(
                    ux, uy, uz, weight, across, m, width, same, firsts, first_share, heads_room, begins,
                    vectors, keys, chosen, share, count_KH,
                ) == frames.FULL:  # fmt: skip
                    vectors = np.zeros((2 * len(vectors), 3), kind)
                    keys = np.zeros(2 * len(keys), kind)
                    chosen = np.zeros((3, HEADS, 2 * chosen.shape[2]), np.int64)
                    share = np.zeros(chosen.shape, kind)
                start = used
                while used + frames.rows_needed(count_KH) > len(kinds):
                    rows = np.concatenate((rows, np.zeros_like(rows)))
                    kinds = np.concatenate((kinds, np.zeros_like(kinds)))
                used = frames.append_rows(vectors, chosen, share, count_KH, rows, kinds, used)
                rows_ptr[i - first + 1] = used
                from_rows, from_kinds, stop = rows, kinds, used
            else:
                clear_padding(m, ux, uy, uz, weight)
                start, stop = given_ptr[i], given_ptr[i + 1]
                from_rows, from_kinds = given_rows, given_kinds
            count = stop - start
            if count == 0:
                continue
            if 3 * LANES * (count + 1) > len(axes):
                axes, shares = np.zeros(6 * LANES * count, kind), np.zeros(2 * LANES * count, kind)
                group_kinds = np.zeros(2 * count, np.int64)
            groups = bases.group_rows(from_rows, from_kinds, start, stop, axes, shares, group_kinds)
            if cut[3] > 0:
                windowed.sum_gaussians(
                    ux, uy, uz, weight, m, count, groups, axes, shares, group_kinds, functions, cut,
                    part, cosines,
                )  # fmt: skip
            else:
                bases.sum_cosines(
                    ux, uy, uz, weight, m, count, groups, axes, shares, group_kinds, functions, part,
                    cosines,
                )  # fmt: skip
            for h in range(heads):
                for place in range(3 * functions):
                    sums[h, i, bins + place] = cosines[HEADS * place + h]
        if searches:
            return rows_ptr, rows, kinds
        return given

    return forward


def make_backward(stamp):
    def backward(
        first, last, rows_first, geometry, sizes, q, k, v, scale, cut, axes_of_atoms, alpha, matters,
        grad_y, grad_sums, grad_q, grad_k, grad_v, grad_decay,
    ):  # fmt: skip
        """Gradients of q, k, v and the decay; ``axes_of_atoms`` are those of atoms from ``rows_first`` on."""
        if stamp == "":
            return
        ptr, pair_ptr, pair_src, pair_edge, d2, ux_E, uy_E, uz_E, low, window = geometry
        features, size, padded, bins, functions, heads = sizes
        rows_ptr, rows, kinds = axes_of_atoms
        kind = alpha.dtype
        room = max_edges(first, last, ptr) + PADDING
        ux, uy, uz = np.zeros(room, kind), np.zeros(room, kind), np.zeros(room, kind)
        grad_alpha, directed = np.zeros(room * HEADS, kind), np.zeros(room * HEADS, kind)
        place_of = np.zeros(room, np.int64)
        max_rows = max_edges(first - rows_first, last - rows_first, rows_ptr)
        axes, shares = (
            np.zeros(3 * LANES * (max_rows + 1), kind),
            np.zeros(LANES * (max_rows + 1), kind),
        )
        group_kinds = np.zeros(max_rows + 1, np.int64)
        grad_distances = np.zeros(HEADS * padded, kind)
        grad_cosines, part = (
            np.zeros(3 * functions * HEADS, kind),
            np.zeros(functions * LANES, kind),
        )
        total = np.zeros(LANES, kind)
        grad_k[HEADS * features * first : HEADS * features * last] = 0
        grad_v[HEADS * features * first : HEADS * features * last] = 0
        for i in range(first, last):
            weights.value_gradients(
                i,
                ptr,
                pair_ptr,
                pair_src,
                pair_edge,
                features,
                v,
                alpha,
                grad_y,
                grad_alpha,
                grad_v,
            )
            start, stop = rows_ptr[i - rows_first], rows_ptr[i - rows_first + 1]
            for h in range(heads):
                for b in range(bins):
                    grad_distances[HEADS * b + h] = grad_sums[h, i, b]
            m = 0
            for e in range(ptr[i], ptr[i + 1]):
                if matters[e] == 0:
                    continue
                place = HEADS * (e - ptr[i])
                row = bases.distance_gradient(
                    e, low, window, size, grad_distances, load_row(grad_alpha, place)
                )
                store_row(grad_alpha, place, row)
                if d2[e] > SELF_DISTANCE_SQUARED:
                    ux[m], uy[m], uz[m], place_of[m] = ux_E[e], uy_E[e], uz_E[e], place
                    store_row(directed, HEADS * m, row)
                    m += 1
            count = stop - start
            if count > 0:
                clear_padding(m, ux, uy, uz, directed)
                groups = bases.group_rows(rows, kinds, start, stop, axes, shares, group_kinds)
                for h in range(heads):
                    for place in range(3 * functions):
                        grad_cosines[HEADS * place + h] = grad_sums[h, i, bins + place]
                if cut[3] > 0:
                    windowed.gaussian_gradients(
                        ux, uy, uz, m, count, groups, axes, shares, group_kinds, functions, cut, part,
                        total, grad_cosines, directed,
                    )  # fmt: skip
                else:
                    bases.cosine_gradients(
                        ux, uy, uz, m, count, groups, axes, shares, group_kinds, functions, part,
                        grad_cosines, directed,
                    )  # fmt: skip
                for f in range(m):
                    store_row(grad_alpha, place_of[f], load_row(directed, HEADS * f))
            weights.logit_gradients(
                i,
                ptr,
                pair_ptr,
                pair_src,
                pair_edge,
                d2,
                features,
                q,
                k,
                scale,
                alpha,
                grad_alpha,
                grad_q,
                grad_k,
                grad_decay,
            )

    return backward


def make_windows(stamp):
    def windows(first, last, d2, spacing, width, padded, size, cut, ramp, low, window):
        """``bases.distance_window`` of edges first ... last - 1."""
        if stamp == "":
            return
        for e in range(first, last):
            bases.distance_window(d2, e, spacing, width, padded, size, cut, ramp, low, window)

    return windows


forward, backward = entry(make_forward(STAMP)), entry(make_backward(STAMP))
windows = entry(make_windows(STAMP))
