"""The symmetry that a data block states: a list of operators, or names of settings.

Nothing is assumed. Where the names leave a choice all candidates are returned, for the cell, the
formula and the sites to decide (``reading``).
"""

import re
import warnings
from functools import cache, lru_cache
from typing import Any, NamedTuple

import spglib

from dglframer.common.errors import Rejected
from dglframer.data.sources.cif.blocks import Block
from dglframer.data.sources.cif.operators import TRIPLET, Operators, operators
from dglframer.data.sources.cif.settings import (
    SPGLIB_SETTINGS,
    Setting,
    operators_of,
    settings_of_symbol,
    squeezed,
    table,
    with_choice,
)

# Names of every dictionary: _symmetry_equiv_pos_as_xyz, _space_group_symop.operation_xyz, ...
OPERATOR_NAMES = r"_(symmetry_equiv|space_group_symop)_(pos_as|operation)_xyz_?"
MAGNETIC_NAMES = r"_space_group_symop_magn_operation(_bns|_og)?_xyz"
MAGNETIC_CENTRING = "_space_group_symop_magn_centering_xyz"
SYMBOL_NAMES = r"_(symmetry_)?space_group_name_h-m(_alt|_full)?"
HALL_NAMES = r"_(symmetry_)?space_group_name_hall"
NUMBER_NAMES = r"_(symmetry_int_tables|space_group_it)_number"
ANY_SYMMETRY = ("_symmetry_", "_space_group", "_parent_space_group")
CHOICE_NAME = "_space_group_it_coordinate_system_code"

# What only modulated and composite structures have.
MODULATED_NAMES = (
    r"_cell_modulation_dimension|_cell_wave_vector_.*|_cell_subsystem.*|_space_group_ssg_.*"
    r"|_space_group_symop(_magn)?_ssg_.*|_space_group_symop_.*algebraic"
    r"|_atom_site_(displace|occ|fourier|u|moment|rot|phason)(_\w+)*_(fourier|special_func)\w*"
    r"|_atom_site_fourier_wave_vector_.*"
)


class Candidate(NamedTuple):
    """One way to understand the symmetry of a block."""

    name: str
    operators: Operators


class Symmetry(NamedTuple):
    """What a block states."""

    listed: Candidate | None  # the operators that it lists
    named: tuple[Candidate, ...]  # what its symbols and number can mean; () if nothing is stated
    contradiction: str = ""  # between the list and the names
    mentioned: str = ""  # the first name that has to do with symmetry, whatever its value
    magnetic: bool = False


def stated_symmetry(block: Block) -> Symmetry:
    """The symmetry of a block; raises Rejected where its names contradict each other or are unknown.

    A modulated structure is refused: it has no unit cell.
    """
    refuse_modulated(block)
    listed = listed_operators(block)
    names = stated_names(block)
    named = tuple(Candidate(s.name, operators_of(s.hall)) for s in names.settings)
    if listed is None:
        if names.unknown:
            raise Rejected(
                f"no operators are listed, and no table has the symbol {names.unknown!r:.40}"
            )
        mentioned = (name for name in block.columns if name.startswith(ANY_SYMMETRY))
        return Symmetry(None, named, mentioned=next(mentioned, ""))
    if block.names(MAGNETIC_NAMES):  # the symbol, if any, is that of the parent structure
        return Symmetry(listed, (), magnetic=True)
    return Symmetry(listed, named, contradiction(listed.operators, names))


def refuse_modulated(block: Block) -> None:
    """Raise Rejected for modulated and composite structures."""
    for name in block.names(MODULATED_NAMES):
        if name != "_cell_modulation_dimension" or block.number(name):
            raise Rejected(f"modulated structure ({name}): it has no unit cell")


def listed_operators(block: Block) -> Candidate | None:
    """The operators that the block lists under any name; None if it lists none."""
    magnetic = block.names(MAGNETIC_NAMES)
    names = magnetic or block.names(OPERATOR_NAMES)
    if not names:
        refuse_unknown_lists(block)
        return None
    lists = {tuple(plain_triplet(t) for t in block.column(name)) for name in names}
    centrings = block.column(MAGNETIC_CENTRING) if magnetic else []
    shifts = tuple(plain_triplet(t) for t in centrings)
    ops, *others = (operators(triplets, shifts) for triplets in lists)
    if any(other.key != ops.key for other in others):
        raise Rejected(f"{' and '.join(names)} list different operators")
    count = len(ops.rotations_G33)
    return Candidate(f"the {count} listed operators" if count > 1 else "the listed operator", ops)


def plain_triplet(triplet: str) -> str:
    """The triplet of such as ``x,y,z,-1``: moments are not read. Refuses operators of superspace."""
    text = triplet.strip().lower()
    if re.search("x[1-6]", text):
        raise Rejected(f"modulated structure (operator {triplet!r:.40}): it has no unit cell")
    head, _, last = text.rpartition(",")
    return head if last.strip() in ("+1", "-1", "1") and head.count(",") == 2 else text


def refuse_unknown_lists(block: Block) -> None:
    """Raise Rejected for a list of operators under a name that is not known."""
    for name in block.names(r"_(symmetry_equiv|space_group_(symop|generator)).*"):
        if all(TRIPLET.fullmatch(value) for value in block.column(name)):
            raise Rejected(f"operators are listed as {name}, a name that is not known")


class Names(NamedTuple):
    """What a block calls its symmetry."""

    settings: tuple[Setting, ...]  # that all the names allow; () if there is none or one unknown
    number: int | None
    unknown: str  # a symbol that is in no table
    text: str  # for messages


def stated_names(block: Block) -> Names:
    """Symbols, Hall symbol and number; raises Rejected if they contradict each other."""
    settings: tuple[Setting, ...] = ()
    texts: list[str] = []
    unknown = ""
    for name in block.names(f"{HALL_NAMES}|{SYMBOL_NAMES}"):
        text = str(block.text(name))
        found = settings_of_hall(text) if name.endswith("hall") else settings_of_symbol(text)
        if not found:
            unknown = text
            continue
        if settings:
            keys = {operators_of(setting.hall).key for setting in found}
            found = tuple(s for s in settings if operators_of(s.hall).key in keys)
        settings, texts = found, [*texts, text]
        if not settings:
            raise Rejected(f"{' and '.join(texts)} contradict each other")
    number = stated_number(block)
    if number is not None:
        if settings:
            settings = tuple(setting for setting in settings if setting.number == number)
        elif not unknown:
            settings = tuple(s for s in table()[:SPGLIB_SETTINGS] if s.number == number)
        texts.append(f"number {number}")
        if not settings and not unknown:
            raise Rejected(f"{' and '.join(texts)} contradict each other")
    choice = block.text(CHOICE_NAME)
    if choice and len(settings) > 1:
        texts.append(f"coordinate system {choice}")
        settings = with_choice(settings, choice.replace("abc", ""))
        if not settings:
            raise Rejected(f"{' and '.join(texts)} contradict each other")
    if settings:  # such as a Hall symbol beside a symbol with a change of axes
        unknown = ""
    return Names(settings, number, unknown, " and ".join(texts) or unknown)


def stated_number(block: Block) -> int | None:
    """The number of the space group; raises Rejected if it is none of 1 to 230, or there are two."""
    numbers = {block.number(name) for name in block.names(NUMBER_NAMES)}
    if len(numbers) > 1:
        raise Rejected("two space group numbers contradict each other")
    number = numbers.pop() if numbers else None
    if number is not None and number not in range(1, 231):
        raise Rejected(f"there is no space group number {number:g}")
    return None if number is None else int(number)


@lru_cache(maxsize=600)
def settings_of_hall(text: str) -> tuple[Setting, ...]:
    """The setting of a Hall symbol: from the table, or by the rules of the symbol; () if it is none."""
    symbol = " ".join(text.replace("_", " ").replace("''", '"').lower().split())
    found = tuple(setting for setting in table() if setting.hall.lower() == symbol)
    if found:
        return found
    try:
        number = type_number(operators_of(symbol))
    except Rejected:
        return ()
    return (Setting(f"Hall symbol {text}", number, symbol, frozenset()),)


def contradiction(listed: Operators, names: Names) -> str:
    """How the listed operators contradict the names; "" if they agree.

    Operators of the table have to be those of a named setting. Others (an origin or a cell of its
    own) have to be of the same type. A symbol that no table has must have the same centring.
    """
    count = len(listed.rotations_G33)
    what = f"the {count} listed operators contradict"
    if count == 1:
        what = "the listed operator contradicts"
    if names.settings:
        if any(operators_of(s.hall).key == listed.key for s in names.settings):
            return ""
        other = by_operators().get(listed.key)
        if other is not None:
            return f"{what} {names.text}: {other.name} has them"
        numbers = {setting.number for setting in names.settings}
    else:
        numbers = {names.number} if names.number else set()
    if numbers and type_number(listed) not in numbers:
        return f"{what} {names.text}"
    if names.unknown and not fits_symbol(listed, names.unknown):
        return f"{what} the symbol {names.unknown!r:.40}"
    return ""


@cache
def by_operators() -> dict[frozenset[Any], Setting]:
    """The first setting with these operators."""
    return {operators_of(s.hall).key: s for s in reversed(table())}


def fits_symbol(listed: Operators, symbol: str) -> bool:
    """Whether operators have the centring of a symbol, and more than translations where it has."""
    letter, rest = squeezed(symbol)[:1], squeezed(symbol)[1:]
    rotations = {rotation for rotation, _ in listed.key}
    centrings = len(listed.key) // len(rotations)
    plain = len(rotations) == 1
    expected = {"p": (1,), "f": (4,), "r": (1, 3), "h": (3,)} | dict.fromkeys("abci", (2,))
    if letter in expected and centrings not in expected[letter]:
        return False
    return not (plain and re.search("[2346mnabcde-]", rest))


def type_number(ops: Operators) -> int:
    """The number of the space group that the operators are, by spglib; 0 if it cannot tell."""
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        try:
            found = spglib.get_spacegroup_type_from_symmetry(ops.rotations_G33, ops.translations_G3)
        except spglib.SpglibError:
            return 0
    return int(found.number) if found else 0
