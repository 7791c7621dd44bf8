"""Which element a site is: from its type (``Na1+``, ``2H``), or from its label where it has none.

``_atom_site_type_symbol`` should be an element with a charge, and labels should begin with the
element. Files have OH, Wat, Va and CA as well. What can be read in one way only is taken; what is
likely is taken if the formula confirms it; anything else is refused.
"""

import re
from typing import NamedTuple

from dglframer.common.elements import SYMBOLS
from dglframer.common.errors import Rejected

ELEMENTS = frozenset(SYMBOLS)
HYDROGEN = ("D", "T")

# mass, symbol, charge or number: Na, Na+, Na1+, Na+1, O2-, Fe2.5+, Si0+, 2H, O1
TYPE = re.compile(r"(\d{0,3})([A-Za-z]{1,2})(?:\d*\.?\d*[+-]|[+-]\d+\.?\d*|(\d*))")
LABEL = re.compile(r"\d*([A-Za-z]+)(.*)")


class Element(NamedTuple):
    """What a site can be."""

    options: tuple[str, ...]  # symbols
    certain: bool  # one option, written as it should be; else the formula has to confirm it


def element_of_type(text: str, label: str) -> Element:
    """The element of a type symbol; raises Rejected if it is none (OH, Va, Fe/Co)."""
    found = TYPE.fullmatch(text.replace("^", ""))
    symbol = found[2].capitalize() if found else ""
    known = symbol in {*ELEMENTS, *HYDROGEN}
    if found is None or not known or (found[1] and not plausible_mass(symbol, found[1])):
        raise Rejected(f"site {label}: its type {text!r:.20} is no element (a group, a vacancy?)")
    # CO may be cobalt or carbon monoxide; H2 a molecule on one site, unless the label is H2 too.
    group = found[2].isupper() and len(symbol) == 2 and set(found[2]) <= ELEMENTS
    molecule = bool(found[3]) and text != label
    return Element((hydrogen(symbol),), not group and not molecule)


def plausible_mass(symbol: str, mass: str) -> bool:
    """Whether a number before a symbol can be that of an isotope."""
    if hydrogen(symbol) == "H":
        return mass in ("1", "2", "3")
    number = SYMBOLS.index(symbol) + 1
    return number <= int(mass) <= 3 * number


def element_of_label(label: str) -> Element:
    """The element that a label such as Na1, OW2, CA1 begins with; raises Rejected if there is none."""
    found = LABEL.match(label)
    letters, rest = found.groups() if found else ("", "")
    if letters in ELEMENTS and (rest[:1].isdigit() or not re.search("[A-Za-z]", rest)):
        return Element((letters,), "H" not in rest.upper())  # O1H may be OH
    two, one = letters[:2].capitalize(), letters[:1].upper()
    options = [symbol for symbol in (two, one) if symbol in {*ELEMENTS, *HYDROGEN}]
    if len(options) == 2 and letters[:2] == two:  # SiT is silicon, SIT may be sulphur
        options = [two]
    if not options:
        raise Rejected(f"site {label}: it has no type, and its label begins with no element")
    return Element(tuple(dict.fromkeys(map(hydrogen, options))), False)


def hydrogen(symbol: str) -> str:
    """H for its isotopes D and T, otherwise the symbol."""
    return "H" if symbol in HYDROGEN else symbol


def chosen(element: Element, formula: frozenset[str] | None, name: str) -> str:
    """The symbol; raises Rejected if it is not certain and the formula does not decide."""
    if element.certain:
        return element.options[0]
    what = " or ".join(element.options)
    if formula is None:
        raise Rejected(f"site {name}: it may be {what}, and there is no formula that confirms it")
    confirmed = [symbol for symbol in element.options if symbol in formula]
    if len(confirmed) != 1:
        raise Rejected(f"site {name}: it may be {what}, and the formula does not decide")
    return confirmed[0]
