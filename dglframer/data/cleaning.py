"""Doubts about valid crystals: duplicate structures, unphysical labels, sources that disagree.

The clean stage describes every crystal in checks.parquet (id, formula, space group, the crystal that it
repeats, its doubts). It removes nothing from crystals.parquet: a crystal that the configuration drops is
in no split.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from dglframer.common.parquet import parquet_batches, read_parquet
from dglframer.config.data import CleaningConfig
from dglframer.data.crystals import STRUCTURE_COLUMNS, crystal_rows, targets_of
from dglframer.data.ids import source_id
from dglframer.data.label_limits import limits
from dglframer.structures.fingerprints import (
    VOLUME_TOLERANCE,
    Fingerprint,
    alike,
    as_structure,
    fingerprint,
    same_structure,
)
from dglframer.structures.symmetry import reduced_formula, space_group

log = logging.getLogger(__name__)

STRUCTURES_AT_ONCE = 20_000  # structures in doubt that are in memory for the matcher

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


class Described(NamedTuple):
    """One crystal without its structure."""

    atoms: int
    formula: str
    space_group: int
    fingerprint: Fingerprint


def check_crystals(path: Path, config: CleaningConfig, threads: int = 1) -> pa.Table:
    """checks.parquet of a crystals.parquet, row for row; an empty text means no doubt.

    ``duplicate_of`` is the first crystal, by id, of the same structure. ``dropped`` is the reason why
    the configuration keeps a crystal out of every split. Structures are read a batch at a time.
    """
    targets = targets_of(path)
    crystals = list(described(path, threads))
    ids: list[str] = read_parquet(path, columns=["id"])["id"].to_pylist()
    search = (config.duplicates, config.disagreements) != ("ignore", "ignore")
    firsts = first_of_each(path, crystals) if search else list(range(len(ids)))
    labels = read_parquet(path, columns=list(targets)) if targets else pa.table({})
    values = {name: labels[name].to_numpy() for name in targets}
    atoms_G = np.array([one.atoms for one in crystals], dtype=np.int64)
    doubts = {
        "duplicate_of": [ids[k] if k != row else "" for row, k in enumerate(firsts)],
        "unphysical": unphysical(values, targets, config, len(ids)),
        "disagreement": disagreements(ids, firsts, atoms_G, values, targets, config),
    }
    switches = (config.duplicates, config.unphysical_labels, config.disagreements)
    dropped = [""] * len(ids)
    for (name, reasons), switch in zip(doubts.items(), switches, strict=True):
        if switch == "ignore" and name != "duplicate_of":  # the leakage report needs that one
            doubts[name] = [""] * len(ids)
        log.info("%s: %d crystals (%s)", name, sum(map(bool, doubts[name])), switch)
        if switch == "drop":
            start = "duplicate of " if name == "duplicate_of" else ""
            dropped = [
                old or (new and start + new) for old, new in zip(dropped, reasons, strict=True)
            ]
    columns = {
        "id": ids,
        "formula": [one.formula for one in crystals],
        "space_group": [one.space_group for one in crystals],
        **doubts,
        "dropped": dropped,
    }
    # Without a search an empty duplicate_of means nothing; the leakage report must know this.
    metadata = {"duplicates_searched": "yes" if search else "no"}
    return pa.table(columns, schema=CHECKS_SCHEMA.with_metadata(metadata))


def described(path: Path, threads: int) -> Iterator[Described]:
    """Every crystal in the order of the file; ``threads`` processes share the work."""
    batches = parquet_batches(path, list(STRUCTURE_COLUMNS))
    if threads == 1:
        for batch in batches:
            yield from describe(batch)
        return
    with ProcessPoolExecutor(threads, mp_context=get_context("spawn")) as pool:
        while window := list(islice(batches, 2 * threads)):
            for part in pool.map(describe, window):
                yield from part


def describe(batch: pa.Table) -> list[Described]:
    """The crystals of some rows."""
    return [
        Described(
            len(row[1]), reduced_formula(row[1]), space_group(*row[1:]), fingerprint(*row[1:])
        )
        for row in crystal_rows(batch)
    ]


def first_of_each(path: Path, crystals: list[Described]) -> list[int]:
    """For each row the first row with the same structure; the row itself if it is no duplicate."""
    firsts = list(range(len(crystals)))
    by_formula: dict[str, list[int]] = defaultdict(list)
    for row, one in enumerate(crystals):
        by_formula[one.formula].append(row)
    prints = [one.fingerprint for one in crystals]
    buckets = [doubtful(rows, prints) for rows in by_formula.values()]
    for window in windows([rows for rows in buckets if rows], STRUCTURES_AT_ONCE):
        structures = read_structures(path, {row for rows in window for row in rows})
        for rows in window:
            for row, first in grouped(rows, prints, structures.__getitem__):
                firsts[row] = first
    return firsts


def doubtful(rows: list[int], prints: list[Fingerprint]) -> list[int]:
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
    rows: list[int], prints: list[Fingerprint], structure: Callable[[int], Any]
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


def windows(buckets: list[list[int]], size: int) -> Iterator[list[list[int]]]:
    """Consecutive buckets with about ``size`` rows together; a larger bucket comes alone."""
    window: list[list[int]] = []
    for bucket in buckets:
        if window and sum(map(len, window)) + len(bucket) > size:
            yield window
            window = []
        window.append(bucket)
    if window:
        yield window


def read_structures(path: Path, rows: set[int]) -> dict[int, Any]:
    """The structures of some rows as pymatgen Structures; None for a molecule."""
    structures = {}
    row = 0
    for batch in parquet_batches(path, list(STRUCTURE_COLUMNS)):
        wanted = [k for k in range(len(batch)) if row + k in rows]
        chosen = batch.take(pa.array(wanted, pa.int64()))  # an untyped empty list is of type null
        for k, one in zip(wanted, crystal_rows(chosen), strict=True):
            structures[row + k] = as_structure(*one[1:])
        row += len(batch)
    return structures


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


def disagreements(
    ids: list[str],
    firsts: list[int],
    atoms_G: np.ndarray,
    values: dict[str, np.ndarray],
    units: dict[str, str],
    config: CleaningConfig,
) -> list[str]:
    """Rows of one structure whose labels differ too much, and rows of one id with two structures.

    Labels in the ratio of the atoms in the cells differ too much, whatever the tolerance: a network
    that averages over atoms can predict a label per atom, not one per cell.
    """
    reasons = [""] * len(ids)
    for rows in members(firsts):
        for name, column in values.items():
            known = [row for row in rows if not np.isnan(column[row])]
            if len(known) < 2:
                continue
            labels, atoms = column[known], atoms_G[known]
            spread = float(np.ptp(labels))
            text = f"{name} differs by {spread:.4g} {units[name]}".rstrip() + " in one structure"
            if in_ratio_of_atoms(labels, atoms):
                few, many = atoms.argmin(), atoms.argmax()
                text = (
                    f"{name} is in the ratio of the atoms in one structure ({labels[few]:.4g} of "
                    f"{atoms[few]}, {labels[many]:.4g} of {atoms[many]}): given per cell?"
                )
            elif not spread > limits(name, units[name], config).tolerance:
                continue
            for row in known:
                reasons[row] += "; " * bool(reasons[row]) + text
    for rows in members([source_id(id) for id in ids]):
        found = len({firsts[row] for row in rows})
        if found > 1:
            text = f"{source_id(ids[rows[0]])} has {found} structures"
            for row in rows:
                reasons[row] += "; " * bool(reasons[row]) + text
    return reasons


def in_ratio_of_atoms(labels: np.ndarray, atoms: np.ndarray) -> bool:
    """Whether labels of one structure in cells of different size are proportional to the atoms."""
    per_atom = labels / atoms
    close = np.ptp(per_atom) <= PER_CELL_TOLERANCE * np.abs(per_atom).max()
    return bool(np.ptp(atoms) > 0 and close and np.ptp(labels) > 0)


def members(keys: Iterable[Any]) -> list[list[int]]:
    """The rows of each key that stands in several rows."""
    rows: dict[Any, list[int]] = defaultdict(list)
    for row, key in enumerate(keys):
        rows[key].append(row)
    return [group for group in rows.values() if len(group) > 1]
