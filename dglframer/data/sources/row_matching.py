"""Which row of a table belongs to which structure file.

A row names a file by its path, or the end of it, with or without the ending, or by the folder that
holds it (mp-1 for mp-1/POSCAR). Numbers fit without their leading zeros, which spreadsheets take
away: 1 is 001.cif. Both spellings of an id of the Materials Project are one: mp-ft is mp-149.cif. Nothing
else is guessed, and a row that fits twice has no file.
"""

import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from dglframer.data.ids import MP_ID, usual_mp_id
from dglframer.data.sources.file_ids import file_ids, without_ending

log = logging.getLogger(__name__)

Words = tuple[str, ...]  # of a path
WHOLE, END, NUMBER, MATERIAL = 1, 2, 3, 4  # how a row fits: the best one counts
SHOWN = 5  # names in a message


@dataclass
class Matches:
    """By number of the file: its row, or why it has none though ``doubtful_rows`` name it."""

    rows: dict[int, str]
    doubts: dict[int, str]
    doubtful_rows: set[str]


def match_rows(names: "FileNames", rows: Iterable[str]) -> Matches:
    """The row of each file."""
    claims: dict[int, list[tuple[int, str]]] = defaultdict(list)
    doubts: dict[int, tuple[str, set[str]]] = {}
    matched: dict[int, str] = {}
    for row in rows:
        how, fitting = names.fitting(row)
        if len(fitting) == 1:
            claims[fitting[0]].append((how, row))
        elif fitting:
            doubt = f"row {row} fits {some(names.ids[k] for k in fitting)}"
            doubts |= dict.fromkeys(fitting, (doubt, {row}))
    without_zeros, spelt_otherwise = [], []
    for k, claimed in claims.items():
        best, row = min(claimed)
        rivals = [other for how, other in claimed if how == best]
        if len(rivals) > 1:
            doubts[k] = f"rows {some(rivals)} fit {names.ids[k]}", set(rivals)
            continue
        matched[k] = row
        doubts.pop(k, None)
        if best == NUMBER:
            without_zeros.append(f"{row} is {names.ids[k]}")
        if best == MATERIAL:
            spelt_otherwise.append(f"{row} is {names.ids[k]}")
    if without_zeros:
        log.warning("ids matched without their leading zeros: %s", some(without_zeros))
    if spelt_otherwise:
        log.warning("ids in two spellings of the Materials Project: %s", some(spelt_otherwise))
    doubtful_rows = {row for _, rows in doubts.values() for row in rows}
    return Matches(matched, {k: doubt for k, (doubt, _) in doubts.items()}, doubtful_rows)


class FileNames:
    """The names under which files can be found."""

    def __init__(self, files: Sequence[Path], root: Path):
        self.ids = file_ids(files, root)
        self.paths: list[Words] = [Path(os.path.abspath(path)).parts for path in files]
        self.bare = [(*path[:-1], without_ending(path[-1]).strip()) for path in self.paths]
        self.depth = len(Path(os.path.abspath(root)).parts)  # parts that all paths share
        self.by_word: dict[str, list[int]] = defaultdict(list)
        self.by_number: dict[int, list[int]] = defaultdict(list)
        self.by_material: dict[str, list[int]] = defaultdict(list)
        for k, (path, bare) in enumerate(zip(self.paths, self.bare, strict=True)):
            for word in {path[-1], bare[-1], *path[self.depth : -1][-1:]}:
                self.by_word[word].append(k)
            if bare[-1].isdecimal():
                self.by_number[int(bare[-1])].append(k)
            if MP_ID.fullmatch(bare[-1]):
                self.by_material[usual_mp_id(bare[-1])].append(k)

    @cached_property
    def by_case(self) -> dict[str, str]:
        """The ids by themselves in small letters."""
        return {id.casefold(): id for id in self.ids}

    def fitting(self, row: str) -> tuple[int, list[int]]:
        """How the row fits, and the files that it fits so."""
        words = PurePosixPath(row.replace("\\", "/")).parts
        possible = self.by_word.get(words[-1], []) if words else []
        if whole := [k for k in possible if self.is_whole(k, words)]:
            return WHOLE, whole
        if ends := [k for k in possible if self.is_end(k, words)]:
            return END, ends
        if row.isdecimal():
            return NUMBER, self.by_number.get(int(row), [])
        return MATERIAL, self.by_material.get(usual_mp_id(row), [])

    def is_whole(self, k: int, words: Words) -> bool:
        inside = self.paths[k][self.depth :], self.bare[k][self.depth :]
        return words in inside or "/".join(words) == self.ids[k]

    def is_end(self, k: int, words: Words) -> bool:
        n = len(words)
        folder = self.paths[k][self.depth : -1]
        return words in (self.paths[k][-n:], self.bare[k][-n:], folder[-n:])


def some(names: Iterable[str]) -> str:
    """The first of them, for a message."""
    known = list(names)
    return ", ".join(known[:SHOWN]) + (", ..." if len(known) > SHOWN else "")
