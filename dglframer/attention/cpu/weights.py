"""The weights of one atom's edges and its weighted values, and their gradients.

q, k and v are [N, D, 8] here: a row holds one feature of 8 heads. Edges of an atom that come from the same
atom j lie side by side; they share q . k_j and v_j, so that those are read once for all images of j.
"""

import numpy as np

from dglframer.attention.cpu.compiled import inlined, inner
from dglframer.attention.cpu.vectors import (
    HEADS,
    add,
    at_least,
    divide,
    exp,
    fma,
    load_row,
    maximum,
    multiply,
    splat_row,
    store_row,
    subtract,
)


@inlined
def dot(a, i, b, j, width):
    """Row: sum over the features d of a[i, d] b[j, d]."""
    start_a, start_b = HEADS * width * i, HEADS * width * j
    total = multiply(load_row(a, start_a), load_row(b, start_b))
    for d in range(1, width):
        place = HEADS * d
        total = fma(load_row(a, start_a + place), load_row(b, start_b + place), total)
    return total


@inlined
def add_scaled(weight, a, i, out, j, width):
    """out[j, d] += weight a[i, d] for every feature d."""
    start_a, start_out = HEADS * width * i, HEADS * width * j
    for d in range(width):
        place = start_out + HEADS * d
        value = fma(weight, load_row(a, start_a + HEADS * d), load_row(out, place))
        store_row(out, place, value)


@inner
def attend(
    i, ptr, pair_ptr, pair_src, pair_edge, d2, width, q, k, v, decay, scale, gap, alpha, matters, y
):
    """alpha, matters and y of atom i.

    alpha = softmax of scale q_i . k_j - decay_i d^2. An edge matters if, in some head, its logarithm is at
    most ``gap`` below the largest; the others get weight 0. y_i = sum alpha v_j.
    """
    first, last = ptr[i], ptr[i + 1]
    none, one = alpha.dtype.type(0), alpha.dtype.type(1)
    minus_decay = subtract(splat_row(none), load_row(decay, HEADS * i))
    scale_row = splat_row(scale)
    max_row = splat_row(alpha.dtype.type(-np.inf))
    for p in range(pair_ptr[i], pair_ptr[i + 1]):
        product = multiply(dot(q, i, k, pair_src[p], width), scale_row)
        for e in range(pair_edge[p], pair_edge[p + 1]):
            logit = fma(minus_decay, splat_row(d2[e]), product)
            store_row(alpha, HEADS * e, logit)
            max_row = maximum(logit, max_row)
    limit, total = splat_row(none - gap), splat_row(none)
    for e in range(first, last):
        logit = subtract(load_row(alpha, HEADS * e), max_row)
        if at_least(logit, limit):
            weight = exp(logit)
            matters[e] = 1
        else:
            weight = splat_row(none)
            matters[e] = 0
        total = add(total, weight)
        store_row(alpha, HEADS * e, weight)
    inverse = divide(splat_row(one), total)
    start = HEADS * width * i
    for d in range(width):
        store_row(y, start + HEADS * d, splat_row(none))
    for p in range(pair_ptr[i], pair_ptr[i + 1]):
        weight = splat_row(none)
        for e in range(pair_edge[p], pair_edge[p + 1]):
            alpha_e = multiply(load_row(alpha, HEADS * e), inverse)
            store_row(alpha, HEADS * e, alpha_e)
            weight = add(weight, alpha_e)
        add_scaled(weight, v, pair_src[p], y, i, width)


@inner
def value_gradients(
    i, ptr, pair_ptr, pair_src, pair_edge, width, v, alpha, grad_y, grad_alpha, grad_v
):
    """grad_v_j += alpha grad_y_i; grad_alpha of atom i's edges = grad_y_i . v_j, rows from 0 on."""
    first = ptr[i]
    for p in range(pair_ptr[i], pair_ptr[i + 1]):
        j = pair_src[p]
        product = dot(grad_y, i, v, j, width)
        weight = subtract(product, product)
        for e in range(pair_edge[p], pair_edge[p + 1]):
            weight = add(weight, load_row(alpha, HEADS * e))
            store_row(grad_alpha, HEADS * (e - first), product)
        add_scaled(weight, grad_y, i, grad_v, j, width)


@inner
def logit_gradients(
    i, ptr, pair_ptr, pair_src, pair_edge, d2, width, q, k, scale, alpha, grad_alpha, grad_q, grad_k,
    grad_decay,
):  # fmt: skip
    """grad_q and grad_decay of atom i, and grad_k_j +=, from the gradients of alpha, rows from 0 on."""
    first, last = ptr[i], ptr[i + 1]
    zero = splat_row(alpha.dtype.type(0))
    mean = zero
    for e in range(first, last):
        grad = load_row(grad_alpha, HEADS * (e - first))
        mean = fma(load_row(alpha, HEADS * e), grad, mean)
    start, grad_decay_row, scale_row = HEADS * width * i, zero, splat_row(scale)
    for d in range(width):
        store_row(grad_q, start + HEADS * d, zero)
    for p in range(pair_ptr[i], pair_ptr[i + 1]):
        j, total = pair_src[p], zero
        for e in range(pair_edge[p], pair_edge[p + 1]):
            grad = subtract(load_row(grad_alpha, HEADS * (e - first)), mean)
            grad = multiply(load_row(alpha, HEADS * e), grad)
            total = add(total, grad)
            grad_decay_row = fma(grad, splat_row(d2[e]), grad_decay_row)
        total = multiply(total, scale_row)
        add_scaled(total, k, j, grad_q, i, width)
        add_scaled(total, q, i, grad_k, j, width)
    store_row(grad_decay, HEADS * i, subtract(zero, grad_decay_row))
