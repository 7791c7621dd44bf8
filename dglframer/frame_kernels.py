"""The search for ``max`` frames on a CPU, compiled by numba; ``frames.max_frames`` states the rule."""

import numba
import numpy as np

from dglframer.encodings import SELF_DISTANCE_SQUARED


@numba.njit(cache=True, nogil=True)
def max_frames(first_atom, last_atom, ptr, logits_EH, u_E3, d2_E, tolerance, frames_NH33):
    """Fill frames_NH33 for a range of atoms."""
    heads = logits_EH.shape[1]
    frame = np.zeros((3, 3), frames_NH33.dtype)
    largest_degree = 0
    for i in range(first_atom, last_atom):
        largest_degree = max(largest_degree, ptr[i + 1] - ptr[i])
    by_head = np.empty((heads, largest_degree), logits_EH.dtype)
    for i in range(first_atom, last_atom):
        first, count = ptr[i], ptr[i + 1] - ptr[i]
        for f in range(count):
            inside = d2_E[first + f] > SELF_DISTANCE_SQUARED
            for h in range(heads):
                by_head[h, f] = logits_EH[first + f, h] if inside else -np.inf
        u = u_E3[first : first + count]
        for h in range(heads):
            _max_frame(by_head[h, :count], u, tolerance, frame, frames_NH33[i, h])


@numba.njit(cache=True, nogil=True)
def _max_frame(logits_F, u_F3, tolerance, frame, chosen):
    """The frame of one atom and head from its edges (-inf: the atom itself), written to ``chosen``."""
    best = -np.inf
    for f in range(len(logits_F)):
        best = max(best, logits_F[f])
    if best == -np.inf:  # no neighbour within the cutoff: nothing to see, any frame serves
        chosen[:] = np.eye(3)
        return
    found, best_view = 0, 0.0
    for e in range(len(logits_F)):
        if logits_F[e] < best - tolerance:
            continue
        second = _second_score(logits_F, u_F3, u_F3[e])
        if second == -np.inf:  # every image on one line: any perpendicular serves
            _perpendicular(u_F3[e], chosen)
            return
        for f in range(len(logits_F)):
            if logits_F[f] < second - tolerance:
                continue
            if _score(logits_F[f], u_F3[e], u_F3[f]) < second - tolerance:
                continue
            found += 1
            if found == 1:
                _complete(u_F3[e], u_F3[f], chosen)
                continue
            if found == 2:
                best_view = _view(logits_F, best, u_F3, chosen)
            _complete(u_F3[e], u_F3[f], frame)
            view = _view(logits_F, best, u_F3, frame)
            if view > best_view:
                best_view = view
                chosen[:] = frame


@numba.njit(cache=True, nogil=True, inline="always")
def _score(logit, e1, u):
    """Weight times (1 - |cos|), as a logarithm; images along e1 are out."""
    c = abs(e1[0] * u[0] + e1[1] * u[1] + e1[2] * u[2])
    if c >= 0.9999:
        return -np.inf
    return logit + np.log(1.0 - c)


@numba.njit(cache=True, nogil=True)
def _second_score(logits_F, u_F3, e1):
    best = -np.inf
    for f in range(len(logits_F)):
        # log(1 - |c|) <= 0: an image whose weight is not above the best cannot win
        if logits_F[f] > best:
            best = max(best, _score(logits_F[f], e1, u_F3[f]))
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
def _view(logits_F, best, u_F3, frame):
    """The number by which tied frames are ranked, see ``frames.view_keys``."""
    x = 0.42 * frame[0, 0] + 0.57 * frame[1, 0] + 0.71 * frame[2, 0]
    y = 0.42 * frame[0, 1] + 0.57 * frame[1, 1] + 0.71 * frame[2, 1]
    z = 0.42 * frame[0, 2] + 0.57 * frame[1, 2] + 0.71 * frame[2, 2]
    total = 0.0
    for f in range(len(logits_F)):
        if logits_F[f] < best - 7.0:  # exp(-7) < 0.001
            continue
        weight = np.exp(logits_F[f] - best) - 1e-3
        if weight > 0.0:
            p = x * u_F3[f, 0] + y * u_F3[f, 1] + z * u_F3[f, 2]
            total += weight * p * p * p * (1.0 + p * (1.0 + p * (1.0 + p)))
    return total
