"""``_chemical_formula_sum``: elements and their amounts."""

import re
from collections import defaultdict
from collections.abc import Mapping
from fractions import Fraction

from dglframer.common.errors import Rejected
from dglframer.data.sources.cif.blocks import Block
from dglframer.data.sources.cif.site_types import ELEMENTS, HYDROGEN, hydrogen

PART = re.compile(r"([A-Z][a-z]?)(\d{1,9}\.?\d{0,9}|\.\d{1,9})?[ ,]*")
Formula = Mapping[str, Fraction]

# Formulas with brackets and charges: only their elements are used.
OTHER_NAMES = (
    "_chemical_formula_structural",
    "_chemical_formula_moiety",
    "_chemical_formula_iupac",
)
OTHER = re.compile(r"(?:[A-Z][a-z]?|[\d.,;()\[\]{}\s+\-:*/]|\bn\b|(?<=\d)n)+")

ROUNDING = Fraction(1, 100)  # of amounts that are no integers, such as 0.33


def formula_sum(block: Block) -> Formula | None:
    """The formula of a block; None if it has none. Raises Rejected if it cannot be read."""
    text = block.text("_chemical_formula_sum")
    if text is None:
        return None
    amounts: defaultdict[str, Fraction] = defaultdict(Fraction)
    place = 0
    plain = re.sub(r"\s\d*[+-]$", "", re.sub(r"[\s~_]+", " ", text).strip())  # without a charge
    while place < len(plain):
        part = PART.match(plain, place)
        if part is None or part[1] not in {*ELEMENTS, *HYDROGEN}:
            raise Rejected(
                f"formula {text!r:.60} cannot be read: the sites cannot be checked by it"
            )
        amounts[hydrogen(part[1])] += Fraction(part[2] or 1)
        place = part.end()
    return {symbol: amount for symbol, amount in amounts.items() if amount}


def other_elements(block: Block) -> frozenset[str]:
    """Elements of the structural formula and the like, where they can be read."""
    found: set[str] = set()
    for name in OTHER_NAMES:
        text = block.text(name)
        if text and OTHER.fullmatch(text):
            symbols = re.findall("[A-Z][a-z]?", text)
            if {*symbols} <= {*ELEMENTS, *HYDROGEN}:
                found |= set(map(hydrogen, symbols))
    return frozenset(found)


def units(content: Mapping[str, int], formula: Formula) -> Fraction | None:
    """How many formulas a cell holds; None if its content is no multiple of the formula.

    Amounts that are no integers may be rounded.
    """
    if set(content) != set(formula):
        return None
    number = Fraction(sum(content.values())) / sum(formula.values())
    exact = all(amount.denominator == 1 for amount in formula.values())
    for symbol, count in content.items():
        off = abs(count - number * formula[symbol])
        if off > (0 if exact else ROUNDING * count):
            return None
    return number


def written(amounts: Mapping[str, int] | Formula) -> str:
    """A formula as text, such as Na1 O1."""
    return " ".join(f"{symbol}{float(amounts[symbol]):g}" for symbol in sorted(amounts))
