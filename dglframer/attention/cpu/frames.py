"""The search for ``max`` frames on a CPU, compiled by numba; ``attention.frames`` states the rule.

Frames that tie are merged axis by axis: the encoding along an axis depends on nothing but the
distribution of the cosines with it, so axes with the same distribution count as one, with the sum of
their shares. Most ties are symmetries, and most of them leave a single axis.
"""

import numba
import numpy as np

from dglframer.attention.constants import ALONG_AXIS, SELF_DISTANCE_SQUARED

FAST = {"contract", "nsz", "reassoc"}
NEAR = 0.02  # axes are sought among images of this part of the largest weight; seldom farther


@numba.njit(cache=True, nogil=True)
def max_axes(first_atom, last_atom, ptr, alpha_EH, u_E3, d2_E, width, same):
    """(rows [atoms], axes [P, 3, L], shares [P, L]) of a range of atoms, as in ``WeightedAxes``.

    ``alpha_EH`` are the weights of the attention. A ``width`` of 0 takes the first of the best.
    ``same``: components and keys of axes that differ by less are equal.
    """
    heads, dtype = alpha_EH.shape[1], alpha_EH.dtype
    rows = np.ones(last_atom - first_atom, np.int64)
    axes_P3L = np.zeros((len(rows) + 8, 3, 3 * heads), dtype)
    share_PL = np.zeros((len(rows) + 8, 3 * heads), dtype)
    frames, share = np.empty((16, 3, 3), dtype), np.empty(16, dtype)
    merged, part = np.empty((16, 3), dtype), np.empty(16, dtype)
    used, most = 0, 0
    for i in range(first_atom, last_atom):
        most = max(most, ptr[i + 1] - ptr[i])
    u_F3, u_3F, near_F3 = (
        np.empty((most, 3), dtype),
        np.empty((3, most), dtype),
        np.empty((most, 3), dtype),
    )
    weight_HF, near_F = np.empty((heads, most), dtype), np.empty(most, dtype)
    for i in range(first_atom, last_atom):
        here, count = i - first_atom, 0
        for e in range(ptr[i], ptr[i + 1]):
            if d2_E[e] > SELF_DISTANCE_SQUARED:
                for x in range(3):
                    u_F3[count, x] = u_3F[x, count] = u_E3[e, x]
                for h in range(heads):
                    weight_HF[h, count] = alpha_EH[e, h]
                count += 1
        for h in range(heads):
            weight_F = weight_HF[h, :count]
            floor = NEAR * _largest(weight_F)
            found = _nearest(weight_F, u_F3, floor, near_F, near_F3)
            near = near_F[:found], near_F3
            found, frames, share = _tied_frames(*near, floor, width, frames, share)
            if found == 0:
                found, frames, share = _tied_frames(weight_F, u_F3, 0.0, width, frames, share)
            if len(merged) < len(frames):
                merged, part = np.empty((len(frames), 3), dtype), np.empty(len(frames), dtype)
            for axis in range(3):
                kept = _merge(frames[:found, axis], share, weight_F, u_3F, same, merged, part)
                rows[here] = max(rows[here], kept)
                while used + rows[here] > len(axes_P3L):
                    axes_P3L = np.concatenate((axes_P3L, np.zeros_like(axes_P3L)))
                    share_PL = np.concatenate((share_PL, np.zeros_like(share_PL)))
                for k in range(kept):
                    share_PL[used + k, axis * heads + h] = part[k]
                    for x in range(3):
                        axes_P3L[used + k, x, axis * heads + h] = merged[k, x]
        used += rows[here]
    return rows, axes_P3L[:used], share_PL[:used]


@numba.njit(cache=True, nogil=True, fastmath=FAST | {"nnan", "ninf"})
def _largest(weight_F):
    largest = weight_F.dtype.type(0.0)
    for f in range(len(weight_F)):
        largest = max(largest, weight_F[f])
    return largest


@numba.njit(cache=True, nogil=True)
def _nearest(weight_F, u_F3, floor, near_F, near_F3):
    """How many weights reach the floor; they and their directions are put side by side, in order."""
    count = 0
    for f in range(len(weight_F)):
        if weight_F[f] >= floor:
            near_F[count] = weight_F[f]
            for x in range(3):
                near_F3[count, x] = u_F3[f, x]
            count += 1
    return count


@numba.njit(cache=True, nogil=True)
def _tied_frames(weight_F, u_F3, floor, width, frames, share):
    """(count, frames, shares) of one atom and head. Buffers may grow.

    Images with weights below ``floor`` are not given; the count is 0 if one of them might matter.
    """
    if len(weight_F) == 0:  # no neighbour within the cutoff: nothing to see, any frame serves
        frames[0] = np.eye(3)
        share[0] = 1.0
        return 1, frames, share
    best, least = _largest(weight_F), np.exp(-width)
    found, total = 0, 0.0
    for e in range(len(weight_F)):
        if weight_F[e] < best * least:
            continue
        first_share = _tie_share(weight_F[e], best, width)
        start, second_total = found, 0.0
        second = _second_score(weight_F, u_F3, u_F3[e])
        if second * least < floor:
            return 0, frames, share
        for f in range(len(weight_F)):
            if weight_F[f] < second * least or second == 0.0:
                continue  # 1 - |cos| <= 1: its score is lower still
            score = _score(weight_F[f], u_F3[e], u_F3[f])
            if score < second * least:
                continue
            frames, share = _with_room(frames, share, found)
            _complete(u_F3[e], u_F3[f], frames[found])
            share[found] = _tie_share(score, second, width)
            second_total += share[found]
            found += 1
            if width == 0.0:
                break
        if found == start:  # every image on one line: any perpendicular serves
            frames, share = _with_room(frames, share, found)
            _perpendicular(u_F3[e], frames[found])
            share[found] = second_total = 1.0
            found += 1
        share[start:found] *= first_share / second_total
        total += first_share
        if width == 0.0:
            break
    share[:found] /= total
    return found, frames, share


@numba.njit(cache=True, nogil=True)
def _with_room(frames, share, found):
    """The buffers, or twice as large ones if they are full."""
    if found < len(frames):
        return frames, share
    return (
        np.concatenate((frames, np.empty_like(frames))),
        np.concatenate((share, np.empty_like(share))),
    )


@numba.njit(cache=True, nogil=True)
def _tie_share(value, best, width):
    """``frames.tie_share`` of the gap between the logarithms."""
    if value >= best:
        return 1.0
    ratio = min(np.log(best / value) / width, 1.0)
    return (1.0 - ratio * ratio) ** 2


@numba.njit(cache=True, nogil=True, inline="always")
def _score(weight, e1, u):
    """Weight times (1 - |cos|); images along e1 are out."""
    c = abs(e1[0] * u[0] + e1[1] * u[1] + e1[2] * u[2])
    return weight * (1 - c) if c < ALONG_AXIS else weight * 0


@numba.njit(cache=True, nogil=True)
def _second_score(weight_F, u_F3, e1):
    best = weight_F[0] * 0
    for f in range(len(weight_F)):
        if weight_F[f] > best:
            best = max(best, _score(weight_F[f], e1, u_F3[f]))
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
def _merge(axis_F3, share_F, weight_F, u_3F, same, merged, part):
    """How many axes are distinct; these, and the sums of their shares, are left in merged and part.

    First equal vectors are merged, then those along which the images are spread alike.
    """
    kept = 0
    for f in range(len(axis_F3)):
        known = 0
        while known < kept and not _close(merged[known], axis_F3[f], same):
            known += 1
        if known < kept:
            part[known] += share_F[f]
        else:
            merged[kept], part[kept] = axis_F3[f], share_F[f]
            kept += 1
    if kept == 1:
        return kept
    keys = np.empty((kept, 2))
    distinct, limit = 0, same * weight_F.sum()
    for m in range(kept):
        odd, even = _spread(merged[m], weight_F, u_3F)
        known = 0
        while (
            known < distinct and max(abs(keys[known, 0] - odd), abs(keys[known, 1] - even)) > limit
        ):
            known += 1
        if known < distinct:
            part[known] += part[m]
        else:
            merged[distinct], part[distinct] = merged[m], part[m]
            keys[distinct, 0], keys[distinct, 1] = odd, even
            distinct += 1
    return distinct


@numba.njit(cache=True, nogil=True, inline="always")
def _close(a, b, same):
    return max(abs(a[0] - b[0]), abs(a[1] - b[1]), abs(a[2] - b[2])) < same


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def _spread(axis, weight_F, u_3F):
    """Sums of c + c^3 + c^5 and c^2 + c^4 + c^6 over the cosines with an axis tell distributions apart.

    The low powers matter: high ones hardly change as an axis along the heaviest image is tilted.
    """
    x, y, z = axis[0], axis[1], axis[2]
    odd, even = weight_F[0] * 0, weight_F[0] * 0
    for f in range(len(weight_F)):
        c = x * u_3F[0, f] + y * u_3F[1, f] + z * u_3F[2, f]
        square = c * c
        both = weight_F[f] * c * (1 + square * (1 + square))
        odd += both
        even += both * c
    return odd, even
