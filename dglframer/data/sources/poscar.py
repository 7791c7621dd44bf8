"""POSCAR and CONTCAR of VASP, as https://www.vasp.at/wiki/POSCAR describes them.

Not by pymatgen (2026.10): it reads Cartesian coordinates below a negative scale factor wrongly,
drops symbols that have no count, and makes up elements where the symbols are missing.
"""

import re
from itertools import takewhile
from pathlib import Path

import numpy as np

from dglframer.common.elements import atomic_number
from dglframer.common.errors import DamagedFile, Rejected
from dglframer.data.sources.text import read_text
from dglframer.structures.crystal import Record

NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eEdD][-+]?\d+)?")
COUNT = re.compile(r"\d{1,7}")
# VASP 6 writes the names of potentials: Mg_pv/f474ac0d
SYMBOL = re.compile(r"([A-Z][a-z]?)(_[^/]*)?(/.*)?")


def read_poscar(path: Path, id: str) -> Record:
    """The crystal of a POSCAR as it stands; what cannot be read carries its problem."""
    try:
        with np.errstate(all="ignore"):  # what overflows is refused as not finite
            return Record(id, *parse_poscar(read_text(path)))
    except (Rejected, DamagedFile, OSError) as reason:
        return Record(id, problem=f"cannot be read: {reason}")


def parse_poscar(text: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """(symbols, lattice_33, frac_N3) of the text of a POSCAR; raises Rejected with line and reason."""
    lines = [re.split("[!#]", line, maxsplit=1)[0].split() for line in text.rstrip().splitlines()]
    if len(lines) < 8:
        raise Rejected(f"a POSCAR has at least 8 lines, this one has {len(lines)}")
    vectors_33 = np.array([three_numbers(lines, k) for k in (2, 3, 4)])
    names, counts, at = names_and_counts(lines)
    is_selective = first_letter(lines, at) == "s"  # flags follow the coordinates
    at += is_selective
    mode = first_letter(lines, at)
    if not mode.isalpha():
        raise Rejected(f"line {at + 1}: Direct or Cartesian expected, not {shown(lines, at)}")
    rows = lines[at + 1 : at + 1 + sum(counts)]
    if len(rows) < sum(counts):
        raise Rejected(f"{sum(counts)} atoms counted, {len(rows)} lines of coordinates")
    end = at + 1 + len(rows)
    if end < len(lines) and all(map(NUMBER.fullmatch, lines[end][:3])) and len(lines[end]) > 2:
        raise Rejected(f"line {end + 1}: more coordinates than the {sum(counts)} atoms counted")
    coords_N3 = np.array([three_numbers(lines, k) for k in range(at + 1, end)])
    if mode in "ck":  # the scale factors apply to lattice and coordinates, and cancel in fractions
        coords_N3 = coords_N3 @ inverse(vectors_33)
    words = np.repeat(names, counts) if names else last_words(rows, 6 if is_selective else 3)
    return list(map(symbol, words)), vectors_33 * scale_factors(lines, vectors_33), coords_N3


def scale_factors(lines: list[list[str]], vectors_33: np.ndarray) -> np.ndarray:
    """What x, y and z are multiplied by; one negative number is minus the volume of the cell."""
    words = list(takewhile(NUMBER.fullmatch, lines[1]))
    factors = np.array(list(map(as_float, words)))
    if len(factors) == 1 and factors[0] < 0:
        inverse(vectors_33)  # there is a volume
        return np.cbrt(-factors / abs(np.linalg.det(vectors_33)))
    if len(factors) not in (1, 3) or (factors <= 0).any():
        raise Rejected(
            f"line 2: a scale factor, minus a volume, or three positive factors expected, not "
            f"{shown(lines, 1)}"
        )
    return factors


def names_and_counts(lines: list[list[str]]) -> tuple[list[str], list[int], int]:
    """The names of the elements, how many atoms each has, and the index of the line after that.

    Both may go on over several lines, as VASP writes many groups. In files of VASP 4 no names stand.
    """
    names: list[str] = []
    counts: list[str] = []
    at = 5
    while at < len(lines) and not starts_with_count(lines[at]):
        names += lines[at]
        at += 1
    while (
        at < len(lines) and starts_with_count(lines[at]) and (not names or len(counts) < len(names))
    ):
        counts += lines[at]
        at += 1
    if not counts or not all(map(COUNT.fullmatch, counts)) or (names and len(counts) != len(names)):
        said = f"{' '.join(names)[:50]!r} and {' '.join(counts)[:50]!r}"
        raise Rejected(f"line 6: element symbols and as many counts expected, not {said}")
    numbers = list(map(int, counts))
    if sum(numbers) == 0:
        raise Rejected("no atoms counted")
    return names, numbers, at


def starts_with_count(words: list[str]) -> bool:
    return bool(words) and COUNT.fullmatch(words[0]) is not None


def last_words(rows: list[list[str]], column: int) -> list[str]:
    """The symbols that some programs write after the coordinates."""
    if not all(len(row) > column and atomic_number(row[column]) for row in rows):
        raise Rejected(
            "no element symbols (POSCAR of VASP 4): write them in a line above the counts"
        )
    return [row[column] for row in rows]


def symbol(name: str) -> str:
    """The element of the name of a potential."""
    match = SYMBOL.fullmatch(name)
    if match is None:
        raise Rejected(f"{name[:20]!r} is no element symbol")
    return match[1]


def first_letter(lines: list[list[str]], at: int) -> str:
    """The first sign of a line in small letters; "" if there is none."""
    return lines[at][0][0].lower() if at < len(lines) and lines[at] else ""


def three_numbers(lines: list[list[str]], at: int) -> list[float]:
    words = lines[at][:3]
    if len(words) < 3 or not all(map(NUMBER.fullmatch, words)):
        raise Rejected(f"line {at + 1}: three numbers expected, not {shown(lines, at)}")
    return list(map(as_float, words))


def as_float(word: str) -> float:
    return float(word.lower().replace("d", "e"))


def inverse(vectors_33: np.ndarray) -> np.ndarray:
    """The inverse of the lattice; raises Rejected if it has none."""
    try:
        return np.linalg.inv(vectors_33)
    except np.linalg.LinAlgError:
        raise Rejected("the three vectors of the cell are in one plane") from None


def shown(lines: list[list[str]], at: int) -> str:
    return repr(" ".join(lines[at])[:50]) if at < len(lines) else "the end of the file"
