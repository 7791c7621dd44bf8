"""Rows, vectors and bundles as tuples of numbers: the functions of ``simd`` for any processor.

A vector is one row here. LLVM may still find instructions that take several numbers at a time.
"""

import numba
import numpy as np

HEADS = LANES = 8
EDGES = 2

FAST = {"contract", "nsz"}  # fused multiply-adds; the order of additions stays


def inlined(function):
    return numba.njit(nogil=True, fastmath=FAST, inline="always")(function)


@inlined
def load_row(array, index):
    a = array[index : index + 8]
    return a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]


@inlined
def store_row(array, index, value):
    for head in range(8):
        array[index + head] = value[head]


load_vector, store_vector = load_row, store_row


@inlined
def splat_row(x):
    return x, x, x, x, x, x, x, x


splat_vector = splat_row


@inlined
def fma(a, b, c):
    return (
        a[0] * b[0] + c[0],
        a[1] * b[1] + c[1],
        a[2] * b[2] + c[2],
        a[3] * b[3] + c[3],
        a[4] * b[4] + c[4],
        a[5] * b[5] + c[5],
        a[6] * b[6] + c[6],
        a[7] * b[7] + c[7],
    )


@inlined
def add(a, b):
    return (
        a[0] + b[0],
        a[1] + b[1],
        a[2] + b[2],
        a[3] + b[3],
        a[4] + b[4],
        a[5] + b[5],
        a[6] + b[6],
        a[7] + b[7],
    )


@inlined
def subtract(a, b):
    return (
        a[0] - b[0],
        a[1] - b[1],
        a[2] - b[2],
        a[3] - b[3],
        a[4] - b[4],
        a[5] - b[5],
        a[6] - b[6],
        a[7] - b[7],
    )


@inlined
def multiply(a, b):
    return (
        a[0] * b[0],
        a[1] * b[1],
        a[2] * b[2],
        a[3] * b[3],
        a[4] * b[4],
        a[5] * b[5],
        a[6] * b[6],
        a[7] * b[7],
    )


@inlined
def divide(a, b):
    return (
        a[0] / b[0],
        a[1] / b[1],
        a[2] / b[2],
        a[3] / b[3],
        a[4] / b[4],
        a[5] / b[5],
        a[6] / b[6],
        a[7] / b[7],
    )


@inlined
def absolute(a):
    return abs(a[0]), abs(a[1]), abs(a[2]), abs(a[3]), abs(a[4]), abs(a[5]), abs(a[6]), abs(a[7])


@inlined
def maximum(a, b):
    return (
        max(a[0], b[0]),
        max(a[1], b[1]),
        max(a[2], b[2]),
        max(a[3], b[3]),
        max(a[4], b[4]),
        max(a[5], b[5]),
        max(a[6], b[6]),
        max(a[7], b[7]),
    )


@inlined
def truncate(a):
    return (
        np.trunc(a[0]),
        np.trunc(a[1]),
        np.trunc(a[2]),
        np.trunc(a[3]),
        np.trunc(a[4]),
        np.trunc(a[5]),
        np.trunc(a[6]),
        np.trunc(a[7]),
    )


load_repeated = load_row


@inlined
def _value_below(a, limit, value):
    return value if a < limit else value * 0


@inlined
def where_below(a, limit, value):
    return (
        _value_below(a[0], limit[0], value[0]),
        _value_below(a[1], limit[1], value[1]),
        _value_below(a[2], limit[2], value[2]),
        _value_below(a[3], limit[3], value[3]),
        _value_below(a[4], limit[4], value[4]),
        _value_below(a[5], limit[5], value[5]),
        _value_below(a[6], limit[6], value[6]),
        _value_below(a[7], limit[7], value[7]),
    )


@inlined
def at_least(a, b):
    bits = 0
    for head in range(8):
        if a[head] >= b[head]:
            bits |= 1 << head
    return bits


@inlined
def _exp(x):
    return np.exp(x) if x > -80 else x * 0


@inlined
def exp(x):
    return (
        _exp(x[0]),
        _exp(x[1]),
        _exp(x[2]),
        _exp(x[3]),
        _exp(x[4]),
        _exp(x[5]),
        _exp(x[6]),
        _exp(x[7]),
    )


@inlined
def zeros(like):
    zero = splat_row(like.dtype.type(0))
    return zero, zero


@inlined
def _cosines(x, y, z, axis_x, axis_y, axis_z):
    product = fma(splat_row(y), axis_y, multiply(splat_row(z), axis_z))
    return fma(splat_row(x), axis_x, product)


@inlined
def cosines(x, y, z, edge, axis_x, axis_y, axis_z):
    return (
        _cosines(x[edge], y[edge], z[edge], axis_x, axis_y, axis_z),
        _cosines(x[edge + 1], y[edge + 1], z[edge + 1], axis_x, axis_y, axis_z),
    )


@inlined
def weighted(weights, edge, share):
    return (
        multiply(load_row(weights, 8 * edge), share),
        multiply(load_row(weights, 8 * edge + 8), share),
    )


@inlined
def multiply_each(a, b):
    return multiply(a[0], b[0]), multiply(a[1], b[1])


@inlined
def double_each(a):
    return add(a[0], a[0]), add(a[1], a[1])


@inlined
def next_terms(two_c, newer, older):
    return (
        subtract(multiply(two_c[0], newer[0]), older[0]),
        subtract(multiply(two_c[1], newer[1]), older[1]),
    )


@inlined
def clenshaw(c, newer, older, gradient):
    return (
        fma(c[0], newer[0], subtract(gradient, older[0])),
        fma(c[1], newer[1], subtract(gradient, older[1])),
    )


@inlined
def total(bundle):
    return add(bundle[0], bundle[1])


@inlined
def add_to_rows(array, edge, bundle):
    store_row(array, 8 * edge, add(load_row(array, 8 * edge), bundle[0]))
    store_row(array, 8 * edge + 8, add(load_row(array, 8 * edge + 8), bundle[1]))
