"""Reduced formula, space group and crystal system."""

import os
import warnings
from collections import Counter
from typing import Any

import numpy as np

from dglframer.common.elements import SYMBOLS

SYMMETRY_TOLERANCE = 0.01  # angstrom, spglib's symprec

# The last space group of each crystal system.
SYSTEMS = {2: "triclinic", 15: "monoclinic", 74: "orthorhombic", 142: "tetragonal", 167: "trigonal"}
SYSTEMS |= {194: "hexagonal", 230: "cubic"}

# These elements end a formula, in this order; metals stand before them, by name.
FORMULA_ENDS = "B Si Ge C Sb As P N H Te Se S I Br Cl O F".split()


def reduced_formula(numbers_N: np.ndarray) -> str:
    """Reduced formula of atomic numbers, such as Al2O3; equal compositions give equal text."""
    counts = Counter(SYMBOLS[z - 1] for z in numbers_N)
    divisor = int(np.gcd.reduce(list(counts.values())))
    ends = {symbol: place for place, symbol in enumerate(FORMULA_ENDS)}
    order = sorted(counts, key=lambda symbol: (ends.get(symbol, -1), symbol))
    amounts = ((symbol, counts[symbol] // divisor) for symbol in order)
    return "".join(f"{symbol}{amount if amount > 1 else ''}" for symbol, amount in amounts)


def space_group(numbers_N: np.ndarray, lattice_33: np.ndarray | None, frac_N3: np.ndarray) -> int:
    """Space group number by spglib within SYMMETRY_TOLERANCE; 0 for molecules and if spglib fails."""
    import spglib

    if lattice_33 is None:
        return 0
    os.environ.setdefault("SPGLIB_WARNING", "OFF")  # a failure is a 0 in the table
    cell: Any = (lattice_33, frac_N3, numbers_N)
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        try:
            found = spglib.get_symmetry_dataset(cell, symprec=SYMMETRY_TOLERANCE)
        except getattr(spglib, "SpglibError", ValueError):  # newer versions; older return None
            return 0
    return int(found.number) if found else 0


def system_of(group: int) -> str:
    """Crystal system of a space group number; unknown for 0."""
    return SYSTEMS[min(last for last in SYSTEMS if last >= group)] if group else "unknown"
