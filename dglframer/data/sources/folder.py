"""A folder of structure files (CIF, POSCAR, extxyz, ...) with a CSV of ids and targets.

The id is the stem of the file's name; where a file holds several structures, the id that each
states, or the stem with its number (``run-0``, ``run-1``).
"""

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from dglframer.common.errors import ConfigError
from dglframer.data.sources.structure_files import is_structure_file, read_structures
from dglframer.structures.crystal import Record


class FolderSource:
    """Your own crystals."""

    name = "folder"
    licence = "yours"
    citation = "yours"

    def __init__(self, path: Path, targets_csv: Path, units: dict[str, str]):
        if not path.is_dir():
            raise ConfigError(f"dataset.path: no folder {path}")
        if not targets_csv.is_file():
            raise ConfigError(f"dataset.targets_csv: no file {targets_csv}")
        self.path, self.targets_csv, self.units = path, targets_csv, units
        self.columns, self.rows = read_targets(targets_csv)

    def structure_files(self) -> list[Path]:
        found = (path for path in self.path.iterdir() if is_structure_file(path))
        return sorted(path for path in found if not path.is_dir())

    def files(self) -> list[Path]:
        return [self.targets_csv, *self.structure_files()]

    def notes(self) -> list[str]:
        return []

    def records(self) -> Iterator[Record]:
        """The files in order of name, then the CSV's ids that have no file."""
        unread = dict(self.rows)
        for record in read_structures(self.structure_files()):
            unread.pop(record.id, None)
            yield self.with_row(record, self.rows.get(record.id))
        for id in unread:
            yield Record(id, problem=f"no structure file for this row of {self.targets_csv.name}")

    def with_row(self, record: Record, row: dict[str, Any] | None) -> Record:
        """The record with the labels of its CSV row."""
        problem = record.problem
        if row is None:
            return replace(record, problem=problem or f"no row in {self.targets_csv.name}")
        if None in row:  # an unquoted comma: the fields are not what their column says
            problem = problem or f"row of {self.targets_csv.name} has more fields than the header"
        labels = {name: as_number(row[name]) for name in self.columns}
        return replace(record, labels=labels, problem=problem)

    def unit(self, target: str) -> str:
        if target not in self.columns:
            valid = ", ".join(self.columns)
            raise ConfigError(f"{self.targets_csv} has no column {target}; it has {valid}")
        return self.units.get(target, "")


def read_targets(path: Path) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """The target columns of the CSV and its rows by id.

    Raises ConfigError if it has no column id, an id twice, or is not UTF-8 text.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle)
            columns = list(reader.fieldnames or [])
            lines = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path}: not a CSV file in UTF-8 ({error})") from None
    if "id" not in columns:
        raise ConfigError(f"{path}: no column id")
    rows: dict[str, dict[str, Any]] = {}
    for row in lines:
        id = row.pop("id") or ""
        if id in rows:
            raise ConfigError(f"{path}: id {id} stands in two rows")
        rows[id] = row
    return [name for name in columns if name != "id"], rows


def as_number(text: str | None) -> float | str | None:
    """The number a CSV field holds, or the field itself for validation to refuse."""
    try:
        return float(text) if text else None
    except ValueError:
        return text
