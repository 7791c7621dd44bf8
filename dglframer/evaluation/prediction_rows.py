"""The table of predictions: its columns, and files of it that are written row after row."""

import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from dglframer.common.errors import UserError
from dglframer.common.files import atomic_path

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]

SUFFIXES = (".csv", ".parquet")
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet runs a text that begins so
ROWS_IN_MEMORY = 10_000  # a row group of Parquet

# Column and type; "property" stands only where there are several.
COLUMNS: dict[str, type] = {
    "id": str,
    "path": str,
    "property": str,
    "prediction": float,
    "unit": str,
    "spread": float,
    "low": float,
    "high": float,
    "abstained": bool,
    "warning": str,
    "error": str,
}


def columns(several: bool) -> dict[str, type]:
    """The columns for models of several properties, or of one."""
    return {name: kind for name, kind in COLUMNS.items() if several or name != "property"}


def check_suffix(out: Path | None, embed: Path | None = None) -> None:
    """Raise UserError unless the names say the formats."""
    if out and out.suffix not in SUFFIXES:
        raise UserError(f"--out {out}: the name must end in .csv or .parquet")
    if embed and embed.suffix != ".parquet":
        raise UserError(f"--embed {embed}: the name must end in .parquet")


def write_rows(rows: Iterable[Row], out: Path | None, kinds: dict[str, type]) -> None:
    """Write the rows as CSV or Parquet, by the suffix of ``out``; memory holds ROWS_IN_MEMORY.

    ``out`` None: CSV on standard output.
    """
    if out is None:
        write_csv_rows(rows, sys.stdout, kinds)
        return
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
    """A value for CSV: truth values as other programs write them, texts that no spreadsheet runs.

    None is an empty field.
    """
    if isinstance(value, str) and value.startswith(FORMULA_SIGNS):
        return f"'{value}"
    return str(value).lower() if isinstance(value, bool) else value


def write_parquet_rows(rows: Iterable[Row], out: Path, kinds: dict[str, type]) -> None:
    """Write row groups of ROWS_IN_MEMORY rows."""
    from dglframer.common.parquet import write_row_groups

    write_row_groups(out, (as_table(group, kinds) for group in groups_of(rows)), schema_of(kinds))


def as_table(rows: Sequence[Row], kinds: dict[str, type]) -> "pa.Table":
    """The rows as a table with typed columns."""
    import pyarrow as pa

    columns = {name: [row[name] for row in rows] for name in kinds}
    return pa.table(columns, schema=schema_of(kinds))


def schema_of(kinds: dict[str, type]) -> "pa.Schema":
    """The columns in Arrow's types."""
    import pyarrow as pa

    types = {str: pa.string(), float: pa.float64(), bool: pa.bool_()}
    return pa.schema([(name, types[kind]) for name, kind in kinds.items()])


def groups_of(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Lists of ROWS_IN_MEMORY rows."""
    remaining = iter(rows)
    while group := list(islice(remaining, ROWS_IN_MEMORY)):
        yield group


def write_embeddings(rows: Iterable[Row], out: Path) -> None:
    """Write a Parquet file of id, path, embedding (list of float32, null with an error) and error.

    The rows are those of structures: of several targets, the first.
    """
    import pyarrow as pa

    from dglframer.common.parquet import write_row_groups

    kinds = {"id": pa.string(), "path": pa.string(), "embedding": pa.list_(pa.float32())}
    schema = pa.schema([*kinds.items(), ("error", pa.string())])
    groups = groups_of(row for row in rows if "embedding" in row)
    tables = (
        pa.table({name: [row[name] for row in group] for name in schema.names}, schema=schema)
        for group in groups
    )
    write_row_groups(out, tables, schema)
