"""Sorting rows by id in memory that does not grow with their number.

Tables that fit into memory are sorted one by one and kept in files; merging reads a few hundred rows
of each at a time. The sorted rows are cut into row groups by their own sizes: the bytes of the file
depend neither on the order of the rows nor on the tables that held them before.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

MERGED_FILES, MERGED_ROWS = 32, 256  # open files during a merge, and rows of each in memory
GROUP_ROWS, GROUP_ATOMS = 1024, 32_768  # maxima for a row group; a larger crystal has its own


def sort_into_files(tables: Iterable[pa.Table], folder: Path) -> dict[Path, int]:
    """Sort each table by id and write it; returns the number of rows of each file."""
    rows = {}
    for number, table in enumerate(tables):
        path = folder / f"{number}.arrow"
        write_stream(path, [by_id(table)])
        rows[path] = len(table)
    return rows


def merged(paths: Iterable[Path]) -> Iterator[pa.Table]:
    """All rows of the files of ``sort_into_files``, in order and in tables of any size; ids are unique.

    If there are more than MERGED_FILES, some are first merged into one file and removed.
    """
    waiting = list(paths)
    while len(waiting) > MERGED_FILES:
        some, waiting = waiting[:MERGED_FILES], waiting[MERGED_FILES:]
        path = some[0].with_name(f"{some[0].stem}-{some[-1].name}")
        write_stream(path, merged_at_once(some))
        for one in some:
            one.unlink()
        waiting.append(path)
    yield from merged_at_once(waiting)


def merged_at_once(paths: Sequence[Path]) -> Iterator[pa.Table]:
    """The rows of the files in order, with MERGED_ROWS of each in memory."""
    runs = [read_stream(path) for path in paths]
    heads = [next(run) for run in runs]
    while heads:
        # All rows that are still in the files come after the minimum of the last ids in memory.
        bound = min(head["id"][-1].as_py() for head in heads)
        ready, left, going_on = [], [], []
        for head, run in zip(heads, runs, strict=True):
            n_ready = pc.sum(pc.less_equal(head["id"], bound)).as_py()
            ready.append(head.slice(0, n_ready))
            rest = head.slice(n_ready) if n_ready < len(head) else next(run, None)
            if rest is not None:
                left.append(rest)
                going_on.append(run)
        heads, runs = left, going_on
        yield by_id(pa.concat_tables(ready))


def regrouped(tables: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """The same rows in tables for row groups; the cuts depend on the sizes of the crystals alone."""
    pending = schema.empty_table()
    for table in tables:
        pending = pa.concat_tables([pending, table])
        *complete, pending = row_groups(pending)
        yield from complete
    yield pending


def row_groups(table: pa.Table) -> list[pa.Table]:
    """A table cut into row groups, of which all but the last are complete."""
    atoms_G = pc.list_value_length(table["numbers"]).to_numpy()
    atoms_after = np.cumsum(atoms_G)
    groups, first, atoms_before = [], 0, 0
    while True:
        fitting = int(np.searchsorted(atoms_after, atoms_before + GROUP_ATOMS, side="right"))
        stop = max(first + 1, min(fitting, first + GROUP_ROWS))
        groups.append(table.slice(first, stop - first))
        if stop >= len(table):
            return groups
        first, atoms_before = stop, int(atoms_after[stop - 1])


def by_id(table: pa.Table) -> pa.Table:
    """The rows in order of id."""
    return table.take(pc.sort_indices(table["id"])).combine_chunks()


def write_stream(path: Path, tables: Iterable[pa.Table]) -> None:
    """Write tables, at least one, to an Arrow stream of small batches."""
    tables = iter(tables)
    first = next(tables)
    with pa.ipc.new_stream(path, first.schema) as writer:
        for table in chain([first], tables):
            writer.write_table(table, max_chunksize=MERGED_ROWS)


def read_stream(path: Path) -> Iterator[pa.Table]:
    """The tables of an Arrow stream one by one; the file is read, not mapped into memory."""
    with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
        for batch in reader:
            yield pa.Table.from_batches([batch])
