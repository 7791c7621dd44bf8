"""Ids of crystals: records that share one, and the two spellings of the Materials Project's.

The Materials Project counts its materials. It wrote the number in digits (``mp-149``) and now writes it
in letters, to the base 26 with a = 0 (``mp-ft``, padded ``mp-aaaaft``). Materials up to LAST_IN_DIGITS keep
the digits as their usual form, later ones have letters
(https://docs.materialsproject.org/data-production/identifiers).
"""

import re
from string import ascii_lowercase

REPEAT_NUMBER = re.compile(r"#[1-9][0-9]*$")
MP_ID = re.compile(r"(mp|mvc)-([0-9]{1,12}|[a-z]{1,8})")
LAST_IN_DIGITS = 3_347_529


def source_id(id: str) -> str:
    """The id that the source gave, without the #2, #3, ... of records that share one.

    Both spellings of a material of the Materials Project give its usual one.
    """
    return usual_mp_id(REPEAT_NUMBER.sub("", id))


def usual_mp_id(id: str) -> str:
    """``mp-149`` for ``mp-ft`` and ``mp-aaaaft``; any other text as it is."""
    found = MP_ID.fullmatch(id)
    if found is None:
        return id
    prefix, text = found.groups()
    number = int(text) if text.isdigit() else from_letters(text)
    return f"{prefix}-{number if number <= LAST_IN_DIGITS else to_letters(number)}"


def from_letters(text: str) -> int:
    """The number that letters a to z stand for, to the base 26."""
    number = 0
    for letter in text:
        number = 26 * number + ascii_lowercase.index(letter)
    return number


def to_letters(number: int) -> str:
    """A number to the base 26, without padding."""
    number, last = divmod(number, 26)
    return (to_letters(number) if number else "") + ascii_lowercase[last]
