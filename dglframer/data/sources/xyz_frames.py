"""The frames of xyz and extxyz files, each by itself, so that a broken one costs no other.

ASE's reader ends without a word at an empty line, and one wrong number of atoms costs it the whole
file; here it is given one frame at a time.
"""

import re
from collections.abc import Iterator
from io import StringIO, TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dglframer.common.errors import Rejected
from dglframer.data.sources.text import encoding_of, open_bytes

if TYPE_CHECKING:
    import ase

ID_KEYS = ("id", "material_id", "jid")
COUNT = re.compile(r"\s*\d{1,9}\s*")
VECTOR = re.compile(r"\s*VEC[123]\b")  # the cell, in lines of ADF after the atoms
PROPERTIES = re.compile(r"""Properties=["']?([^"'\s]+)""")
STATED_ID = re.compile(rf"(?:^|\s)({'|'.join(ID_KEYS)})=(?:\"([^\"]*)\"|([^\s\"'{{\[]+)(?=\s|$))")
CELL_NAMES = ("lattice", "pbc", "cell", "unit_cell", "box")  # the format's names: Lattice, pbc


def xyz_frames(path: Path) -> Iterator["ase.Atoms | Rejected"]:
    """Each frame as ASE's Atoms, or why it cannot be read. Raises DamagedFile, OSError."""
    with open_bytes(path) as stream:
        encoding = encoding_of(stream.peek(4))  # type: ignore[attr-defined]
        for frame in split_frames(TextIOWrapper(stream, encoding, errors="replace")):
            yield frame if isinstance(frame, Rejected) else parsed(*frame)


def split_frames(lines: Iterator[str]) -> Iterator[tuple[int, list[str]] | Rejected]:
    """(number of atoms, comment and atoms) of each frame; "" is the end of the lines.

    A frame that is longer or shorter than it says is a reason; the next begins at the next number
    that has a line for itself.
    """
    lines = iter(lines)
    line = filled(lines, next(lines, ""))
    while line:
        if not COUNT.fullmatch(line):
            yield Rejected(f"the number of atoms expected, not {line.strip()[:50]!r}")
            line = next((one for one in lines if COUNT.fullmatch(one)), "")
            continue
        n_atoms, frame = int(line), [next(lines, "")]
        for line in lines:
            if len(frame) > n_atoms and not VECTOR.match(line):
                break
            if COUNT.fullmatch(line):
                break
            frame.append(line)
        else:
            line = ""
        line = filled(lines, line)
        if len(frame) <= n_atoms:
            yield Rejected(f"{n_atoms} atoms announced, {len(frame) - 1} lines of atoms found")
        elif line and not COUNT.fullmatch(line):
            yield Rejected(f"more lines than the {n_atoms} atoms announced: {line.strip()[:50]!r}")
            line = next((one for one in lines if COUNT.fullmatch(one)), "")
        else:
            yield n_atoms, frame


def filled(lines: Iterator[str], line: str) -> str:
    """The line, or the next one that is not empty."""
    while line and not line.strip():
        line = next(lines, "")
    return line


def parsed(n_atoms: int, frame: list[str]) -> "ase.Atoms | Rejected":
    """One frame as ASE reads it, with D and T as hydrogen, or why it cannot be used."""
    from ase.io.extxyz import read_xyz

    def read(lines: list[str]) -> "ase.Atoms":
        return next(read_xyz(StringIO(f"{n_atoms}\n{''.join(lines)}"), 0, comment_keys))

    try:
        try:
            atoms = read(frame)
        except KeyError:  # ASE knows no D and no T
            atoms = read(with_light_hydrogen(frame))
    except Exception as error:  # the reader raises anything
        return Rejected(f"{type(error).__name__}: {error}")
    not_read = ("pbc",) if atoms.cell.any() else CELL_NAMES
    for name, value in atoms.info.items():
        if name.lower() in not_read and np.size(value) in (3, 6, 9):
            return Rejected(f"{name}=... is not read: the names are Lattice (of 9 numbers) and pbc")
    return atoms


def comment_keys(line: str) -> dict[str, Any]:
    """What a comment line says; ids as they are written: 001 is not 1."""
    from ase.io.extxyz import key_val_str_to_dict

    stated = {key: quoted or plain for key, quoted, plain in STATED_ID.findall(line)}
    return key_val_str_to_dict(line) | stated


def with_light_hydrogen(frame: list[str]) -> list[str]:
    """The frame with H for D and T."""
    properties = PROPERTIES.search(frame[0])
    fields = properties[1].split(":") if properties else []
    names, widths = fields[::3], fields[2::3]
    column = sum(map(int, widths[: names.index("species")])) if "species" in names else 0
    rows = [line.split() for line in frame[1:]]
    for row in rows:
        if row[column].capitalize() in ("D", "T"):
            row[column] = "H"
    return [frame[0], *(" ".join(row) + "\n" for row in rows)]
