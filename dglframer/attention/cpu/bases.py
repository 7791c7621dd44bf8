"""Weighted sums of the bases on a CPU, and their gradients, compiled by numba.

Like ``weights``, over ranges of whole crystals, edges whose weight cannot matter (``matters_E`` is 0)
passed over. Lanes are the axes of an atom that have a share, of all its rows of ``WeightedAxes``, side by
side; a lane belongs to the column axis * H + head.
"""

import numba
import numpy as np

from dglframer.attention.constants import SELF_DISTANCE_SQUARED

VECTOR = 8  # lanes are padded to a multiple of this: what is left over would go one by one
BLOCK = 8  # edges whose recurrences run side by side: one alone would wait for its own last result
WINDOW_BINS = 16  # centres of the distance basis within 8 widths, if the width is one spacing
FAST = {"contract", "nsz"}  # fused multiply-adds; the order of additions stays


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def distance_windows(d2_E, spacing, width, bins, low_E, window_EW):
    """The part of each edge's distance basis that is not below 2e-14, and the number of its first bin.

    exp(-(d - (k + 1) spacing)^2 / 2 width^2) for k = low ... low + W - 1, W a multiple of
    WINDOW_BINS that spans 8 widths on both sides. ``bins`` is the padded number of bins.
    """
    size = window_EW.shape[1]
    for e in range(d2_E.shape[0]):
        d = np.sqrt(d2_E[e])
        low = min(max(int(d / spacing) - size // 2, 0), bins - size)
        low_E[e] = low
        for k in range(size):
            z = (d - (low + k + 1) * spacing) / width
            window_EW[e, k] = np.exp(max(-z * z / 2, -50.0))


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def sum_bases(
    first_atom, last_atom, ptr, matters_E, alpha_EH, low_E, window_EW, u_E3, d2_E, axes_ptr, axes_P3L,
    share_PL, dist_NHK, cheb_NQL,
):  # fmt: skip
    """dist_NHK += alpha b_dist; cheb_NQL += alpha T_q(e . u), self edges left out of the latter."""
    heads, terms = alpha_EH.shape[1], cheb_NQL.shape[1]
    max_lanes = _max_lanes(first_atom, last_atom, axes_ptr, axes_P3L)
    axes, share, column = _lane_buffers(max_lanes, alpha_EH.dtype)
    older, newer, double = np.empty((3, BLOCK, max_lanes), alpha_EH.dtype)
    cheb = np.empty((terms, max_lanes), alpha_EH.dtype)
    chosen = np.empty(BLOCK, np.int64)
    for i in range(first_atom, last_atom):
        dist = dist_NHK[i]
        for e in range(ptr[i], ptr[i + 1]):
            if matters_E[e] == 0:
                continue
            for start in range(0, window_EW.shape[1], WINDOW_BINS):
                low = low_E[e] + start
                for h in range(heads):
                    weight = alpha_EH[e, h]
                    for k in range(WINDOW_BINS):
                        dist[h, low + k] += weight * window_EW[e, start + k]
        lanes = _lanes_of(i, axes_ptr, axes_P3L, share_PL, axes, share, column)
        cheb[:, :lanes] = 0.0
        edge = ptr[i] if lanes else ptr[i + 1]
        while edge < ptr[i + 1]:
            edge, count = _next_block(edge, ptr[i + 1], matters_E, d2_E, chosen)
            _double_cosines(chosen, count, u_E3, axes, lanes, double)
            for b in range(count):
                for lane in range(lanes):
                    weight = alpha_EH[chosen[b], column[lane] % heads] * share[lane]
                    older[b, lane] = weight
                    newer[b, lane] = weight * double[b, lane] / 2
                    cheb[0, lane] += older[b, lane]
                    cheb[1, lane] += newer[b, lane]
            for q in range(2, terms, 2):  # T_q = 2 c T_{q-1} - T_{q-2}, two at a time
                row, next_row = cheb[q], cheb[q + 1]
                for b in range(count):
                    low, high, two_c = older[b], newer[b], double[b]
                    for lane in range(lanes):
                        value = two_c[lane] * high[lane] - low[lane]
                        next_value = two_c[lane] * value - high[lane]
                        low[lane], high[lane] = value, next_value
                        row[lane] += value
                        next_row[lane] += next_value
        for q in range(terms):
            for lane in range(lanes):
                cheb_NQL[i, q, column[lane]] += cheb[q, lane]


@numba.njit(cache=True, nogil=True, fastmath=FAST | {"reassoc"})
def distance_gradients(
    first_atom, last_atom, ptr, matters_E, low_E, window_EW, grad_dist_NHK, out_EH
):  # fmt: skip
    """out_EH = the distance basis, times the gradient of its sums."""
    for i in range(first_atom, last_atom):
        grad_dist = grad_dist_NHK[i]
        for e in range(ptr[i], ptr[i + 1]):
            if matters_E[e] == 0:
                continue
            out_EH[e] = 0.0
            for start in range(0, window_EW.shape[1], WINDOW_BINS):
                low = low_E[e] + start
                for h in range(out_EH.shape[1]):
                    value = grad_dist[h, low] * window_EW[e, start]
                    for k in range(1, WINDOW_BINS):
                        value += grad_dist[h, low + k] * window_EW[e, start + k]
                    out_EH[e, h] += value


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def angle_gradients(
    first_atom, last_atom, ptr, matters_E, u_E3, d2_E, axes_ptr, axes_P3L, share_PL, grad_cheb_NQL,
    out_EH,
):  # fmt: skip
    """out_EH += T_q(e . u), times the gradients of their sums, by Clenshaw's recurrence."""
    heads, terms = out_EH.shape[1], grad_cheb_NQL.shape[1]
    max_lanes = _max_lanes(first_atom, last_atom, axes_ptr, axes_P3L)
    axes, share, column = _lane_buffers(max_lanes, out_EH.dtype)
    older, newer, double = np.empty((3, BLOCK, max_lanes), out_EH.dtype)
    grad = np.empty((terms, max_lanes), out_EH.dtype)
    chosen = np.empty(BLOCK, np.int64)
    for i in range(first_atom, last_atom):
        lanes = _lanes_of(i, axes_ptr, axes_P3L, share_PL, axes, share, column)
        for q in range(terms):
            for lane in range(lanes):
                grad[q, lane] = grad_cheb_NQL[i, q, column[lane]] * share[lane]
        edge = ptr[i] if lanes else ptr[i + 1]
        while edge < ptr[i + 1]:
            edge, count = _next_block(edge, ptr[i + 1], matters_E, d2_E, chosen)
            _double_cosines(chosen, count, u_E3, axes, lanes, double)
            older[:count] = 0.0
            newer[:count] = 0.0
            for half in range(terms // 2 - 1, 0, -1):  # sum_q g_q T_q, two terms at a time
                row, next_row = grad[2 * half], grad[2 * half + 1]
                for b in range(count):
                    low, high, two_c = older[b], newer[b], double[b]
                    for lane in range(lanes):
                        value = next_row[lane] + two_c[lane] * high[lane] - low[lane]
                        low[lane] = value
                        high[lane] = row[lane] + two_c[lane] * value - high[lane]
            for b in range(count):
                for lane in range(lanes):
                    value = grad[1, lane] + double[b, lane] * newer[b, lane] - older[b, lane]
                    total = grad[0, lane] + double[b, lane] / 2 * value - newer[b, lane]
                    out_EH[chosen[b], column[lane] % heads] += total


@numba.njit(cache=True, nogil=True)
def _max_lanes(first_atom, last_atom, axes_ptr, axes_P3L):
    """Room for the lanes of all axes of any atom of a range, a multiple of VECTOR."""
    max_lanes = 0
    for i in range(first_atom, last_atom):
        max_lanes = max(max_lanes, axes_ptr[i + 1] - axes_ptr[i])
    return (max_lanes * axes_P3L.shape[2] + VECTOR - 1) // VECTOR * VECTOR


@numba.njit(cache=True, nogil=True)
def _lane_buffers(max_lanes, dtype):
    return (
        np.empty((3, max_lanes), dtype),
        np.empty(max_lanes, dtype),
        np.empty(max_lanes, np.int64),
    )


@numba.njit(cache=True, nogil=True)
def _lanes_of(i, axes_ptr, axes_P3L, share_PL, axes, share, column):
    """Put the lanes of atom i that have a share side by side; returns how many, a multiple of VECTOR.

    What is added to reach it has no share.
    """
    count = 0
    for p in range(axes_ptr[i], axes_ptr[i + 1]):
        for lane in range(axes_P3L.shape[2]):
            if share_PL[p, lane] > 0.0:
                share[count], column[count] = share_PL[p, lane], lane
                for x in range(3):
                    axes[x, count] = axes_P3L[p, x, lane]
                count += 1
    while count % VECTOR:
        share[count], column[count] = 0.0, 0
        axes[:, count] = 0.0
        count += 1
    return count


@numba.njit(cache=True, nogil=True)
def _next_block(edge, end, matters_E, d2_E, chosen):
    """Collect up to BLOCK edges that matter and have a direction; returns where to go on, and how many."""
    count = 0
    while edge < end and count < BLOCK:
        if matters_E[edge] and d2_E[edge] > SELF_DISTANCE_SQUARED:
            chosen[count] = edge
            count += 1
        edge += 1
    return edge, count


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def _double_cosines(chosen, count, u_E3, axes_3L, lanes, double_BL):
    """Twice the cosines between the directions of some edges and every axis of their centre."""
    for b in range(count):
        u = u_E3[chosen[b]]
        x, y, z = 2 * u[0], 2 * u[1], 2 * u[2]
        for lane in range(lanes):
            double_BL[b, lane] = x * axes_3L[0, lane] + y * axes_3L[1, lane] + z * axes_3L[2, lane]
