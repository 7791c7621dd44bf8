"""A Parquet file in the schema of crystals.parquet: id, numbers, lattice, frac_coords, targets.

``split``, ``date`` and ``pbc`` (three truth values) are optional; a null lattice marks a molecule. The
names material_id and atomic_numbers are understood as well.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dglframer.common.errors import ConfigError
from dglframer.common.parquet import parquet_batches, parquet_schema
from dglframer.data.sources.labels import number
from dglframer.data.sources.periodicity import notes, structure_record
from dglframer.structures.crystal import Record

STRUCTURE_COLUMNS = ("id", "numbers", "lattice", "frac_coords")
ROWS = 256  # in memory at a time
LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
OTHER_NAMES = {"material_id": "id", "atomic_numbers": "numbers"}


class ParquetSource:
    """Crystals that are already numbers; every floating-point column is a target."""

    name = "parquet"
    licence = "as the file's origin states"
    citation = "as the file's origin states"

    def __init__(self, path: Path, units: dict[str, str], assume_periodic: bool = False):
        if not path.is_file():
            raise ConfigError(f"dataset.path: no file {path}")
        schema = parquet_schema(path)
        self.path, self.units, self.assume_periodic = path, units, assume_periodic
        self.columns = {OTHER_NAMES.get(name, name): name for name in schema.names}
        missing = [name for name in STRUCTURE_COLUMNS if name not in self.columns]
        if missing:
            raise ConfigError(f"{path}: no column {', '.join(missing)}")
        for name in (self.columns[key] for key in STRUCTURE_COLUMNS[1:]):
            kind = schema.field(name).type
            if not any(is_one(kind) for is_one in LISTS):
                raise ConfigError(f"{path}: column {name} holds {kind}, not lists of numbers")
        self.metadata = {field.name: field.metadata or {} for field in schema}
        described = (*STRUCTURE_COLUMNS, "split", "source", "date", "file_position", "pbc")
        self.targets = [name for name in self.columns if name not in described]

    def files(self) -> list[Path]:
        return [self.path]

    def notes(self) -> list[str]:
        return notes(self.assume_periodic)

    def records(self) -> Iterator[Record]:
        """Rows in file order; raises DamagedFile where a page's checksum is wrong."""
        for batch in parquet_batches(self.path, rows=ROWS):
            for row in rows_of(batch):
                yield self.record({key: row[name] for key, name in self.columns.items()})

    def record(self, values: dict[str, Any]) -> Record:
        """One row as Python values, in which nulls reach the validation."""
        id = "" if values["id"] is None else str(values["id"])
        species, pbc = values["numbers"] or (), values.get("pbc")
        lattice, coords = triples(values["lattice"]), triples(values["frac_coords"])
        known: dict[str, Any] = {
            "labels": {name: number(values[name]) for name in self.targets},
            "split": values.get("split") or "",
            "date": values.get("date") and str(values["date"]),
        }
        if lattice is None:
            if pbc is not None and np.any(pbc):
                return Record(id, problem=f"no lattice, but pbc {pbc}", **known)
            return Record(id, species, None, coords, **known)
        periodic = True if pbc is None else pbc
        return structure_record(
            id, species, lattice, coords, periodic, self.assume_periodic, **known
        )

    def unit(self, target: str) -> str:
        if target not in self.targets:
            raise ConfigError(f"{self.path} has no target {target}; it has {self.targets}")
        stored = self.metadata[self.columns[target]].get(b"unit", b"").decode()
        return self.units.get(target, stored)


def rows_of(table: pa.Table) -> Iterator[dict[str, Any]]:
    """The rows as Python values; bytes that are not UTF-8 become lone surrogates, as in file names."""
    columns = []
    for column in table.columns:
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            texts = column.cast(pa.large_binary()).to_pylist()
            columns.append([one and one.decode("utf-8", "surrogateescape") for one in texts])
        else:
            columns.append(column.to_pylist())
    for values in zip(*columns, strict=True):
        yield dict(zip(table.column_names, values, strict=True))


def triples(values: list | None) -> list[list] | None:
    """A flat list cut into threes, whatever its length: the shape is checked later."""
    return values and [values[k : k + 3] for k in range(0, len(values), 3)]
