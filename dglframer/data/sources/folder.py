"""A folder of structure files, in folders of its own or not, with a table of ids and targets.

The id is that of the table; of a file without a row, its name without the ending, with as many
folders in front as tell it apart. Where a file holds several structures, the id that each states, or
the name with its number (``run-0``, ``run-1``).
"""

import logging
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path, PurePath

from dglframer.common.errors import ConfigError
from dglframer.data.sources.file_ids import JSON, KNOWN, ending
from dglframer.data.sources.json_list import holds_structures
from dglframer.data.sources.labels import number
from dglframer.data.sources.periodicity import notes
from dglframer.data.sources.row_matching import SHOWN, FileNames, match_rows, some
from dglframer.data.sources.structure_files import is_structure_file, read_structure_file
from dglframer.data.sources.targets_table import read_targets
from dglframer.structures.crystal import NO_LABEL, Record

log = logging.getLogger(__name__)

TABLE = "id_prop.csv"  # the name that CGCNN and ALIGNN give it


class FolderSource:
    """Your own crystals."""

    name = "folder"
    licence = "yours"
    citation = "yours"

    def __init__(
        self,
        folder: Path,
        table: Path | None,
        targets: Sequence[str],
        units: dict[str, str],
        assume_periodic: bool = False,
    ):
        """``table`` None: the id_prop.csv in the folder. Raises ConfigError."""
        if not folder.is_dir():
            raise ConfigError(f"dataset.path: no folder {folder}")
        if table is None and not (folder / TABLE).is_file():
            raise ConfigError(f"dataset.targets_csv is needed: there is no {TABLE} in {folder}")
        self.folder, self.table_path = folder, table or folder / TABLE
        if not self.table_path.is_file():
            raise ConfigError(f"dataset.targets_csv: no file {table}")
        self.targets, self.units, self.assume_periodic = targets, units, assume_periodic
        self.paths, self.other_names = find_files(folder)
        if not self.paths:
            raise ConfigError(f"dataset.path: no structure file in {folder}; {KNOWN}")
        self.names = FileNames(self.paths, folder)
        self.table = read_targets(
            self.table_path, targets, lambda id: bool(self.names.fitting(id)[1])
        )
        self.rows_of_number: dict[int, list[str]] = defaultdict(list)
        for id in filter(str.isdecimal, self.table.rows):
            self.rows_of_number[int(id)].append(id)

    def files(self) -> list[Path]:
        return [self.table_path, *self.paths]

    def notes(self) -> list[str]:
        return notes(self.assume_periodic)

    def records(self) -> Iterator[Record]:
        """The files in order of name, then the rows without a file.

        Raises ConfigError if no row at all has one.
        """
        matches = match_rows(self.names, self.table.rows)
        without_file = dict.fromkeys(self.table.rows)
        several: dict[str, str] = {}
        shown: list[str] = []
        for k, path in enumerate(self.paths):
            records = read_structure_file(path, self.names.ids[k], self.assume_periodic)
            head = list(islice(records, 2))
            row_of_file = matches.rows.get(k)
            if row_of_file and len(head) > 1:
                several[row_of_file] = f"; {path.name} holds several structures: {head[0].id}, ..."
                row_of_file = None
            for record in chain(head, records):
                has_own_id = record.id != self.names.ids[k]
                stated = self.row_that_it_states(record.id) if has_own_id else None
                row = row_of_file or stated
                if row is None:
                    yield self.without_row(record, matches.doubts.get(k, ""))
                else:
                    without_file.pop(row, None)
                    yield self.with_row(record, row, self.names.ids[k])
                if len(shown) < SHOWN:
                    shown.append(record.id)
        if len(without_file) == len(self.table.rows) > 0 and not matches.doubts:
            raise ConfigError(
                f"no row of {self.table_path} names a structure in {self.folder}: the rows have "
                f"the ids {some(without_file)}; the structures {some(shown)}"
            )
        for row in without_file:
            if row not in matches.doubtful_rows:
                said = f"no structure file for this row of {self.table_path.name}"
                yield Record(row, problem=said + (several.get(row) or self.suggestion(row)))

    def row_that_it_states(self, id: str) -> str | None:
        """The row for the id of a structure, be it without its leading zeros."""
        if id in self.table.rows:
            return id
        rows = self.rows_of_number.get(int(id), []) if id.isdecimal() else []
        return rows[0] if len(rows) == 1 else None

    def without_row(self, record: Record, doubt: str) -> Record:
        """The record as one without a label, or, if rows name it in vain, as a bad one."""
        if doubt:
            problem = f"{self.table_path.name}: {doubt}; write the path in the id"
        else:
            problem = f"{NO_LABEL}: no row in {self.table_path.name}"
        return replace(record, problem="; ".join(filter(None, (problem, record.problem))))

    def with_row(self, record: Record, row: str, file_id: str) -> Record:
        """The record with the labels of its row, under the id of the row without an ending."""
        problem = record.problem
        if row in self.table.too_long:  # an unquoted comma: the fields are not what the header says
            problem = problem or f"row of {self.table_path.name} has more fields than the header"
        labels = {name: number(self.table.rows[row].get(name)) for name in self.targets}
        id = file_id if ending(PurePath(row)) else row
        return replace(record, id=id, labels=labels, problem=problem)

    def suggestion(self, row: str) -> str:
        """What may be wrong with a row that has no file."""
        if id := self.names.by_case.get(row.casefold()):
            return f"; {id} differs in the case of its letters only: write it so"
        other = self.other_names.get(row)
        return f"; the ending of {other} is not known: {KNOWN}" if other else ""

    def unit(self, target: str) -> str:
        if target not in self.table.columns:
            valid = ", ".join(self.table.columns)
            raise ConfigError(f"{self.table_path} has no column {target}; it has {valid}")
        return self.units.get(target, "")


def find_files(folder: Path) -> tuple[list[Path], dict[str, str]]:
    """The structure files below a folder in order, and the names of the other files by their stem.

    Hidden files and folders are passed over, JSON without structures as well.
    """
    found, others, without = [], {}, []
    visited = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in visited:  # a link to a folder above
            folders.clear()
            continue
        visited.add(real)
        folders[:] = [name for name in folders if name[0] != "."]
        for name in names:
            path = Path(parent, name)
            if name[0] == ".":
                continue
            if not is_structure_file(path):
                others[path.stem] = name
            elif ending(path) in JSON and not holds_structures(path):
                without.append(name)
            else:
                found.append(path)
    if without:
        log.info("%d JSON files without structures are left out: %s", len(without), some(without))
    return sorted(found), others
