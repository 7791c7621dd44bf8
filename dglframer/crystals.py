"""Crystals: the record every source yields, its validation, and crystals.parquet."""

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from dglframer.elements import HEAVIEST, atomic_number
from dglframer.errors import Rejected, UserError
from dglframer.files import parquet_schema, scratch_table
from dglframer.neighbors import molecule_edges, periodic_edges
from dglframer.rejections import NO_LABEL, Rejections

SMALLEST_VOLUME = 1.0  # cubic angstrom per atom; solid hydrogen at 100 GPa still has 2
TABLE_ATOMS = 250_000  # of crystals in memory at a time: some 100 MB
THINNEST_CELL = 0.25  # angstrom between lattice planes: image numbers fit int8 at any cutoff <= 30
NUMBERS = (int, float, np.integer, np.floating)
CLOSEST_SITES = 0.01  # angstrom; closer sites are one site written twice
CLOSEST_ATOMS = (
    0.5  # angstrom, in a molecule (H2 has 0.74): less means coordinates that are no angstroms
)
REPETITION = re.compile(r"#[1-9][0-9]*$")
STRUCTURE_COLUMNS = ("id", "numbers", "lattice", "frac_coords")


@dataclass(frozen=True)
class Record:
    """What a source read, before validation.

    ``species``: element symbols or atomic numbers; ``lattice``: rows in angstrom, or None for a
    molecule; ``frac_coords``: [N, 3], in a molecule Cartesian and in angstrom; ``labels``: property
    name to whatever the source holds; ``split``: the source's own split or ""; ``problem``: why no
    structure could be read, if so; ``date``: when the entry was last changed (ISO 8601), if known.
    """

    id: str
    species: Sequence[Any] = ()
    lattice: Any = None
    frac_coords: Any = None
    labels: Mapping[str, Any] = field(default_factory=dict)
    split: str = ""
    problem: str = ""
    date: str | None = None


@dataclass(frozen=True)
class Crystal:
    """A validated crystal: finite, every site one known element, every wanted label a finite number.

    A molecule is one without a lattice.
    """

    id: str
    numbers_N: np.ndarray  # int16, atomic numbers
    lattice_33: np.ndarray | None  # float64, rows are lattice vectors, angstrom; None: a molecule
    frac_N3: np.ndarray  # float64, as given, not wrapped; in a molecule Cartesian, angstrom
    labels: dict[str, float]
    split: str = ""
    file_position: int = 0  # of its record among those of the source, from 0
    date: str | None = None


def validate(record: Record, targets: Sequence[str] = ()) -> Crystal:
    """Turn a record into a Crystal; raises Rejected with the reason."""
    if record.problem:
        raise Rejected(record.problem)
    if not record.id:
        raise Rejected("no id")
    # Before the structure: an entry without the label is none of the data set's, good or bad.
    labels = {name: label(name, record.labels.get(name)) for name in targets}
    numbers_N = np.array([element(name) for name in record.species], dtype=np.int16)
    if not len(numbers_N):
        raise Rejected("no atoms")
    if record.lattice is None:
        lattice_33 = None
        frac_N3 = finite_array(record.frac_coords, (len(numbers_N), 3), "coordinates")
        reject_close_atoms(frac_N3)
    else:
        lattice_33 = finite_array(record.lattice, (3, 3), "lattice")
        frac_N3 = finite_array(record.frac_coords, (len(numbers_N), 3), "fractional coordinates")
        reject_flat_cell(lattice_33, len(numbers_N))
        reject_duplicate_sites(lattice_33, frac_N3)
    return Crystal(
        record.id, numbers_N, lattice_33, frac_N3, labels, record.split, date=record.date
    )


def element(name: Any) -> int:
    """Atomic number of a symbol or number; raises Rejected for what the model has no embedding for."""
    number = atomic_number(name) if isinstance(name, str) else name
    if isinstance(number, bool) or not isinstance(number, int | np.integer):
        raise Rejected(f"unknown element {name!r}")
    if not 1 <= number <= HEAVIEST:
        raise Rejected(f"element Z = {number}, known are 1 to {HEAVIEST}")
    return int(number)


def finite_array(values: Any, shape: tuple[int, ...], what: str) -> np.ndarray:
    """A float64 array of the given shape; raises Rejected if it is not one or not finite."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise Rejected(f"{what}: not numbers") from None
    if array.shape != shape:
        raise Rejected(f"{what}: shape {array.shape}, expected {shape}")
    if not np.isfinite(array).all():
        raise Rejected(f"{what}: NaN or infinite")
    return array


def reject_flat_cell(lattice_33: np.ndarray, n_atoms: int) -> None:
    """Raise Rejected if the cell has too little room for its atoms, or is too thin."""
    volume = abs(float(np.linalg.det(lattice_33)))
    if not SMALLEST_VOLUME <= volume / n_atoms < math.inf:
        raise Rejected(f"cell of {volume / n_atoms:.3g} cubic angstrom per atom")
    spacing = 1 / float(np.linalg.norm(np.linalg.inv(lattice_33), axis=0).max())
    if spacing < THINNEST_CELL:
        raise Rejected(f"cell {spacing:.3g} angstrom thin; give a less skewed cell of this lattice")


def reject_close_atoms(coords_N3: np.ndarray) -> None:
    """Raise Rejected if two atoms of a molecule are closer than CLOSEST_ATOMS."""
    edges = molecule_edges(coords_N3, CLOSEST_ATOMS)
    for j, i in zip(edges.src_E, edges.dst_E, strict=True):
        if i != j:
            raise Rejected(f"no lattice, and atoms {i} and {j} are within {CLOSEST_ATOMS} angstrom")


def reject_duplicate_sites(lattice_33: np.ndarray, frac_N3: np.ndarray) -> None:
    """Raise Rejected if two sites, or a site and another's image, are closer than CLOSEST_SITES."""
    edges = periodic_edges(lattice_33, frac_N3, CLOSEST_SITES)
    if len(edges.src_E) > len(frac_N3):  # more than the self edges
        pair = next((i, j) for i, j in zip(edges.dst_E, edges.src_E, strict=True) if i != j)
        raise Rejected(f"duplicate sites {pair[0]} and {pair[1]}")


def label(name: str, value: Any) -> float:
    """A finite label; raises Rejected for missing, text, NaN and infinity."""
    if value is None or value == "":
        raise Rejected(f"{NO_LABEL} {name}")
    if isinstance(value, bool | str) or not isinstance(value, NUMBERS):
        raise Rejected(f"label {name} is not a number: {value!r}")
    try:
        number = float(value)
    except OverflowError:  # an integer of 400 digits
        raise Rejected(f"label {name} is not a number: {value!r:.40}") from None
    if not math.isfinite(number):
        raise Rejected(f"label {name} is {number}")
    return number


def validated(
    records: Iterable[Record],
    targets: Sequence[str],
    rejections: Rejections,
    repeated_ids: Literal["first", "all"] = "first",
) -> Iterator[Crystal]:
    """Yield the valid crystals; the others go to ``rejections``.

    Of records with one id the first valid one is kept, or ``all``: then as id, id#2, id#3.
    """
    with closing(scratch_table("ids (id text primary key) without rowid")) as ids:

        def is_new(id: str) -> bool:
            return ids.execute("insert or ignore into ids values (?)", (id,)).rowcount == 1

        for position, record in enumerate(records):
            try:
                crystal = validate(record, targets)
                names = (f"{record.id}#{k}" if k > 1 else record.id for k in itertools.count(1))
                tried = names if repeated_ids == "all" else [record.id]
                id = next(filter(is_new, tried), None)
                if id is None:
                    raise Rejected("repeated id")
            except Rejected as error:
                rejections.add(record.id, str(error), position)
                continue
            yield replace(crystal, id=id, file_position=position)


def crystals_schema(targets: Sequence[str], units: Mapping[str, str]) -> pa.Schema:
    """The documented columns of crystals.parquet, units in the field metadata."""
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
            *(pa.field(name, pa.float64(), metadata={"unit": units[name]}) for name in targets),
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
        "frac_coords": [crystal.frac_N3.ravel() for crystal in rows],
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
            "stage makes one of it (dataset.source: parquet)"
        )
    return {
        field.name: (field.metadata or {}).get(b"unit", b"").decode()
        for field in schema
        if pa.types.is_floating(field.type)
    }


def source_id(id: str) -> str:
    """The id that the source gave: without the #2, #3, ... of records that share one."""
    return REPETITION.sub("", id)
