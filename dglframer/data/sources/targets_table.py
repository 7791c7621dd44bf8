"""The table of ids and targets beside structure files, as spreadsheets and programs write it."""

import csv
import io
import logging
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dglframer.common.errors import ConfigError, DamagedFile
from dglframer.data.sources.labels import number
from dglframer.data.sources.text import read_text

log = logging.getLogger(__name__)

# In any case of letters; of several the first whose ids name files.
ID_COLUMNS = ("id", "material_id", "jid", "entry_id", "file", "filename", "file_name", "path")
DELIMITERS = "\t;,"
DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+([eE][-+]?\d+)?")
DECIMAL_POINT = re.compile(r"[-+]?\d*\.\d+([eE][-+]?\d+)?")


class NoHeader(ConfigError):
    """There is no line of names, and not a value in a row for each target."""


@dataclass(frozen=True)
class TargetsTable:
    """``rows``: by id the fields by column; ``too_long``: ids of rows with fields beyond the header."""

    columns: list[str]
    rows: dict[str, dict[str, str]]
    too_long: set[str]


def read_targets(
    path: Path, targets: Sequence[str], names_file: Callable[[str], bool]
) -> TargetsTable:
    """The table in ``path``, separated by commas, semicolons or tabs.

    Without a header the first column has the ids, the others the ``targets`` in their order (the
    layout of CGCNN and ALIGNN). Raises ConfigError if there is no column of ids, for an id or a
    column that is there twice, and for what is not UTF-8 (or UTF-16) text.
    """
    try:
        text = read_text(path, "strict")
        delimiter = delimiter_of(text)
        table = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except (UnicodeError, csv.Error, DamagedFile) as error:
        raise ConfigError(f"{path}: not a CSV file in UTF-8 ({error})") from None
    lines = [fields for line in table if any(fields := [field.strip() for field in line])]
    header = header_of(path, lines, targets)
    id_column = column_of_ids(header, lines, names_file)
    rows: dict[str, dict[str, str]] = {}
    too_long = set()
    for line in lines:
        id = line[id_column] if id_column < len(line) else ""
        if id in rows:
            raise ConfigError(f"{path}: id {id} stands in two rows")
        rows[id] = dict(zip(header, line, strict=False))
        if any(line[len(header) :]):
            too_long.add(id)
    padded = [line[id_column] for line in table if id_column < len(line)]
    if n_padded := sum(id != id.strip() for id in padded):
        log.info("%s: %d ids without the blanks around them", path, n_padded)
    for target in targets:
        if delimiter != "," and target in header:
            make_points(path, target, rows)
    columns = [name for k, name in enumerate(header) if name and k != id_column]
    return TargetsTable(columns, rows, too_long)


def delimiter_of(text: str) -> str:
    """What separates the fields of the first line: the first sign that leaves a column of ids.

    Or, where none does, one that leaves numbers: there is no header then.
    """
    first_line = next(iter(text.strip().splitlines()), "")
    split = {sign: next(csv.reader([first_line], delimiter=sign), []) for sign in DELIMITERS}
    several = {sign: fields for sign, fields in split.items() if len(fields) > 1}
    with_ids = (sign for sign, fields in several.items() if any(map(is_id_column, fields)))
    with_numbers = (sign for sign, fields in several.items() if is_data(fields))
    return next(with_ids, None) or next(with_numbers, ",")


def header_of(path: Path, lines: list[list[str]], targets: Sequence[str]) -> list[str]:
    """The names of the columns, taken off the lines if they are there; raises ConfigError."""
    first = lines[0] if lines else []
    if any(map(is_id_column, first)):
        header = lines.pop(0)
        while not header[-1]:  # a separator at the end of the line
            header.pop()
        twice = [name for name, n in Counter(filter(None, header)).items() if n > 1]
        if twice:
            raise ConfigError(f"{path}: column {twice[0]} is there twice")
        return header
    if not is_data(first):
        raise ConfigError(f"{path}: no column id (or {', '.join(ID_COLUMNS[1:])})")
    if len(first) != 1 + len(targets):
        raise NoHeader(
            f"{path}: no header, and {len(first) - 1} values in a row for the targets "
            f"{', '.join(targets)}; name the columns in a first line: id, ..."
        )
    return [ID_COLUMNS[0], *targets]


def is_id_column(name: str) -> bool:
    return name.strip().lower() in ID_COLUMNS


def is_data(fields: list[str]) -> bool:
    """Whether a line is an id and numbers, or words for missing ones."""
    values = [number(DECIMAL_COMMA.sub("0", field.strip())) for field in fields[1:]]
    return bool(values) and not any(isinstance(value, str) for value in values)


def column_of_ids(
    header: list[str], lines: list[list[str]], names_file: Callable[[str], bool]
) -> int:
    """The column of ids: the first by name that finds a file, or the first by name."""
    columns = sorted(
        (k for k, name in enumerate(header) if is_id_column(name)),
        key=lambda k: ID_COLUMNS.index(header[k].lower()),
    )

    def finds_one(k: int) -> bool:
        return any(names_file(line[k]) for line in lines if k < len(line))

    return next(filter(finds_one, columns), columns[0]) if len(columns) > 1 else columns[0]


def make_points(path: Path, target: str, rows: dict[str, dict[str, str]]) -> None:
    """Decimal commas of a column become points; raises ConfigError if it has both."""
    fields = [row.get(target, "") for row in rows.values()]
    comma = next(filter(DECIMAL_COMMA.fullmatch, fields), None)
    point = next(filter(DECIMAL_POINT.fullmatch, fields), None)
    if comma is None:
        return
    if point is not None:
        raise ConfigError(f"{path}: column {target} has {comma} and {point}: which is decimal?")
    log.info("%s: column %s has decimal commas, as in %s", path, target, comma)
    for row in rows.values():
        if DECIMAL_COMMA.fullmatch(row.get(target, "")):
            row[target] = row[target].replace(",", ".")
