"""The summary of a dataset as plain data, which is also its JSON; inspection_view.py shows it.

Structures are read a batch at a time; a few numbers of each crystal stay in memory (8 bytes each), its
texts on disk.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dglframer.common.elements import SYMBOLS
from dglframer.common.errors import UserError
from dglframer.common.parquet import parquet_batches, read_parquet
from dglframer.common.scratch import scratch_table
from dglframer.common.transforms import apply
from dglframer.common.version import __version__
from dglframer.data.crystals import STRUCTURE_COLUMNS, crystal_rows, targets_of, transforms_of
from dglframer.structures.symmetry import SYSTEMS, system_of

EXAMPLES = 20  # ids listed of each kind; counts are over all
BINS = 30  # of a histogram


def inspect(crystals: Path, rejected: pa.Table | None, checks: pa.Table) -> dict[str, Any]:
    """The summary of crystals.parquet and checks.parquet, and of rejected.parquet if there is one."""
    searched = was_searched(checks.schema)
    return summary_of(crystals, None if rejected is None else [rejected], [checks], searched)


def was_searched(checks: pa.Schema) -> bool:
    """Whether the clean stage looked for duplicates."""
    return (checks.metadata or {}).get(b"duplicates_searched") == b"yes"


def summary_of(
    crystals: Path,
    rejected: Iterable[pa.Table] | None,
    checks: Iterable[pa.Table],
    searched: bool,
) -> dict[str, Any]:
    """``inspect`` of files that are read in tables of any size."""
    targets = targets_of(crystals)  # raises UserError for a file of other columns
    holding: Counter[int] = Counter()
    kinds: Counter[int] = Counter()
    sources: set[str] = set()
    atoms, volumes = array("q"), array("d")
    for batch in parquet_batches(crystals, (*STRUCTURE_COLUMNS, "source")):
        sources.update(pc.unique(batch["source"]).to_pylist())
        for _, numbers_N, lattice_33, _ in crystal_rows(batch):
            elements = np.unique(numbers_N).tolist()
            holding.update(elements)
            kinds[len(elements)] += 1
            atoms.append(len(numbers_N))
            if lattice_33 is not None:
                volumes.append(abs(float(np.linalg.det(lattice_33))) / len(numbers_N))
    if not atoms:
        raise UserError(f"{crystals}: no crystal in it")
    labels = {name: known_labels(crystals, name) for name in targets}
    found = Doubts()
    groups: Counter[int] = Counter()
    for table in checks:
        groups.update(table["space_group"].to_pylist())
        found.add(table, "formula", "duplicate_of", "unphysical", "disagreement", "dropped")
    for table in rejected or ():
        found.add(table, "reason")
    return {
        "dglframer": __version__,
        "sources": sorted(sources),
        "crystals": len(atoms),
        "elements": {SYMBOLS[z - 1]: holding[z] for z in sorted(holding)},
        "elements_per_crystal": {str(k): kinds[k] for k in sorted(kinds)},
        "crystal_systems": systems(groups, len(atoms) - len(volumes)),
        "atoms_per_cell": distribution(np.array(atoms), "", whole=True),
        "volume_per_atom": distribution(np.array(volumes), "Å³"),
        "labels": {name: distribution(labels[name], unit) for name, unit in targets.items()},
        "learned": {
            f"{transform} of {name}": distribution(apply(transform, labels[name]), "")
            for name, transform in transforms_of(crystals).items()
        },
        "rejected": None if rejected is None else by_reason(found, "reason"),
        "formulas": found.texts("formula"),
        "duplicates": duplicates(found, searched),
        "unphysical": by_reason(found, "unphysical"),
        "disagreements": by_reason(found, "disagreement"),
        "dropped": by_reason(found, "dropped"),
    }


class Doubts:
    """The texts of some columns, with the ids of their rows, on disk: there may be one in every row."""

    def __init__(self) -> None:
        self.rows = scratch_table(
            "doubts (place integer primary key, kind text, text text, id text)"
        )
        self.rows.execute("create index by_text on doubts (kind, text)")

    def add(self, table: pa.Table, *kinds: str) -> None:
        """Add the rows that have a text in one of the columns ``kinds``."""
        ids = table["id"].to_pylist()
        for kind in kinds:
            pairs = zip(ids, table[kind].to_pylist(), strict=True)
            self.rows.executemany(
                "insert into doubts (kind, text, id) values (?, ?, ?)",
                ((kind, text, id) for id, text in pairs if text),
            )

    def count(self, kind: str) -> int:
        """The rows with a text."""
        query = "select count(*) from doubts where kind = ?"
        return int(self.rows.execute(query, (kind,)).fetchone()[0])

    def texts(self, kind: str) -> int:
        """The number of different texts."""
        query = "select count(distinct text) from doubts where kind = ?"
        return int(self.rows.execute(query, (kind,)).fetchone()[0])

    def frequent(self, kind: str) -> list[tuple[str, int]]:
        """The EXAMPLES most frequent texts with their counts."""
        query = (
            "select text, count(*) as n from doubts where kind = ? group by text "
            "order by n desc, text limit ?"
        )
        return self.rows.execute(query, (kind, EXAMPLES)).fetchall()

    def ids(self, kind: str, text: str, limit: int = -1) -> list[str]:
        """The ids of a text in the order of the rows; the first ``limit`` of them, if it is given."""
        query = "select id from doubts where kind = ? and text = ? order by place limit ?"
        return [id for (id,) in self.rows.execute(query, (kind, text, limit))]


def known_labels(crystals: Path, target: str) -> np.ndarray:
    """The labels of the crystals that have this one."""
    values: np.ndarray = read_parquet(crystals, columns=[target])[target].drop_null().to_numpy()
    return values


def distribution(values: np.ndarray, unit: str, whole: bool = False) -> dict[str, Any] | None:
    """Statistics and a histogram of some values, or None if there are no values."""
    if not len(values):
        return None
    edges = np.histogram_bin_edges(values, bins=BINS)
    if whole:  # every bin holds the same number of whole numbers
        width = max(1, -(-int(values.max()) // BINS))
        edges = np.arange(0.5, values.max() + width + 0.5, width)
    quartiles = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
    return {
        "unit": unit,
        "count": len(values),
        "min": values.min().item(),
        "lower_quartile": quartiles[0],
        "median": quartiles[1],
        "upper_quartile": quartiles[2],
        "max": values.max().item(),
        "mean": float(values.mean()),
        "standard_deviation": float(values.std()),
        "histogram": {
            "edges": edges.tolist(),
            "counts": np.histogram(values, edges)[0].tolist(),
        },
    }


def systems(groups: Mapping[int, int], molecules: int) -> dict[str, int]:
    """The number of crystals of each crystal system, from those of each space group (0: unknown)."""
    counts: Counter[str] = Counter()
    for group, count in groups.items():
        counts[system_of(group)] += count
    counts["unknown"] -= molecules
    counts["molecule"] = molecules
    names = (*SYSTEMS.values(), "unknown", "molecule")
    return {name: counts[name] for name in names if counts[name]}


def by_reason(found: Doubts, kind: str) -> dict[str, Any]:
    """The rows with a text of one kind: their number, and the ids of each text, frequent texts first."""
    return {
        "count": found.count(kind),
        "reasons": [
            {"reason": text, "count": count, "ids": found.ids(kind, text, EXAMPLES)}
            for text, count in found.frequent(kind)
        ],
        "further_reasons": max(0, found.texts(kind) - EXAMPLES),
    }


def duplicates(found: Doubts, searched: bool) -> dict[str, Any]:
    """The crystals that repeat another one, and the structures with the highest counts."""
    kind = "duplicate_of"
    return {
        "searched": searched,
        "count": found.count(kind),
        "structures": found.texts(kind),
        "largest": [[first, *found.ids(kind, first)] for first, _ in found.frequent(kind)],
    }
