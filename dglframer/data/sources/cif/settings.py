"""The settings of space groups by name: which operators a symbol or a number can mean.

gemmi's table has spglib's 530 settings (the operators agree, a test compares them) under their old
and new symbols, and some with larger cells. A name may fit several settings: two origins, hexagonal
and rhombohedral axes, unique axes. All of them are returned; nothing is chosen here.
"""

import re
import warnings
from collections import defaultdict
from fractions import Fraction
from functools import cache, lru_cache
from typing import NamedTuple

import gemmi
import spglib

from dglframer.common.errors import Rejected
from dglframer.data.sources.cif.operators import Operators, Rotation, Translation, as_arrays

# Ways to write the choice: ICSD has Z (origin at the centre) and S, others O1 and O2.
SUFFIXES = {"z": "2", "s": "1", "o1": "1", "o2": "2", "hr": "r"}
CHOICE_IN_WORDS = re.compile(
    r"[(,]?\s*(?:origin(?:\s+choice)?\s*([12])|(h)exagonal|(r)hombohedral)\b.*", re.IGNORECASE
)
TYPED_SUFFIXES = ("h", "r", "1", "2", "z", "s", "o1", "o2")  # those also written without a colon

SPGLIB_SETTINGS = 530
FIRST_CUBIC = 195
MONOCLINIC = range(3, 16)


class Setting(NamedTuple):
    """One row of the table."""

    name: str  # such as F d -3 m :2
    number: int  # of the space group
    hall: str
    choices: frozenset[str]  # what may follow the colon


@cache
def table() -> tuple[Setting, ...]:
    """All settings: first spglib's 530, in its order, then gemmi's others."""
    rows = []
    for row in gemmi.spacegroup_table():
        choice = row.ext.strip("\0")
        name = f"{row.hm} :{choice}" if choice else row.hm
        choices = {choice, row.qualifier, choice + row.qualifier} - {""}
        rows.append(Setting(name, row.number, row.hall, frozenset(map(str.lower, choices))))
    return tuple(rows)


@lru_cache(maxsize=600)
def operators_of(hall: str) -> Operators:
    """The operators of a Hall symbol, always a group; raises Rejected for text that is none."""
    try:
        found = list(gemmi.symops_from_hall(hall))
    except (RuntimeError, ValueError) as error:
        raise Rejected(f"Hall symbol {hall!r:.40}: {error}") from None
    return as_arrays(map(rational, found))


def rational(op: gemmi.Op) -> tuple[Rotation, Translation]:
    """Rotation and translation of an operator of gemmi, which counts in units of 1/24."""
    a, b, c = (Fraction(shift, op.DEN) % 1 for shift in op.tran)
    return tuple(entry // op.DEN for row in op.rot for entry in row), (a, b, c)


def squeezed(symbol: str) -> str:
    """A symbol without what writers do differently: case, spaces, underscores, brackets, tildes."""
    return re.sub(r"[\s_~()\\]", "", symbol.lower())


def joined_digits(symbol: str) -> frozenset[str]:
    """Digits side by side, such as the 31 of P 31 2 1, which P 3 1 2 does not have."""
    return frozenset(re.findall(r"(?=(\d\d))", re.sub("[_~()]", "", symbol)))


@cache
def by_symbol() -> dict[str, dict[Setting, frozenset[str]]]:
    """Settings by every spelling of their symbols, squeezed; with the digits that belong together."""
    found: dict[str, dict[Setting, frozenset[str]]] = defaultdict(dict)
    for k, setting in enumerate(table()):
        symbol = setting.name.partition(" :")[0]
        names = {symbol} | (spglib_symbols(k + 1) if k < SPGLIB_SETTINGS else set())
        if setting.number in MONOCLINIC and not symbol.endswith(" 1 1"):
            # Short symbols, such as P 21/c, are of unique axis b or c.
            names.add(re.sub(r" 1(?= |$)", "", symbol))
        if "h" in setting.choices:
            names.add("H" + symbol[1:])  # the Protein Data Bank writes H 3 2
        if setting.number >= FIRST_CUBIC:
            names |= {name.replace("-3", "3") for name in names}  # before 1983: F m 3 m
        for name in names:
            found[squeezed(name)][setting] = joined_digits(name)
    return dict(found)


def spglib_symbols(hall_number: int) -> set[str]:
    """The symbol of a row with its own axes (rows begin with that of the type), and the full one."""
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        row = spglib.get_spacegroup_type(hall_number)
    assert row is not None
    return {row.international.split("=")[-1].strip(), row.international_full}


@lru_cache(maxsize=600)
def settings_of_symbol(text: str) -> tuple[Setting, ...]:
    """The settings that a Hermann-Mauguin symbol can mean; () if the table has none like it."""
    base, _, suffix = (part.strip() for part in text.partition(":"))
    words = CHOICE_IN_WORDS.search(base)
    if words:
        base, suffix = base[: words.start()].strip(), (words[1] or words[2] or words[3]).lower()
    found = named(base)
    if found:
        return with_choice(found, suffix) if suffix else found
    for ending in TYPED_SUFFIXES if not suffix else ():  # R -3 m H, F d -3 m Z
        if base.lower().endswith(ending):
            if chosen := with_choice(named(base[: -len(ending)].strip()), ending):
                return chosen
    return ()


def named(symbol: str) -> tuple[Setting, ...]:
    """The settings with this symbol, whatever their choice."""
    joined = joined_digits(symbol) if re.search(r"\s", symbol) else frozenset()
    settings = by_symbol().get(squeezed(symbol), {})
    return tuple(setting for setting, digits in settings.items() if joined <= digits)


def with_choice(settings: tuple[Setting, ...], suffix: str) -> tuple[Setting, ...]:
    """Those of the settings that a suffix names."""
    choice = squeezed(suffix)
    choice = SUFFIXES.get(choice, choice)
    return tuple(setting for setting in settings if choice in setting.choices)
