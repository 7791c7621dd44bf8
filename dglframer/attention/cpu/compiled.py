"""How the loops of the CPU backend are compiled by numba, and cached."""

import hashlib
from pathlib import Path

import numba

from dglframer.attention.cpu.vectors import MODE

# Fused multiply-adds are allowed; the order of additions stays, so that bits do not depend on how many
# crystals are in a batch.
FAST = {"contract", "nsz"}

HOW = {
    "nogil": True,
    "fastmath": FAST,
    "error_model": "numpy",
}  # a division by zero is no exception

inner = numba.njit(**HOW)
inlined = inner  # LLVM inlines them


def stamp() -> str:
    """What compiled loops depend on besides themselves: the width of vectors, the text of this folder.

    numba looks at the file of one function only, and not at what it calls.
    """
    digest = hashlib.sha256(MODE.encode())
    for path in sorted(Path(__file__).parent.parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


STAMP = stamp()


def entry(function):
    """Compile a function that torch's side calls, and cache it. It has STAMP in its closure."""
    return numba.njit(**HOW, cache=True)(function)
