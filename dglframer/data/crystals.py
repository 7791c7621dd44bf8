"""crystals.parquet: the valid crystals of a source, and how its rows are read."""

import itertools
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from dglframer.common.errors import Rejected, UserError
from dglframer.common.parquet import parquet_schema
from dglframer.common.scratch import scratch_table
from dglframer.common.transforms import TRANSFORMS
from dglframer.data.rejections import Rejections
from dglframer.structures.crystal import Crystal, Record, validate

log = logging.getLogger(__name__)

TABLE_ATOMS = 250_000  # atoms of the crystals in memory at a time: some 100 MB
STRUCTURE_COLUMNS = ("id", "numbers", "lattice", "frac_coords")


def validated(
    records: Iterable[Record],
    targets: Sequence[str],
    rejections: Rejections,
    repeated_ids: Literal["first", "all"] = "first",
    transforms: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Crystal]:
    """Yield the valid crystals; the others go to ``rejections``.

    A label that its transform is not defined for counts as unknown, and is told in the log.
    ``repeated_ids``: of valid records with one id the first is kept, or all, as id, id#2, id#3.
    """
    undefined: Counter[str] = Counter()
    with closing(scratch_table("ids (id text primary key) without rowid")) as ids:

        def is_new(id: str) -> bool:
            return ids.execute("insert or ignore into ids values (?)", (id,)).rowcount == 1

        for position, record in enumerate(records):
            try:
                crystal = with_defined_labels(validate(record, targets), transforms, undefined)
                names = (f"{record.id}#{k}" if k > 1 else record.id for k in itertools.count(1))
                tried = names if repeated_ids == "all" else [record.id]
                id = next(filter(is_new, tried), None)
                if id is None:
                    raise Rejected("repeated id")
            except Rejected as error:
                rejections.add(record.id, str(error), position)
                continue
            yield replace(crystal, id=id, file_position=position)
    for name, count in undefined.items():
        transform = transforms[name]
        needs = TRANSFORMS[transform].needs
        log.warning("%s: %d labels left out, %s needs %s", name, count, transform, needs)


def with_defined_labels(
    crystal: Crystal, transforms: Mapping[str, str], undefined: Counter[str]
) -> Crystal:
    """The crystal without the labels that their transform is not defined for; these are counted.

    Raises Rejected if no label is left.
    """
    labels, reason = dict(crystal.labels), ""
    for name, transform in transforms.items():
        value = labels[name]
        if value is not None and not TRANSFORMS[transform].defined(np.array(value)):
            labels[name] = None
            reason = f"label {name} is {value:g}: {transform} needs {TRANSFORMS[transform].needs}"
            undefined[name] += 1
    if reason and all(value is None for value in labels.values()):
        raise Rejected(reason)
    return replace(crystal, labels=labels) if reason else crystal


def crystals_schema(
    targets: Sequence[str],
    units: Mapping[str, str],
    transforms: Mapping[str, str] = MappingProxyType({}),
) -> pa.Schema:
    """The documented columns of crystals.parquet, units and transforms in the field metadata."""

    def about(name: str) -> dict[str | bytes, str | bytes]:
        transform = transforms.get(name)
        return {"unit": units[name], **({"transform": transform} if transform else {})}

    return pa.schema(
        [
            ("id", pa.string()),
            ("source", pa.string()),
            ("split", pa.string()),
            ("file_position", pa.int64()),
            ("date", pa.string()),
            ("numbers", pa.list_(pa.int16())),
            pa.field("lattice", pa.list_(pa.float64(), 9), metadata={"unit": "angstrom"}),
            ("frac_coords", pa.list_(pa.float64())),
            *(pa.field(name, pa.float64(), metadata=about(name)) for name in targets),
        ]
    )


def crystals_tables(
    crystals: Iterable[Crystal], source: str, targets: Sequence[str], units: Mapping[str, str]
) -> Iterator[pa.Table]:
    """The crystals in tables of at most TABLE_ATOMS atoms, or one crystal, each sorted by id."""
    part: list[Crystal] = []
    atoms = 0
    for crystal in crystals:
        atoms += len(crystal.numbers_N)
        if part and atoms > TABLE_ATOMS:
            yield crystals_table(part, source, targets, units)
            part, atoms = [], len(crystal.numbers_N)
        part.append(crystal)
    if part:
        yield crystals_table(part, source, targets, units)


def crystals_table(
    crystals: Iterable[Crystal], source: str, targets: Sequence[str], units: Mapping[str, str]
) -> pa.Table:
    """crystals.parquet, sorted by id."""
    rows = sorted(crystals, key=lambda crystal: crystal.id)
    columns: dict[str, list[Any]] = {
        "id": [crystal.id for crystal in rows],
        "source": [source] * len(rows),
        "split": [crystal.split for crystal in rows],
        "file_position": [crystal.file_position for crystal in rows],
        "date": [crystal.date for crystal in rows],
        "numbers": [crystal.numbers_N for crystal in rows],
        "lattice": [flat(crystal.lattice_33) for crystal in rows],
        "frac_coords": [crystal.coords_N3.ravel() for crystal in rows],
        **{name: [crystal.labels[name] for crystal in rows] for name in targets},
    }
    return pa.table(columns, schema=crystals_schema(targets, units))


def flat(lattice_33: np.ndarray | None) -> np.ndarray | None:
    """The nine numbers of a lattice column, null for a molecule."""
    return None if lattice_33 is None else lattice_33.ravel()


def crystal_rows(
    table: pa.Table,
) -> Iterator[tuple[str, np.ndarray, np.ndarray | None, np.ndarray]]:
    """Yield (id, numbers_N, lattice_33, frac_N3) of each row of a crystals table."""
    columns = [table[name].combine_chunks() for name in ("numbers", "lattice", "frac_coords")]
    for row, id in enumerate(table["id"].to_pylist()):
        numbers, lattice, frac = (column[row].values for column in columns)
        lattice_33 = None if lattice is None else lattice.to_numpy().reshape(3, 3)
        yield id, numbers.to_numpy(), lattice_33, frac.to_numpy().reshape(-1, 3)


def targets_of(path: Path) -> dict[str, str]:
    """The targets of a crystals.parquet with their units; raises DamagedFile, UserError."""
    schema = parquet_schema(path)
    missing = [name for name in (*STRUCTURE_COLUMNS, "source") if name not in schema.names]
    if missing:
        raise UserError(
            f"{path}: not a crystals.parquet, it has no column {', '.join(missing)}; the crystals "
            "stage makes one from it (dataset.source: parquet)"
        )
    return {
        field.name: (field.metadata or {}).get(b"unit", b"").decode()
        for field in schema
        if pa.types.is_floating(field.type)
    }


def transforms_of(path: Path) -> dict[str, str]:
    """The transform of each target of a crystals.parquet that has one."""
    found = {field.name: (field.metadata or {}).get(b"transform") for field in parquet_schema(path)}
    return {name: transform.decode() for name, transform in found.items() if transform}
