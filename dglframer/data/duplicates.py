"""Crystals on disk as the clean stage describes them, and the search for duplicates among them.

SQLite sorts them by formula. Memory holds the fingerprints of one formula, and STRUCTURES_AT_ONCE
structures; the structures in doubt are read from the file in one pass.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from sqlite3 import Connection
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from dglframer.common.parquet import parquet_batches
from dglframer.common.scratch import scratch_table
from dglframer.data.crystals import STRUCTURE_COLUMNS, crystal_rows
from dglframer.data.ids import source_id
from dglframer.structures.fingerprints import (
    NEIGHBOURS,
    VOLUME_TOLERANCE,
    Fingerprint,
    alike,
    as_structure,
    same_structure,
)

STRUCTURES_AT_ONCE = 20_000  # structures in doubt that are in memory for the matcher


class Described(NamedTuple):
    """One crystal without its structure."""

    atoms: int
    formula: str
    space_group: int
    fingerprint: Fingerprint


def described_table() -> Connection:
    """A table on disk for described crystals. ``first``: the first row of the same structure."""
    rows = scratch_table(
        "described (row integer primary key, id text, source text, atoms integer, formula text, "
        "space_group integer, volume real, distances blob, labels blob, first integer)"
    )
    rows.execute("create table doubtful (row integer primary key, bucket integer)")
    rows.execute("create table disagreements (row integer primary key, text text)")
    rows.execute(
        "create table structures (row integer primary key, numbers blob, lattice blob, frac blob)"
    )
    return rows


def add_described(
    rows: Connection,
    first_row: int,
    ids: Iterable[str],
    crystals: Iterable[Described],
    labels_GT: np.ndarray,
) -> None:
    """Add crystals and their labels (float64, NaN where there is none) from a row on."""
    described = enumerate(zip(ids, crystals, labels_GT, strict=True), start=first_row)
    rows.executemany(
        "insert into described values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (row, id, source_id(id), one.atoms, one.formula, one.space_group,
             one.fingerprint.volume, one.fingerprint.distances.tobytes(), labels_T.tobytes(), row)
            for row, (id, one, labels_T) in described
        ),
    )  # fmt: skip


def fingerprint_of(volume: float, distances: bytes) -> Fingerprint:
    """A fingerprint as it is stored."""
    return Fingerprint(volume, np.frombuffer(distances, np.float32).reshape(-1, NEIGHBOURS))


def find_duplicates(path: Path, rows: Connection) -> None:
    """Note for each row of crystals.parquet the first row with the same structure."""
    find_doubtful(rows)
    read_doubtful(path, rows)

    @lru_cache(STRUCTURES_AT_ONCE)
    def structure(row: int) -> Any:
        query = "select numbers, lattice, frac from structures where row = ?"
        numbers, lattice, frac = rows.execute(query, (row,)).fetchone()
        lattice_33 = None if lattice is None else np.frombuffer(lattice).reshape(3, 3)
        return as_structure(
            np.frombuffer(numbers, np.int16), lattice_33, np.frombuffer(frac).reshape(-1, 3)
        )

    doubtful_rows = rows.execute(
        "select bucket, row, volume, distances from doubtful join described using (row) "
        "order by bucket, row"
    )
    for _, bucket in groupby(doubtful_rows, itemgetter(0)):
        prints = {row: fingerprint_of(*stored) for _, row, *stored in bucket}
        found = [(first, row) for row, first in grouped(list(prints), prints, structure)]
        rows.executemany("update described set first = ? where row = ?", found)


def find_doubtful(rows: Connection) -> None:
    """Note the rows whose fingerprint is like that of another one of the formula."""
    by_formula = rows.execute(
        "select formula, row, volume, distances from described order by formula, row"
    )
    for number, (_, bucket) in enumerate(groupby(by_formula, itemgetter(0))):
        prints = {row: fingerprint_of(*stored) for _, row, *stored in bucket}
        found = [(row, number) for row in doubtful(list(prints), prints)]
        rows.executemany("insert into doubtful values (?, ?)", found)


def read_doubtful(path: Path, rows: Connection) -> None:
    """Copy the structures of the doubtful rows, which lie anywhere in the file, beside each other."""
    wanted = (row for (row,) in rows.execute("select row from doubtful order by row"))
    nearest, first_row = next(wanted, None), 0
    if nearest is None:
        return
    for batch in parquet_batches(path, list(STRUCTURE_COLUMNS)):
        places = []
        while nearest is not None and nearest < first_row + len(batch):
            places.append(nearest - first_row)
            nearest = next(wanted, None)
        chosen = batch.take(pa.array(places, pa.int64()))
        rows.executemany(
            "insert into structures values (?, ?, ?, ?)",
            (
                (first_row + place, numbers_N.tobytes(),
                 None if lattice_33 is None else lattice_33.tobytes(), frac_N3.tobytes())
                for place, (_, numbers_N, lattice_33, frac_N3) in zip(
                    places, crystal_rows(chosen), strict=True
                )
            ),
        )  # fmt: skip
        first_row += len(batch)


def doubtful(rows: list[int], prints: Mapping[int, Fingerprint]) -> list[int]:
    """The rows of one formula whose fingerprint is like another one's, in order."""
    ascending = sorted(rows, key=lambda row: (prints[row].volume, row))
    found = set()
    for place, row in enumerate(ascending):
        max_volume = prints[row].volume / (1 - VOLUME_TOLERANCE)
        for other in islice(ascending, place + 1, None):
            if prints[other].volume > max_volume:
                break
            if not (row in found and other in found) and alike(prints[row], prints[other]):
                found |= {row, other}
    return sorted(found)


def grouped(
    rows: list[int], prints: Mapping[int, Fingerprint], structure: Callable[[int], Any]
) -> Iterator[tuple[int, int]]:
    """Yield (row, first row of the same structure) for rows of one formula."""
    firsts: list[int] = []
    for row in rows:
        for first in firsts:
            if alike(prints[row], prints[first]) and same_structure(
                structure(row), structure(first)
            ):
                yield row, first
                break
        else:
            firsts.append(row)
