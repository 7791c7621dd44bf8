"""Parquet files with page checksums, whole and in pieces."""

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dglframer.common.errors import DamagedFile
from dglframer.common.files import atomic_path
from dglframer.common.remote import RemotePath

GROUP_ROWS = 1 << 20  # of the row groups in which pyarrow writes a table
READ_BYTES = 1 << 16  # of each column of a Parquet file at a time
REMOTE_BYTES = 1 << 22  # the same from object storage, where each reading is a request


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a Parquet file atomically: zstd, page checksums, no timestamps (equal data, equal bytes)."""
    write_row_groups(path, [table], table.schema)


def write_row_groups(path: Path, groups: Iterable[pa.Table], schema: pa.Schema) -> None:
    """Write a Parquet file as ``write_parquet`` does, each table as a row group, one in memory at a time."""
    with (
        atomic_path(path) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        for group in groups:
            writer.write_table(group)


def write_rows(path: Path, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
    """Write the rows of tables of any size: the bytes are those of ``write_parquet`` of all of them.

    Memory holds one row group, of GROUP_ROWS rows.
    """
    write_row_groups(path, in_row_groups(tables, schema), schema)


def in_row_groups(tables: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """The same rows in contiguous tables of GROUP_ROWS; one empty table if there is none."""
    pending, count, written = [schema.empty_table()], 0, False
    for table in tables:
        while count + len(table) >= GROUP_ROWS:
            complete = pa.concat_tables([*pending, table.slice(0, GROUP_ROWS - count)])
            yield complete.combine_chunks()
            table = table.slice(GROUP_ROWS - count)
            pending, count, written = [schema.empty_table()], 0, True
        pending.append(table)
        count += len(table)
    if count or not written:
        yield pa.concat_tables(pending).combine_chunks()


@contextmanager
def parquet_errors(path: Path) -> Iterator[None]:
    """Turn the errors of reading a damaged or absent Parquet file into DamagedFile."""
    try:
        yield
    except FileNotFoundError:
        raise DamagedFile(f"{path}: no such file") from None
    except (OSError, ValueError, pa.ArrowException) as error:
        where = f", {damage}" if (damage := damaged_row_group(path)) else ""
        raise DamagedFile(f"{path}{where}: damaged or not a Parquet file ({error})") from None


def damaged_row_group(path: Path) -> str:
    """``row group 3`` for the first that cannot be read; "" if none can, or all."""
    try:
        with pq.ParquetFile(source_of(path), page_checksum_verification=True) as file:
            for group in range(file.num_row_groups):
                try:
                    file.read_row_group(group)
                except (OSError, ValueError, pa.ArrowException):
                    return f"row group {group}"
    except (OSError, ValueError, pa.ArrowException):
        pass  # the footer
    return ""


def read_parquet(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Read a Parquet file and verify its page checksums; raises DamagedFile naming the file."""
    with parquet_errors(path):
        table = pq.read_table(
            source_of(path), columns=columns, page_checksum_verification=True, partitioning=None
        )
        table.schema.names  # noqa: B018  (raises where a damaged name is not UTF-8)
        return table


def parquet_schema(path: Path) -> pa.Schema:
    """Columns, types and metadata of a Parquet file; raises DamagedFile naming it."""
    with parquet_errors(path):
        return pq.read_schema(source_of(path))


@contextmanager
def parquet_file(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file for reading in pieces, checksums verified; raises DamagedFile naming it.

    Bytes are read when their rows are asked for. Memory holds neither earlier rows nor the rest of
    the row group, which may be as large as the file.
    """
    with parquet_errors(path), opened(path) as file:
        yield file


def opened(path: Path) -> pq.ParquetFile:
    """A Parquet file for reading in pieces."""
    remote = isinstance(path, RemotePath)
    return pq.ParquetFile(
        source_of(path),
        page_checksum_verification=True,
        pre_buffer=False,
        buffer_size=REMOTE_BYTES if remote else READ_BYTES,
    )


def source_of(path: Path) -> Any:
    """What pyarrow reads: the path, or an open file in object storage."""
    return path.open("rb") if isinstance(path, RemotePath) else path


def parquet_batches(
    path: Path, columns: Sequence[str] | None = None, rows: int = 1024
) -> Iterator[pa.Table]:
    """The rows of a Parquet file in order, ``rows`` at a time, verified as in ``read_parquet``."""
    with parquet_file(path) as file:
        names = None if columns is None else list(columns)
        for batch in file.iter_batches(batch_size=rows, columns=names):
            yield pa.Table.from_batches([batch])


class RowReader:
    """Rows of a Parquet file by their number; its directory, which grows with it, is read once."""

    def __init__(self, path: Path):
        self.path = path
        with parquet_errors(path):
            self.file = opened(path)
            metadata = self.file.metadata
            self.counts = [metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)]
        self.ends = list(accumulate(self.counts))

    def __enter__(self) -> "RowReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def read(self, first: int, stop: int, columns: list[str]) -> pa.Table:
        """Rows ``first`` to ``stop`` - 1; no other row group is read. Raises DamagedFile."""
        groups = range(bisect_right(self.ends, first), bisect_left(self.ends, stop) + 1)
        with parquet_errors(self.path):
            table = self.file.read_row_groups(list(groups), columns=columns)
        before = self.ends[groups[0]] - self.counts[groups[0]]
        return table.slice(first - before, stop - first)


def read_rows(path: Path, first: int, stop: int, columns: list[str]) -> pa.Table:
    """Rows ``first`` to ``stop`` - 1 of a file; no other row group is read."""
    with RowReader(path) as reader:
        return reader.read(first, stop, columns)


def hash_of_table(table: pa.Table) -> str:
    """sha256 of the values, names, types and units of a table, however it is cut into chunks."""
    # take() copies: equal values, equal buffers
    every_row = pa.array(
        range(len(table)), pa.int64()
    )  # without the type no row would be of type null
    plain = table.replace_schema_metadata(None).take(every_row).combine_chunks()
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, plain.schema) as writer:
        writer.write_table(plain)
    return hashlib.sha256(stream.getvalue()).hexdigest()
