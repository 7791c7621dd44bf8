"""Symmetry operators: ``-x+1/2, y, z`` to matrices, and whether a list of them is a group."""

import math
import re
from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from dglframer.common.errors import Rejected

# Translations are written as fractions, or as decimals of a fraction with one of these denominators.
DENOMINATORS = (1, 2, 3, 4, 6, 8, 12, 24, 5, 7, 9, 10)
MAX_DENOMINATOR = 1_000
MAX_OPERATORS = 192 * 27  # the largest point group and centring, in a cell three times as long

TERM = re.compile(r"([+-]?)(?:(\d{1,9}\.?\d{0,9}|\.\d{1,9})(?:/(\d{1,9}))?)?\*?([xyz]?)")
TRIPLET = re.compile(r"[-+xyz\d./*\s]*,[-+xyz\d./*\s]*,[-+xyz\d./*\s]*", re.IGNORECASE)

Rotation = tuple[int, ...]  # nine numbers, row by row
Translation = tuple[Fraction, Fraction, Fraction]  # each in [0, 1)


class Operators(NamedTuple):
    """A space group in one setting: x' = R x + t in fractional coordinates, the identity first."""

    rotations_G33: np.ndarray  # int
    translations_G3: np.ndarray  # float64, in [0, 1)
    key: frozenset[tuple[Rotation, Translation]]  # equal for equal groups, whatever the order


IDENTITY: tuple[Rotation, Translation] = (
    (1, 0, 0, 0, 1, 0, 0, 0, 1),
    (Fraction(0), Fraction(0), Fraction(0)),
)


@lru_cache(maxsize=20_000)
def parsed(triplet: str) -> tuple[Rotation, Translation]:
    """Rotation and translation of one operator; raises Rejected for text that is none."""
    axes = triplet.lower().replace(" ", "").replace("\t", "").split(",")
    if len(axes) != 3 or not all(axes):
        raise Rejected(f"operator {triplet!r:.40} is not of the form x, y, z")
    rows, shifts = [], []
    for axis in axes:
        row, shift = parsed_axis(axis, triplet)
        rows.append(row)
        shifts.append(shift)
    if abs(round(np.linalg.det(rows))) != 1:
        raise Rejected(f"operator {triplet!r:.40} does not keep volumes")
    a, b, c = (shift - math.floor(shift) for shift in shifts)
    return tuple(number for row in rows for number in row), (a, b, c)


def parsed_axis(axis: str, triplet: str) -> tuple[list[int], Fraction]:
    """The row of the rotation and the translation of such as ``x-y+1/3``."""
    row, shift, place = [0, 0, 0], Fraction(0), 0
    while place < len(axis):
        term = TERM.match(axis, place)
        if term is None or term.end() == place or not (term[2] or term[4]):
            raise Rejected(f"operator {triplet!r:.40} is not of the form x, y, z")
        if place and not term[1]:
            raise Rejected(f"operator {triplet!r:.40} lacks a sign between two terms")
        size = fraction(term[2], term[3], triplet) if term[2] else Fraction(1)
        size = -size if term[1] == "-" else size
        if not term[4]:
            shift += size
        elif size.denominator == 1:
            row["xyz".index(term[4])] += int(size)
        else:
            raise Rejected(f"operator {triplet!r:.40} has a fraction of an axis")
        place = term.end()
    return row, shift


def fraction(number: str, divisor: str | None, triplet: str) -> Fraction:
    """The exact value of ``1/3``, or the fraction that a decimal such as ``0.333`` stands for."""
    if divisor is not None and int(divisor) == 0:
        raise Rejected(f"operator {triplet!r:.40} divides by zero")
    value = Fraction(number) / int(divisor or 1)
    decimals = len(number.partition(".")[2])
    if not decimals or divisor:
        return value
    for denominator in DENOMINATORS:  # 0.33, 0.333 and 0.3333 are 1/3; 0.66 and 0.67 are 2/3
        near = Fraction(round(value * denominator), denominator)
        if abs(near - value) < Fraction(1, 10**decimals):
            return near
    return value


@lru_cache(maxsize=1_000)
def operators(triplets: tuple[str, ...], centrings: tuple[str, ...] = ()) -> Operators:
    """The operators of a list, each with each of the centring translations.

    Raises Rejected if one is no operator, or if they are no group.
    """
    shifts = [parsed(triplet)[1] for triplet in centrings] or [IDENTITY[1]]
    return group(
        (rotation, ((a + p) % 1, (b + q) % 1, (c + r) % 1))
        for p, q, r in shifts
        for rotation, (a, b, c) in map(parsed, triplets)
    )


def group(pairs: Iterable[tuple[Rotation, Translation]]) -> Operators:
    """The operators without repetition; raises Rejected if they are not a group."""
    unique = as_arrays(pairs)
    count = len(unique.key)
    if IDENTITY not in unique.key:
        raise Rejected(f"the {count} operators do not include x, y, z")
    if count > MAX_OPERATORS:
        raise Rejected(f"{count} operators, more than any cell needs")
    if count > 1 and not closed(unique):
        raise Rejected(f"the {count} operators are not a group: some are missing or wrong")
    return unique


def as_arrays(pairs: Iterable[tuple[Rotation, Translation]]) -> Operators:
    """The operators without repetition, as arrays."""
    unique = sorted(dict.fromkeys(pairs), key=lambda pair: pair != IDENTITY)
    rotations = np.array([rotation for rotation, _ in unique]).reshape(-1, 3, 3)
    translations = np.array([[float(t) for t in translation] for _, translation in unique])
    return Operators(rotations, translations, frozenset(unique))


def closed(listed: Operators) -> bool:
    """Whether each product of two operators is one of them."""
    rotations_G33 = listed.rotations_G33
    base = math.lcm(*(t.denominator for _, translation in listed.key for t in translation))
    if base > MAX_DENOMINATOR or abs(rotations_G33).max() > 3:
        return False
    shifts_G3 = np.rint(listed.translations_G3 * base).astype(int)

    def code(rotations: np.ndarray) -> np.ndarray:  # an element of a product is within 27
        return (rotations.reshape(*rotations.shape[:-2], 9) + 27) @ 55 ** np.arange(9)

    def place(shifts: np.ndarray) -> np.ndarray:
        return shifts % base @ base ** np.arange(3)

    known = np.unique(code(rotations_G33))
    listed_G = np.searchsorted(known, code(rotations_G33)) * base**3 + place(shifts_G3)
    for R_33, t_3 in zip(rotations_G33, shifts_G3, strict=True):
        product_G = code(R_33 @ rotations_G33)
        which_G = np.searchsorted(known, product_G).clip(max=len(known) - 1)
        if (known[which_G] != product_G).any():
            return False
        if not np.isin(which_G * base**3 + place(shifts_G3 @ R_33.T + t_3), listed_G).all():
            return False
    return True
