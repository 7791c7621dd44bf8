"""Doubts about valid crystals: duplicate structures, unphysical labels, sources that disagree.

The clean stage describes every crystal in checks.parquet (id, formula, space group, the crystal that it
repeats, its doubts). It removes nothing from crystals.parquet: a crystal that the configuration drops is
in no split.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import groupby, islice
from multiprocessing import get_context
from operator import itemgetter
from pathlib import Path
from sqlite3 import Connection
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dglframer.common.parquet import parquet_batches
from dglframer.common.progress import progress
from dglframer.config.data import CleaningConfig
from dglframer.data.crystals import STRUCTURE_COLUMNS, crystal_rows, targets_of
from dglframer.data.duplicates import Described, add_described, described_table, find_duplicates
from dglframer.data.label_limits import limits
from dglframer.structures.fingerprints import fingerprint
from dglframer.structures.symmetry import reduced_formula, space_group

log = logging.getLogger(__name__)

TABLE_ROWS = 16_384  # of checks.parquet in memory as Python values

CHECKS_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("formula", pa.string()),
        ("space_group", pa.int16()),
        ("duplicate_of", pa.string()),
        ("unphysical", pa.string()),
        ("disagreement", pa.string()),
        ("dropped", pa.string()),
    ]
)


PER_CELL_TOLERANCE = 0.01  # of the label per atom: relaxations of one structure differ a little


def check_crystals(path: Path, config: CleaningConfig, threads: int = 1) -> pa.Table:
    """checks.parquet of a crystals.parquet as one table; ``checks_tables`` has the rules."""
    tables = checks_tables(path, config, threads)
    return pa.concat_tables([checks_schema(config).empty_table(), *tables]).combine_chunks()


def searches(config: CleaningConfig) -> bool:
    """Whether the configuration asks for duplicates, or for what follows from them."""
    return (config.duplicates, config.disagreements) != ("ignore", "ignore")


def checks_schema(config: CleaningConfig) -> pa.Schema:
    """The columns of checks.parquet.

    Without a search an empty duplicate_of means nothing; the leakage report must know this.
    """
    return CHECKS_SCHEMA.with_metadata({"duplicates_searched": "yes" if searches(config) else "no"})


def checks_tables(
    path: Path, config: CleaningConfig, threads: int = 1, dropped: Counter[str] | None = None
) -> Iterator[pa.Table]:
    """checks.parquet of a crystals.parquet, row for row, in tables; an empty text means no doubt.

    ``duplicate_of`` is the first crystal, by id, of the same structure. ``dropped`` is the reason why
    the configuration keeps a crystal out of every split; a counter of this name counts them. The
    crystals wait on disk: memory does not grow with their number.
    """
    targets = targets_of(path)
    rows = described_table()
    first_row = 0
    with progress("crystals") as advance:
        for batch, crystals in described(path, targets, threads):
            labels = [batch[name].to_numpy() for name in targets]
            labels_GT = np.stack(labels, axis=1) if labels else np.empty((len(batch), 0))
            add_described(rows, first_row, batch["id"].to_pylist(), crystals, labels_GT)
            first_row += len(batch)
            advance(first_row)
    if searches(config):
        find_duplicates(path, rows)
        find_disagreements(rows, targets, config)
    counts: Counter[str] = Counter()
    for some in in_rows(rows):
        table = checks_table(some, targets, config)
        for name in ("duplicate_of", "unphysical", "disagreement", "dropped"):
            counts[name] += len(table) - pc.sum(pc.equal(table[name], "")).as_py()
        yield table
    for name, switch in switches(config).items():
        log.info("%s: %d crystals (%s)", name, counts[name], switch)
    if dropped is not None:
        dropped.update(crystals=first_row, dropped=counts["dropped"])


def switches(config: CleaningConfig) -> dict[str, str]:
    """What the configuration asks of each kind of doubt."""
    return {
        "duplicate_of": config.duplicates,
        "unphysical": config.unphysical_labels,
        "disagreement": config.disagreements,
    }


def in_rows(rows: Connection) -> Iterator[list[tuple[Any, ...]]]:
    """(id, formula, space group, id of the first of the structure, disagreement, labels) in order."""
    found = rows.execute(
        "select one.id, one.formula, one.space_group, coalesce(first.id, ''), coalesce(text, ''), "
        "one.labels from described one "
        "left join described first on first.row = one.first and one.first <> one.row "
        "left join disagreements on disagreements.row = one.row order by one.row"
    )
    while some := found.fetchmany(TABLE_ROWS):
        yield some


def checks_table(
    rows: list[tuple[Any, ...]], targets: dict[str, str], config: CleaningConfig
) -> pa.Table:
    """Some rows of checks.parquet."""
    ids, formulas, groups, firsts, texts, labels = zip(*rows, strict=True)
    labels_GT = np.frombuffer(b"".join(labels)).reshape(len(rows), len(targets))
    values = dict(zip(targets, labels_GT.T, strict=True))
    doubts = {
        "duplicate_of": list(firsts),
        "unphysical": unphysical(values, targets, config, len(rows)),
        "disagreement": list(texts),
    }
    dropped = [""] * len(rows)
    for (name, reasons), switch in zip(doubts.items(), switches(config).values(), strict=True):
        if switch == "ignore" and name != "duplicate_of":  # the leakage report needs that one
            doubts[name] = [""] * len(rows)
        if switch == "drop":
            start = "duplicate of " if name == "duplicate_of" else ""
            dropped = [
                old or (new and start + new) for old, new in zip(dropped, reasons, strict=True)
            ]
    columns = {"id": ids, "formula": formulas, "space_group": groups, **doubts, "dropped": dropped}
    return pa.table(columns, schema=checks_schema(config))


def described(
    path: Path, targets: Iterable[str], threads: int
) -> Iterator[tuple[pa.Table, list[Described]]]:
    """The rows of the file, some at a time, with what is said of each; ``threads`` processes work."""
    batches = parquet_batches(path, [*STRUCTURE_COLUMNS, *targets])
    if threads == 1:
        for batch in batches:
            yield batch, describe(batch)
        return
    with ProcessPoolExecutor(threads, mp_context=get_context("spawn")) as pool:
        while window := list(islice(batches, 2 * threads)):
            yield from zip(window, pool.map(describe, window), strict=True)


def describe(batch: pa.Table) -> list[Described]:
    """The crystals of some rows."""
    return [
        Described(
            len(row[1]), reduced_formula(row[1]), space_group(*row[1:]), fingerprint(*row[1:])
        )
        for row in crystal_rows(batch)
    ]


def unphysical(
    values: dict[str, np.ndarray], units: dict[str, str], config: CleaningConfig, n: int
) -> list[str]:
    """For each row its labels outside of their limits, as a text."""
    reasons = [""] * n
    for name, column in values.items():
        low, high, *_ = limits(name, units[name], config)
        for row in np.flatnonzero((column < low) | (column > high)).tolist():
            text = f"{name} = {column[row]:.4g} {units[name]}".rstrip()
            reasons[row] += "; " * bool(reasons[row]) + f"{text}, outside {low:g} to {high:g}"
    return reasons


def find_disagreements(rows: Connection, targets: dict[str, str], config: CleaningConfig) -> None:
    """Note rows of one structure whose labels differ too much, and rows of one id with two structures.

    Labels in the ratio of the atoms in the cells differ too much, whatever the tolerance: a network
    that averages over atoms can predict a label per atom, not one per cell.
    """
    note = (
        "insert into disagreements values (?, ?) "
        "on conflict do update set text = text || '; ' || excluded.text"
    )
    repeated = rows.execute(
        "select first, row, atoms, labels from described where first in "
        "(select first from described where first <> row) order by first, row"
    )
    for _, group in groupby(repeated, itemgetter(0)):
        _, numbers, atoms, labels = zip(*group, strict=True)
        labels_GT = np.frombuffer(b"".join(labels)).reshape(len(numbers), len(targets))
        values = zip(targets.items(), labels_GT.T, strict=True)
        for (name, unit), column in values:
            known = np.flatnonzero(~np.isnan(column))
            text = disagreement(name, unit, column[known], np.array(atoms)[known], config)
            if text:
                rows.executemany(note, [(numbers[k], text) for k in known])
    rows.execute(
        "create table several as select source, count(distinct first) as structures from described "
        "group by source having structures > 1"
    )
    several = rows.execute(
        "select row, source || ' has ' || structures || ' structures' "
        "from several join described using (source)"
    )
    rows.executemany(note, several)


def disagreement(
    name: str, unit: str, labels: np.ndarray, atoms: np.ndarray, config: CleaningConfig
) -> str:
    """What is wrong with the known labels of one structure, or an empty text."""
    if len(labels) < 2:
        return ""
    if in_ratio_of_atoms(labels, atoms):
        few, many = atoms.argmin(), atoms.argmax()
        return (
            f"{name} is in the ratio of the atoms in one structure ({labels[few]:.4g} of "
            f"{atoms[few]}, {labels[many]:.4g} of {atoms[many]}): given per cell?"
        )
    spread = float(np.ptp(labels))
    if not spread > limits(name, unit, config).tolerance:
        return ""
    return f"{name} differs by {spread:.4g} {unit}".rstrip() + " in one structure"


def in_ratio_of_atoms(labels: np.ndarray, atoms: np.ndarray) -> bool:
    """Whether labels of one structure in cells of different size are proportional to the atoms."""
    per_atom = labels / atoms
    close = np.ptp(per_atom) <= PER_CELL_TOLERANCE * np.abs(per_atom).max()
    return bool(np.ptp(atoms) > 0 and close and np.ptp(labels) > 0)
