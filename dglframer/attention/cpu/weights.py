"""Attention's weights and weighted values on a CPU, and their gradients, compiled by numba.

Each works on a range of atoms whose edges lead to no atom outside it (whole crystals), so that
ranges can run side by side, and the order of additions, hence every bit, does not depend on how
many do. Edges whose weight cannot matter (``matters_E`` is 0) are passed over.
"""

import numba
import numpy as np

FAST = {"contract", "nsz"}  # fused multiply-adds; the order of additions stays


@numba.njit(cache=True, nogil=True, fastmath=FAST | {"reassoc"})
def logits(first_atom, last_atom, ptr, src, q_NHD, k_NHD, decay_NH, d2_E, scale, out_EH):
    """out_EH = scale q_i . k_j - decay_i d^2."""
    heads, width = q_NHD.shape[1:]
    for i in range(first_atom, last_atom):
        q, decay = q_NHD[i], decay_NH[i]
        for e in range(ptr[i], ptr[i + 1]):
            k = k_NHD[src[e]]
            for h in range(heads):
                value = q[h, 0] * k[h, 0]
                for d in range(1, width):
                    value += q[h, d] * k[h, d]
                out_EH[e, h] = scale * value - decay[h] * d2_E[e]


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def attend(first_atom, last_atom, ptr, src, v_NHD, gap, alpha_EH, matters_E, y_NHD):
    """Turn logits into weights in place, mark the edges that matter, y_i = sum alpha v_j.

    An edge matters if, for some head, its weight is at least exp(-gap) of the largest.
    """
    heads, width = v_NHD.shape[1:]
    largest, total = np.empty((2, heads), alpha_EH.dtype)
    for i in range(first_atom, last_atom):
        largest[:] = -np.inf
        total[:] = 0.0
        for e in range(ptr[i], ptr[i + 1]):
            for h in range(heads):
                largest[h] = max(largest[h], alpha_EH[e, h])
        for e in range(ptr[i], ptr[i + 1]):
            matters_E[e] = 0
            for h in range(heads):
                alpha_EH[e, h] -= largest[h]
                if alpha_EH[e, h] >= -gap:
                    matters_E[e] = 1
            for h in range(heads):
                if matters_E[e] == 0 or alpha_EH[e, h] < -60.0:  # exp of less, squared, is denormal
                    alpha_EH[e, h] = 0.0
                else:
                    alpha_EH[e, h] = np.exp(alpha_EH[e, h])
                    total[h] += alpha_EH[e, h]
        y = y_NHD[i]
        y[:] = 0.0
        for e in range(ptr[i], ptr[i + 1]):
            if matters_E[e] == 0:
                continue
            v = v_NHD[src[e]]
            for h in range(heads):
                alpha_EH[e, h] /= total[h]
                weight = alpha_EH[e, h]
                for d in range(width):
                    y[h, d] += weight * v[h, d]


@numba.njit(cache=True, nogil=True, fastmath=FAST | {"reassoc"})
def attend_backward(
    first_atom, last_atom, ptr, src, q_NHD, k_NHD, v_NHD, d2_E, scale, alpha_EH, matters_E, grad_y_NHD,
    grad_alpha_EH, grad_q_NHD, grad_k_NHD, grad_v_NHD, grad_decay_NH,
):  # fmt: skip
    """Gradients of q, k, v and decay; grad_alpha_EH holds the basis sums' part and is overwritten.

    grad_k and grad_v of the range must be zero on entry; the other outputs are overwritten.
    """
    heads, width = q_NHD.shape[1:]
    mean = np.empty(heads, alpha_EH.dtype)
    for i in range(first_atom, last_atom):
        grad_y, q, grad_q, grad_decay = grad_y_NHD[i], q_NHD[i], grad_q_NHD[i], grad_decay_NH[i]
        mean[:] = 0.0
        grad_q[:] = 0.0
        grad_decay[:] = 0.0
        for e in range(ptr[i], ptr[i + 1]):
            if matters_E[e] == 0:
                continue
            v, grad_v = v_NHD[src[e]], grad_v_NHD[src[e]]
            for h in range(heads):
                weight = alpha_EH[e, h]
                value = grad_y[h, 0] * v[h, 0]
                for d in range(1, width):
                    value += grad_y[h, d] * v[h, d]
                for d in range(width):
                    grad_v[h, d] += weight * grad_y[h, d]
                grad_alpha_EH[e, h] += value
                mean[h] += weight * grad_alpha_EH[e, h]
        for e in range(ptr[i], ptr[i + 1]):
            if matters_E[e] == 0:
                continue
            k, grad_k = k_NHD[src[e]], grad_k_NHD[src[e]]
            for h in range(heads):
                grad_logit = alpha_EH[e, h] * (grad_alpha_EH[e, h] - mean[h])
                grad_decay[h] -= grad_logit * d2_E[e]
                grad_logit *= scale
                for d in range(width):
                    grad_q[h, d] += grad_logit * k[h, d]
                    grad_k[h, d] += grad_logit * q[h, d]
