"""Element symbols and atomic numbers, without a chemistry library (training must not need one)."""

from collections import Counter
from collections.abc import Iterable

import numpy as np

SYMBOLS = (
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br "
    "Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho "
    "Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf"
).split()

MAX_Z = len(SYMBOLS)  # 98, californium: the model's embedding has as many rows

_NUMBERS = {symbol: number for number, symbol in enumerate(SYMBOLS, start=1)} | {"D": 1, "T": 1}


def element_counts(numbers: Iterable[np.ndarray]) -> dict[str, int]:
    """How many of some crystals hold each element, in order of atomic number.

    ``numbers``: the atomic numbers of each crystal.
    """
    counts = Counter(z for numbers_N in numbers for z in set(numbers_N.tolist()))
    return {SYMBOLS[z - 1]: counts[z] for z in sorted(counts)}


def atomic_number(symbol: str) -> int | None:
    """Atomic number, 1 to 98, of an element symbol (D and T are hydrogen); None for other text."""
    return _NUMBERS.get(symbol.strip())
