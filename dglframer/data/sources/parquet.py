"""A Parquet file in the schema of crystals.parquet: id, numbers, lattice, frac_coords, targets.

``split`` and ``date`` are optional; a null lattice marks a molecule. The names material_id and
atomic_numbers are understood as well.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from dglframer.common.errors import ConfigError
from dglframer.common.parquet import parquet_batches, parquet_schema
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

    def __init__(self, path: Path, units: dict[str, str]):
        if not path.is_file():
            raise ConfigError(f"dataset.path: no file {path}")
        schema = parquet_schema(path)
        self.path = path
        self.units = units
        self.columns = {OTHER_NAMES.get(name, name): name for name in schema.names}
        missing = [name for name in STRUCTURE_COLUMNS if name not in self.columns]
        if missing:
            raise ConfigError(f"{path}: no column {', '.join(missing)}")
        for name in (self.columns[key] for key in STRUCTURE_COLUMNS[1:]):
            kind = schema.field(name).type
            if not any(is_one(kind) for is_one in LISTS):
                raise ConfigError(f"{path}: column {name} holds {kind}, not lists of numbers")
        self.metadata = {field.name: field.metadata or {} for field in schema}
        described = (*STRUCTURE_COLUMNS, "split", "source", "date", "file_position")
        self.targets = [name for name in self.columns if name not in described]

    def files(self) -> list[Path]:
        return [self.path]

    def notes(self) -> list[str]:
        return []

    def records(self) -> Iterator[Record]:
        """Rows in file order; raises DamagedFile where a page's checksum is wrong."""
        for batch in parquet_batches(self.path, rows=ROWS):
            for row in batch.to_pylist():
                yield self.record({key: row[name] for key, name in self.columns.items()})

    def record(self, values: dict[str, Any]) -> Record:
        """One row as Python values, in which nulls reach the validation."""
        return Record(
            id="" if values["id"] is None else str(values["id"]),
            species=values["numbers"] or (),
            lattice=triples(values["lattice"]),
            frac_coords=triples(values["frac_coords"]),
            labels={name: values[name] for name in self.targets},
            split=values.get("split") or "",
            date=values.get("date") and str(values["date"]),
        )

    def unit(self, target: str) -> str:
        if target not in self.targets:
            raise ConfigError(f"{self.path} has no target {target}; it has {self.targets}")
        stored = self.metadata[self.columns[target]].get(b"unit", b"").decode()
        return self.units.get(target, stored)


def triples(values: list | None) -> list[list] | None:
    """A flat list cut into threes, whatever its length: the shape is checked later."""
    return values and [values[k : k + 3] for k in range(0, len(values), 3)]
