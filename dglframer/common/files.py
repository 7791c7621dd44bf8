"""Writing and naming files: atomic writes, hashes, canonical JSON, Parquet with checksums."""

import hashlib
import json
import os
import shutil
import sqlite3
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dglframer.common.errors import DamagedFile

READ_BYTES = 1 << 16  # of each column of a Parquet file at a time
SCRATCH_KIB = 16_384


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; fsync and rename it when the block ends well.

    A crash leaves the old file, or none, and never half of the new one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        yield temporary
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside ``path``; fsync what is in it and rename it.

    A crash leaves the old folder, or none. What it leaves of the new one is named ``.*.tmp-*``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.iterdir():
            with open(file, "rb") as handle:
                os.fsync(handle.fileno())
        sync_folder(temporary)
        shutil.rmtree(path, ignore_errors=True)
        os.replace(temporary, path)
        sync_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_left_overs(folder: Path) -> None:
    """Remove what writers that were killed have left of unfinished files and folders.

    Only for a folder in which nobody else writes.
    """
    for path in folder.glob(".*.tmp-*"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def hash_of(value: Any) -> str:
    """sha256 of the canonical JSON of ``value``."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def sha256(path: Path) -> str:
    """sha256 of a file's bytes, hexadecimal."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write ``text`` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as readable JSON, keys in the order given; NaN is refused."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path, *keys: str) -> Any:
    """Read JSON; raises DamagedFile with the file's name if it is missing, not JSON, or has not ``keys``."""
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DamagedFile(f"{path}: no such file") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DamagedFile(f"{path}: not valid JSON ({error})") from None
    check_keys(path, value, *keys)
    return value


def check_keys(path: Path, value: Any, *keys: str) -> None:
    """Raise DamagedFile unless what was read from ``path`` has ``keys``."""
    missing = [key for key in keys if not isinstance(value, dict) or key not in value]
    if missing:
        raise DamagedFile(f"{path}: not what this program writes, it has no {', '.join(missing)}")


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Read a JSON value per line; raises DamagedFile."""
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DamagedFile(f"{path}: missing or not JSON lines ({error})") from None


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a Parquet file atomically: zstd, page checksums, no timestamps (equal data, equal bytes)."""
    write_row_groups(path, [table], table.schema)


def write_row_groups(path: Path, groups: Iterable[pa.Table], schema: pa.Schema) -> None:
    """``write_parquet`` of tables that need not fit into memory together: each is a row group."""
    with (
        atomic_path(path) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        for group in groups:
            writer.write_table(group)


@contextmanager
def parquet_errors(path: Path) -> Iterator[None]:
    """Turn what reading a damaged or absent Parquet file raises into DamagedFile."""
    try:
        yield
    except FileNotFoundError:
        raise DamagedFile(f"{path}: no such file") from None
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DamagedFile(f"{path}: damaged or not a Parquet file ({error})") from None


def read_parquet(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Read a Parquet file and verify its page checksums; raises DamagedFile naming the file."""
    with parquet_errors(path):
        table = pq.read_table(
            path, columns=columns, page_checksum_verification=True, partitioning=None
        )
        table.schema.names  # noqa: B018  (raises where a damaged name is not UTF-8)
        return table


def parquet_schema(path: Path) -> pa.Schema:
    """Columns, types and metadata of a Parquet file; raises DamagedFile naming it."""
    with parquet_errors(path):
        return pq.read_schema(path)


@contextmanager
def parquet_file(path: Path) -> Iterator[pq.ParquetFile]:
    """A Parquet file to be read in pieces, checksums verified; raises DamagedFile naming it.

    Its bytes are read as the rows are asked for: neither what was read before nor the rest of a row
    group, be it the whole file, stays in memory.
    """
    with (
        parquet_errors(path),
        pq.ParquetFile(
            path, page_checksum_verification=True, pre_buffer=False, buffer_size=READ_BYTES
        ) as file,
    ):
        yield file


def parquet_batches(
    path: Path, columns: Sequence[str] | None = None, rows: int = 1024
) -> Iterator[pa.Table]:
    """The rows of a Parquet file in order, ``rows`` at a time, verified as in ``read_parquet``."""
    with parquet_file(path) as file:
        names = None if columns is None else list(columns)
        for batch in file.iter_batches(batch_size=rows, columns=names):
            yield pa.Table.from_batches([batch])


def read_rows(path: Path, first: int, stop: int, columns: list[str]) -> pa.Table:
    """Rows ``first`` to ``stop`` - 1, reading the row groups that hold them and no others."""
    with parquet_file(path) as file:
        counts = [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)]
        ends = list(accumulate(counts))
        groups = range(bisect_right(ends, first), bisect_left(ends, stop) + 1)
        table = file.read_row_groups(list(groups), columns=columns)
        return table.slice(first - (ends[groups[0]] - counts[groups[0]]), stop - first)


def scratch_table(definition: str) -> sqlite3.Connection:
    """An empty SQLite table in a temporary file, which goes with the connection.

    For what a stage must remember of every row: it takes SCRATCH_KIB of memory and the rest on disk.
    """
    database = sqlite3.connect("")
    database.execute("pragma journal_mode = off")
    database.execute(f"pragma cache_size = -{SCRATCH_KIB}")
    database.execute(f"create table {definition}")
    return database


def hash_of_table(table: pa.Table) -> str:
    """sha256 of the values, names, types and units of a table, however it is cut into chunks."""
    # take() copies: equal values, equal buffers
    plain = table.replace_schema_metadata(None).take(pa.array(range(len(table)))).combine_chunks()
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, plain.schema) as writer:
        writer.write_table(plain)
    return hashlib.sha256(stream.getvalue()).hexdigest()
