"""The table of predictions: its columns, and files of it that are written row after row."""

import csv
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

from dglframer.common.errors import UserError
from dglframer.common.files import atomic_path

Row = dict[str, Any]

SUFFIXES = (".csv", ".parquet")
ROWS_IN_MEMORY = 10_000  # a row group of Parquet

# Column and type; "property" stands only where there are several.
COLUMNS: dict[str, type] = {
    "id": str,
    "path": str,
    "property": str,
    "prediction": float,
    "unit": str,
    "spread": float,
    "abstained": bool,
    "error": str,
}


def columns(several: bool) -> dict[str, type]:
    """The columns for models of several properties, or of one."""
    return {name: kind for name, kind in COLUMNS.items() if several or name != "property"}


def check_suffix(out: Path) -> None:
    """Raise UserError unless the name says the format."""
    if out.suffix not in SUFFIXES:
        raise UserError(f"--out {out}: the name must end in .csv or .parquet")


def write_rows(rows: Iterable[Row], out: Path, kinds: dict[str, type]) -> None:
    """Write the rows as CSV or Parquet, by the suffix of ``out``; memory holds ROWS_IN_MEMORY."""
    if out.suffix == ".parquet":
        write_parquet_rows(rows, out, kinds)
        return
    with (
        atomic_path(out) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as handle,
    ):
        write_csv_rows(rows, handle, kinds)


def write_csv_rows(rows: Iterable[Row], handle: IO[str], kinds: dict[str, type]) -> None:
    """Write a header and the rows as they come. (Not by pyarrow, which loads pandas for this.)"""
    writer = csv.writer(handle, lineterminator="\n")
    writer.writerow(kinds)
    for row in rows:
        writer.writerow(as_text(row[name]) for name in kinds)


def as_text(value: Any) -> Any:
    """A truth value as other programs write it, all else as it is; None is an empty field."""
    return str(value).lower() if isinstance(value, bool) else value


def write_parquet_rows(rows: Iterable[Row], out: Path, kinds: dict[str, type]) -> None:
    """Write row groups of ROWS_IN_MEMORY rows."""
    import pyarrow as pa

    from dglframer.common.parquet import write_row_groups

    types = {str: pa.string(), float: pa.float64(), bool: pa.bool_()}
    schema = pa.schema([(name, types[kind]) for name, kind in kinds.items()])

    def groups() -> Iterator[pa.Table]:
        remaining = iter(rows)
        while group := list(islice(remaining, ROWS_IN_MEMORY)):
            yield pa.table({name: [row[name] for row in group] for name in kinds}, schema=schema)

    write_row_groups(out, groups(), schema)
