"""The inner loops of attention on a CPU, compiled by numba: basis sums and frames.

Each has a plain torch twin (``basis_sums``, ``frames``) that runs anywhere and defines the result.
The loops are serial: the order of additions, and so every bit, is fixed.
Lanes: the H heads x 3 axes of one atom, axis-major (lane = axis * H + head), side by side in memory.
"""

import numba
import numpy as np

from dglframer.encodings import SELF_DISTANCE_SQUARED

BLOCK = 8  # edges whose recurrences run side by side: one alone would wait for its own last result
FAST = {"contract", "nsz"}  # fused multiply-adds; the order of additions stays


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def sum_bases(ptr, alpha_EH, basis_EK, u_E3, d2_E, axes_N3L, dist_NHK, cheb_NQL):
    """dist_NHK += alpha b_dist; cheb_NQL += alpha T_q(e . u), self edges left out of the latter."""
    heads, lanes, terms = alpha_EH.shape[1], axes_N3L.shape[2], cheb_NQL.shape[1]
    older, newer, double = np.empty((3, BLOCK, lanes), alpha_EH.dtype)
    for i in range(ptr.shape[0] - 1):
        axes, dist, cheb = axes_N3L[i], dist_NHK[i], cheb_NQL[i]
        for e in range(ptr[i], ptr[i + 1]):
            basis = basis_EK[e]
            for h in range(heads):
                weight, row = alpha_EH[e, h], dist[h]
                for k in range(basis.shape[0]):
                    row[k] += weight * basis[k]
        if lanes == 0:
            continue
        for first in range(ptr[i], ptr[i + 1], BLOCK):
            count = min(BLOCK, ptr[i + 1] - first)
            _double_cosines(first, count, u_E3, axes, double)
            for b in range(count):
                inside = d2_E[first + b] > SELF_DISTANCE_SQUARED
                for lane in range(lanes):
                    weight = alpha_EH[first + b, lane % heads] * inside
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


@numba.njit(cache=True, nogil=True, fastmath=FAST | {"reassoc"})
def distance_gradients(ptr, basis_EK, grad_dist_NHK, out_EH):
    """out_EH = the distance basis, times the gradient of its sums."""
    for i in range(ptr.shape[0] - 1):
        for e in range(ptr[i], ptr[i + 1]):
            basis = basis_EK[e]
            for h in range(out_EH.shape[1]):
                row = grad_dist_NHK[i, h]
                value = row[0] * basis[0]
                for k in range(1, basis.shape[0]):
                    value += row[k] * basis[k]
                out_EH[e, h] = value


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def angle_gradients(ptr, u_E3, d2_E, axes_N3L, grad_cheb_NQL, out_EH):
    """out_EH += T_q(e . u), times the gradients of their sums, by Clenshaw's recurrence."""
    heads, lanes, terms = out_EH.shape[1], axes_N3L.shape[2], grad_cheb_NQL.shape[1]
    older, newer, double = np.empty((3, BLOCK, lanes), out_EH.dtype)
    for i in range(ptr.shape[0] - 1):
        axes, grad = axes_N3L[i], grad_cheb_NQL[i]
        for first in range(ptr[i], ptr[i + 1], BLOCK):
            count = min(BLOCK, ptr[i + 1] - first)
            _double_cosines(first, count, u_E3, axes, double)
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
                if d2_E[first + b] <= SELF_DISTANCE_SQUARED:
                    continue
                for lane in range(lanes):
                    value = grad[1, lane] + double[b, lane] * newer[b, lane] - older[b, lane]
                    total = grad[0, lane] + double[b, lane] / 2 * value - newer[b, lane]
                    out_EH[first + b, lane % heads] += total


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def _double_cosines(first, count, u_E3, axes_3L, double_BL):
    """Twice the cosines between the directions of some edges and every axis of their centre."""
    for b in range(count):
        x, y, z = 2 * u_E3[first + b, 0], 2 * u_E3[first + b, 1], 2 * u_E3[first + b, 2]
        for lane in range(axes_3L.shape[1]):
            double_BL[b, lane] = x * axes_3L[0, lane] + y * axes_3L[1, lane] + z * axes_3L[2, lane]


@numba.njit(cache=True, nogil=True)
def max_frames(ptr, logits_EH, u_E3, d2_E, tolerance, frames_NH33):
    """Fill frames_NH33 with the ``max`` frames; ``frames.max_frames`` states the rule."""
    frame = np.zeros((3, 3), frames_NH33.dtype)
    for i in range(ptr.shape[0] - 1):
        first, last = ptr[i], ptr[i + 1]
        for h in range(logits_EH.shape[1]):
            best = -np.inf
            for e in range(first, last):
                if d2_E[e] > SELF_DISTANCE_SQUARED and logits_EH[e, h] > best:
                    best = logits_EH[e, h]
            found, best_view = 0, -np.inf
            for e in range(first, last):
                if d2_E[e] <= SELF_DISTANCE_SQUARED or logits_EH[e, h] < best - tolerance:
                    continue
                second = _second_score(first, last, h, logits_EH, u_E3, d2_E, u_E3[e])
                if second == -np.inf:  # every image on one line: any perpendicular serves
                    _perpendicular(u_E3[e], frame)
                    frames_NH33[i, h] = frame
                    found = -1
                    break
                for f in range(first, last):
                    if d2_E[f] <= SELF_DISTANCE_SQUARED or logits_EH[f, h] < second - tolerance:
                        continue
                    score = _score(logits_EH[f, h], u_E3[e], u_E3[f])
                    if score < second - tolerance:
                        continue
                    _complete(u_E3[e], u_E3[f], frame)
                    found += 1
                    if found == 1:
                        frames_NH33[i, h] = frame
                        continue
                    if found == 2:
                        best_view = _view(
                            first, last, h, best, logits_EH, u_E3, d2_E, frames_NH33[i, h]
                        )
                    view = _view(first, last, h, best, logits_EH, u_E3, d2_E, frame)
                    if view > best_view:
                        best_view = view
                        frames_NH33[i, h] = frame
            if found == 0:  # no neighbour within the cutoff: nothing to see, any frame serves
                frames_NH33[i, h] = np.eye(3)


@numba.njit(cache=True, nogil=True, inline="always")
def _score(logit, e1, u):
    """Weight times (1 - |cos|), as a logarithm; images along e1 are out."""
    c = abs(e1[0] * u[0] + e1[1] * u[1] + e1[2] * u[2])
    if c >= 0.9999:
        return -np.inf
    return logit + np.log(1.0 - c)


@numba.njit(cache=True, nogil=True)
def _second_score(first, last, h, logits_EH, u_E3, d2_E, e1):
    best = -np.inf
    for f in range(first, last):
        # log(1 - |c|) <= 0: an image whose weight is not above the best cannot win
        if d2_E[f] > SELF_DISTANCE_SQUARED and logits_EH[f, h] > best:
            best = max(best, _score(logits_EH[f, h], e1, u_E3[f]))
    return best


@numba.njit(cache=True, nogil=True)
def _complete(e1, u, frame):
    """Rows e1, the part of u perpendicular to e1, and their cross product."""
    c = e1[0] * u[0] + e1[1] * u[1] + e1[2] * u[2]
    x, y, z = u[0] - c * e1[0], u[1] - c * e1[1], u[2] - c * e1[2]
    norm = np.sqrt(x * x + y * y + z * z)
    frame[0] = e1
    frame[1, 0], frame[1, 1], frame[1, 2] = x / norm, y / norm, z / norm
    frame[2, 0] = e1[1] * frame[1, 2] - e1[2] * frame[1, 1]
    frame[2, 1] = e1[2] * frame[1, 0] - e1[0] * frame[1, 2]
    frame[2, 2] = e1[0] * frame[1, 1] - e1[1] * frame[1, 0]


@numba.njit(cache=True, nogil=True)
def _perpendicular(e1, frame):
    """Complete e1 with the Cartesian direction least along it."""
    helper = np.zeros(3, frame.dtype)
    helper[np.argmin(np.abs(e1))] = 1.0
    _complete(e1, helper, frame)


@numba.njit(cache=True, nogil=True)
def _view(first, last, h, best, logits_EH, u_E3, d2_E, frame):
    """The number by which tied frames are ranked, see ``frames.view_key``."""
    total = 0.0
    for f in range(first, last):
        if d2_E[f] <= SELF_DISTANCE_SQUARED or logits_EH[f, h] < best - 7.0:
            continue
        weight = np.exp(logits_EH[f, h] - best) - 1e-3
        if weight <= 0.0:
            continue
        u = u_E3[f]
        p = (
            0.42 * (frame[0, 0] * u[0] + frame[0, 1] * u[1] + frame[0, 2] * u[2])
            + 0.57 * (frame[1, 0] * u[0] + frame[1, 1] * u[1] + frame[1, 2] * u[2])
            + 0.71 * (frame[2, 0] * u[0] + frame[2, 1] * u[1] + frame[2, 2] * u[2])
        )
        total += weight * p * p * p * (1.0 + p * (1.0 + p * (1.0 + p)))
    return total
