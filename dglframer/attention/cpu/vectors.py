"""The values that the loops of the CPU backend compute with, as SIMD registers or without.

A row holds one number for each of HEADS = 8 heads. A vector holds LANES numbers: one or two rows side by
side. A bundle is a tuple of EDGES vectors, one for each of some edges. They have the element type of the
arrays they come from, float32 or float64. Arrays have one axis, and ``index`` counts their elements.

DGLFRAMER_SIMD_LANES chooses: 16 (AVX-512), 8 (AVX2), 4 (SSE, NEON) or 0, plain numbers for every processor
that LLVM has no vectors for. Unset, the processor's own.
"""

import os

if os.environ.get("DGLFRAMER_SIMD_LANES") == "0":
    from dglframer.attention.cpu.plain import (
        EDGES,
        HEADS,
        LANES,
        absolute,
        add,
        add_to_rows,
        at_least,
        clenshaw,
        cosines,
        divide,
        double_each,
        exp,
        fma,
        load_repeated,
        load_row,
        load_vector,
        maximum,
        multiply,
        multiply_each,
        next_terms,
        splat_row,
        splat_vector,
        store_row,
        store_vector,
        subtract,
        total,
        truncate,
        weighted,
        where_below,
        zeros,
    )
else:
    from dglframer.attention.cpu.simd import (
        EDGES,
        HEADS,
        LANES,
        absolute,
        add,
        at_least,
        divide,
        exp,
        fma,
        load_repeated,
        load_row,
        load_vector,
        maximum,
        multiply,
        splat_row,
        splat_vector,
        store_row,
        store_vector,
        subtract,
        truncate,
        where_below,
    )
    from dglframer.attention.cpu.simd_bundles import (
        add_to_rows,
        clenshaw,
        cosines,
        double_each,
        multiply_each,
        next_terms,
        total,
        weighted,
        zeros,
    )

MODE = f"{'plain' if os.environ.get('DGLFRAMER_SIMD_LANES') == '0' else 'simd'} {LANES} {EDGES}"

__all__ = [
    "EDGES",
    "HEADS",
    "LANES",
    "MODE",
    "absolute",
    "add",
    "add_to_rows",
    "at_least",
    "clenshaw",
    "cosines",
    "divide",
    "double_each",
    "exp",
    "fma",
    "load_repeated",
    "load_row",
    "load_vector",
    "maximum",
    "multiply",
    "multiply_each",
    "next_terms",
    "splat_row",
    "splat_vector",
    "store_row",
    "store_vector",
    "subtract",
    "total",
    "truncate",
    "weighted",
    "where_below",
    "zeros",
]
