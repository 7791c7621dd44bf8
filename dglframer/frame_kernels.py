"""The search for ``max`` frames on a CPU, compiled by numba; ``frames.max_frames`` states the rule."""

import numba
import numpy as np

from dglframer.encodings import SELF_DISTANCE_SQUARED


@numba.njit(cache=True, nogil=True)
def max_frames(first_atom, last_atom, ptr, logits_EH, u_E3, d2_E, tolerance, frames_NH33):
    """Fill frames_NH33 for a range of atoms."""
    frame = np.zeros((3, 3), frames_NH33.dtype)
    for i in range(first_atom, last_atom):
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
