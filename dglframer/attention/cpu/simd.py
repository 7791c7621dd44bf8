"""SIMD rows and vectors as numba values: llvmlite emits the instructions, no C compiler is needed.

``vectors`` says what rows, vectors and bundles are; ``simd_bundles`` has the functions of bundles.
"""

import os
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, models, register_model

HEADS = 8  # of a row


def _chosen_lanes() -> int:
    """16 with AVX-512, 8 with AVX2, 4 elsewhere; DGLFRAMER_SIMD_LANES overrides it, for tests."""
    asked = os.environ.get("DGLFRAMER_SIMD_LANES", "")
    if asked:
        return int(asked)
    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        return 16
    return 8 if features.get("avx2") else 4


# Registers of 4 lanes take a row in two parts, which LLVM does by itself: there are as few edges in a
# bundle as 16 registers allow.
LANES, EDGES = {16: (16, 8), 8: (8, 4), 4: (8, 2)}[_chosen_lanes()]


class VectorType(types.Type):
    """<count x element>"""

    def __init__(self, element: types.Type, count: int):
        self.element, self.count = element, count
        super().__init__(name=f"Vector({element}, {count})")


@register_model(VectorType)
class VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: VectorType):
        super().__init__(manager, kind, ir.VectorType(element(kind.element), kind.count))


def element(kind: types.Type) -> ir.Type:
    return ir.FloatType() if kind == types.float32 else ir.DoubleType()


def row_of(kind: types.Type) -> VectorType:
    return VectorType(kind, HEADS)


def vector_of(kind: types.Type) -> VectorType:
    return VectorType(kind, LANES)


def pointer(context: Any, builder: Any, kind: Any, array: Any, index: Any, count: int) -> Any:
    """Where ``count`` elements of an array begin, counted over all its axes."""
    data = context.make_array(kind)(context, builder, array).data
    vector = ir.VectorType(element(kind.dtype), count)
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())


def align(kind: Any) -> int:
    return 4 if kind.dtype == types.float32 else 8


def call(builder: Any, name: str, arguments: list[Any], kind: Any) -> Any:
    """Call one of LLVM's own functions on vectors of one type."""
    suffix = "f32" if isinstance(kind.element, ir.FloatType) else "f64"
    full = f"llvm.{name}.v{kind.count}{suffix}"
    function = builder.module.globals.get(full)
    if function is None:
        signature = ir.FunctionType(kind, [kind] * len(arguments))
        function = ir.Function(builder.module, signature, full)
    return builder.call(function, arguments)


def shuffled(builder: Any, vector: Any, places: list[int]) -> Any:
    mask = ir.Constant(ir.VectorType(ir.IntType(32), len(places)), places)
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)


def splat(builder: Any, value: Any, count: int) -> Any:
    undefined = ir.Constant(ir.VectorType(value.type, count), ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    return shuffled(builder, first, [0] * count)


# Loads and stores. ``index`` counts elements.


def _load(name: str, kind_of: Any) -> Any:
    @intrinsic
    def load(typing: Any, array: Any, index: Any) -> Any:
        kind = kind_of(array.dtype)

        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            place = pointer(
                context, builder, signature.args[0], arguments[0], arguments[1], kind.count
            )
            return builder.load(place, align=align(signature.args[0]))

        return kind(array, types.intp), emit

    return load


def _store(name: str, kind_of: Any) -> Any:
    @intrinsic
    def store(typing: Any, array: Any, index: Any, value: Any) -> Any:
        kind = kind_of(array.dtype)

        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            place = pointer(
                context, builder, signature.args[0], arguments[0], arguments[1], kind.count
            )
            builder.store(arguments[2], place, align=align(signature.args[0]))
            return context.get_dummy_value()

        return types.void(array, types.intp, kind), emit

    return store


load_row, store_row = _load("load_row", row_of), _store("store_row", row_of)
load_vector, store_vector = _load("load_vector", vector_of), _store("store_vector", vector_of)


# Arithmetic of rows and of vectors.


@intrinsic
def splat_row(typing, value):
    """The same number for every head."""
    kind = row_of(value)
    return kind(value), lambda context, builder, signature, arguments: splat(
        builder, arguments[0], HEADS
    )


@intrinsic
def splat_vector(typing, value):
    kind = vector_of(value)
    return kind(value), lambda context, builder, signature, arguments: splat(
        builder, arguments[0], LANES
    )


@intrinsic
def fma(typing, a, b, c):
    """a b + c"""
    return a(a, a, a), lambda context, builder, signature, arguments: call(
        builder, "fma", list(arguments), arguments[0].type
    )


@intrinsic
def add(typing, a, b):
    return a(a, a), lambda context, builder, signature, arguments: builder.fadd(*arguments)


@intrinsic
def subtract(typing, a, b):
    return a(a, a), lambda context, builder, signature, arguments: builder.fsub(*arguments)


@intrinsic
def multiply(typing, a, b):
    return a(a, a), lambda context, builder, signature, arguments: builder.fmul(*arguments)


@intrinsic
def divide(typing, a, b):
    return a(a, a), lambda context, builder, signature, arguments: builder.fdiv(*arguments)


@intrinsic
def absolute(typing, a):
    return a(a), lambda context, builder, signature, arguments: call(
        builder, "fabs", list(arguments), arguments[0].type
    )


@intrinsic
def maximum(typing, a, b):
    """The larger of two; neither is NaN."""
    return a(a, a), lambda context, builder, signature, arguments: builder.select(
        builder.fcmp_ordered(">", *arguments), *arguments
    )


@intrinsic
def truncate(typing, a):
    """Whole numbers, towards zero."""
    return a(a), lambda context, builder, signature, arguments: call(
        builder, "trunc", list(arguments), arguments[0].type
    )


@intrinsic
def load_repeated(typing, array, index):
    """A row, repeated over the lanes of a vector."""

    def emit(context, builder, signature, arguments):
        place = pointer(context, builder, signature.args[0], arguments[0], arguments[1], HEADS)
        row = builder.load(place, align=align(signature.args[0]))
        return shuffled(builder, row, [lane % HEADS for lane in range(LANES)])

    return vector_of(array.dtype)(array, types.intp), emit


@intrinsic
def where_below(typing, a, limit, value):
    """value where a < limit, else 0."""

    def emit(context, builder, signature, arguments):
        zero = ir.Constant(arguments[2].type, None)
        return builder.select(builder.fcmp_ordered("<", *arguments[:2]), arguments[2], zero)

    return a(a, a, a), emit


@intrinsic
def at_least(typing, a, b):
    """An integer whose bit h is set where a[h] >= b[h]."""

    def emit(context, builder, signature, arguments):
        bits = builder.fcmp_ordered(">=", *arguments)
        packed = builder.bitcast(bits, ir.IntType(arguments[0].type.count))
        return builder.zext(packed, ir.IntType(64))

    return types.int64(a, a), emit


@intrinsic
def exp(typing, x):
    """exp of numbers <= 0; 0 below -80 in float32, whose squares would be denormal.

    float32: 2^k times a polynomial on [-ln 2 / 2, ln 2 / 2], to one unit in the last place or two.
    """

    def emit(context, builder, signature, arguments):
        [x], kind = arguments, arguments[0].type
        if isinstance(kind.element, ir.DoubleType):
            return call(builder, "exp", [x], kind)
        whole = ir.VectorType(ir.IntType(32), kind.count)

        def constant(value):
            return ir.Constant(kind, [value] * kind.count)

        is_normal = builder.fcmp_ordered(">", x, constant(-80.0))
        clamped = builder.select(is_normal, x, constant(-80.0))
        k = call(builder, "rint", [builder.fmul(clamped, constant(1.4426950216293335))], kind)
        # ln 2 in two parts, the first of which times k is exact
        rest = call(builder, "fma", [k, constant(-0.693145751953125), clamped], kind)
        rest = call(builder, "fma", [k, constant(-1.4286068203094173e-06), rest], kind)
        value = constant(1 / 720)
        for factor in (1 / 120, 1 / 24, 1 / 6, 0.5, 1.0, 1.0):
            value = call(builder, "fma", [value, rest, constant(_single(factor))], kind)
        exponent = builder.shl(builder.fptosi(k, whole), ir.Constant(whole, [23] * kind.count))
        bits = builder.add(builder.bitcast(value, whole), exponent)
        return builder.select(is_normal, builder.bitcast(bits, kind), ir.Constant(kind, None))

    return x(x), emit


def _single(value: float) -> float:
    """The nearest float32, as LLVM wants it written."""
    return float(np.float32(value))
