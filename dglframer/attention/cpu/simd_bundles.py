"""Bundles of SIMD vectors: EDGES edges side by side, in registers (``vectors`` says what they are)."""

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from dglframer.attention.cpu.simd import (
    EDGES,
    HEADS,
    LANES,
    align,
    call,
    element,
    pointer,
    shuffled,
    splat,
    vector_of,
)


def bundle_of(kind: Any) -> Any:
    return types.UniTuple(vector_of(kind), EDGES)  # type: ignore[attr-defined]


def _repeated(builder: Any, row: Any) -> Any:
    return shuffled(builder, row, [lane % HEADS for lane in range(LANES)])


def _folded(builder: Any, vector: Any) -> Any:
    """Sum of the rows of a vector."""
    if LANES == HEADS:
        return vector
    halves = [list(range(HEADS)), list(range(HEADS, LANES))]
    return builder.fadd(*(shuffled(builder, vector, half) for half in halves))


def _parts(builder: Any, bundle: Any) -> list[Any]:
    return [builder.extract_value(bundle, edge) for edge in range(EDGES)]


def _each(builder: Any, function: Any, *bundles: Any) -> Any:
    """A bundle from those of the arguments, edge by edge."""
    columns = zip(*(_parts(builder, bundle) for bundle in bundles), strict=True)
    return cgutils.pack_array(builder, [function(*column) for column in columns])


@intrinsic
def zeros(typing, like):
    """A bundle of zeros, of the type of an array's elements."""
    kind = bundle_of(like.dtype)

    def emit(context, builder, signature, arguments):
        zero = ir.Constant(ir.VectorType(element(like.dtype), LANES), None)
        return cgutils.pack_array(builder, [zero] * EDGES)

    return kind(like), emit


@intrinsic
def cosines(typing, x, y, z, edge, axis_x, axis_y, axis_z):
    """Cosines between the directions of EDGES edges, from ``edge`` on, and the axes of each lane."""

    def emit(context, builder, signature, arguments):
        data = [
            context.make_array(signature.args[k])(context, builder, arguments[k]).data
            for k in range(3)
        ]
        found = []
        for number in range(EDGES):
            place = builder.add(arguments[3], ir.Constant(arguments[3].type, number))
            u = [splat(builder, builder.load(builder.gep(one, [place])), LANES) for one in data]
            product = builder.fmul(u[2], arguments[6])
            kind = product.type
            product = call(builder, "fma", [u[1], arguments[5], product], kind)
            found.append(call(builder, "fma", [u[0], arguments[4], product], kind))
        return cgutils.pack_array(builder, found)

    kind = vector_of(x.dtype)
    return bundle_of(x.dtype)(x, y, z, types.intp, kind, kind, kind), emit


@intrinsic
def weighted(typing, weights, edge, share):
    """The rows of weights of EDGES edges, repeated over the lanes, times the shares."""

    def emit(context, builder, signature, arguments):
        found = []
        for number in range(EDGES):
            place = builder.add(arguments[1], ir.Constant(arguments[1].type, number))
            place = builder.mul(place, ir.Constant(place.type, HEADS))
            array = signature.args[0]
            place = pointer(context, builder, array, arguments[0], place, HEADS)
            row = builder.load(place, align=align(array))
            found.append(builder.fmul(_repeated(builder, row), arguments[2]))
        return cgutils.pack_array(builder, found)

    kind = vector_of(weights.dtype)
    return bundle_of(weights.dtype)(weights, types.intp, kind), emit


@intrinsic
def multiply_each(typing, a, b):
    def emit(context, builder, signature, arguments):
        return _each(builder, builder.fmul, *arguments)

    return a(a, a), emit


@intrinsic
def double_each(typing, a):
    def emit(context, builder, signature, arguments):
        return _each(builder, lambda x: builder.fadd(x, x), *arguments)

    return a(a), emit


@intrinsic
def next_terms(typing, two_c, newer, older):
    """two_c newer - older: the next term of Chebyshev's recurrence."""

    def emit(context, builder, signature, arguments):
        def term(c, new, old):
            return call(builder, "fma", [c, new, builder.fneg(old)], c.type)

        return _each(builder, term, *arguments)

    return two_c(two_c, two_c, two_c), emit


@intrinsic
def clenshaw(typing, c, newer, older, gradient):
    """c newer + (gradient - older): a step of Clenshaw's recurrence."""

    def emit(context, builder, signature, arguments):
        def term(c, new, old):
            rest = builder.fsub(arguments[3], old)
            return call(builder, "fma", [c, new, rest], c.type)

        return _each(builder, term, *arguments[:3])

    return c(c, c, c, c.dtype), emit


@intrinsic
def total(typing, bundle):
    """Sum over the edges of a bundle."""

    def emit(context, builder, signature, arguments):
        parts = _parts(builder, arguments[0])
        while len(parts) > 1:
            half = len(parts) // 2
            parts = [builder.fadd(*two) for two in zip(parts[:half], parts[half:], strict=True)]
        return parts[0]

    return bundle.dtype(bundle), emit


@intrinsic
def add_to_rows(typing, array, edge, bundle):
    """array[edge + b] += the sum of the rows of bundle[b], for EDGES rows of 8."""

    def emit(context, builder, signature, arguments):
        kind = signature.args[0]
        for number, vector in enumerate(_parts(builder, arguments[2])):
            place = builder.add(arguments[1], ir.Constant(arguments[1].type, number))
            place = builder.mul(place, ir.Constant(place.type, HEADS))
            place = pointer(context, builder, kind, arguments[0], place, HEADS)
            before = builder.load(place, align=align(kind))
            after = builder.fadd(before, _folded(builder, vector))
            builder.store(after, place, align=align(kind))
        return context.get_dummy_value()

    return types.void(array, types.intp, bundle), emit
