"""leakage.json: the ids, structures, reduced formulas and prototypes that parts of a split share.

SQLite sorts the crystals by each of these; the members of one key are read at a time.
"""

import logging
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any

import pyarrow as pa

from dglframer.common.errors import DamagedFile
from dglframer.common.scratch import scratch_table
from dglframer.data.ids import source_id
from dglframer.data.split_methods import prototypes
from dglframer.data.split_table import SPLITS, side_by_side

log = logging.getLogger(__name__)

PAIRS = (("train", "test"), ("train", "val"), ("val", "test"))
KINDS = ("ids", "structures", "formulas", "prototypes")
MAX_LISTED = 200  # keys of each kind; the counts include the others
IDS_LISTED = 10  # of a key in a part


def leakage(checks: pa.Table, split: pa.Table) -> dict[str, Any]:
    """leakage.json: for each pair of parts and each kind, the number of crystals concerned and their ids.

    ``structures`` is null if the clean stage did not look for duplicates. Raises DamagedFile if the
    two tables are not of the same crystals.
    """
    return leakage_of([checks], [split], checks.schema, split.schema)


def leakage_of(
    checks: Iterable[pa.Table],
    split: Iterable[pa.Table],
    checks_schema: pa.Schema,
    split_schema: pa.Schema,
) -> dict[str, Any]:
    """``leakage`` of files that are read in tables of any size."""
    rows = scratch_table(
        "crystals (id text primary key, part text, ids text, structures text, formulas text, "
        "prototypes text) without rowid"
    )
    for checked, assigned in side_by_side(checks, split):
        if checked["id"].to_pylist() != assigned["id"].to_pylist():
            raise DamagedFile("split.parquet is of another crystals.parquet: run split again")
        parts, formulas = assigned["split"].to_pylist(), checked["formula"].to_pylist()
        described = zip(prototypes(checked), parts, formulas, strict=True)
        rows.executemany(
            "insert into crystals values (?, ?, ?, ?, ?, ?)",
            (
                (id, part, source_id(id), first, formula, prototype)
                for (id, first, prototype), part, formula in described
            ),
        )
    rows.execute(
        "update crystals set prototypes = "
        "(select one.prototypes from crystals one where one.id = crystals.structures) "
        "where structures <> id"
    )
    looked = (checks_schema.metadata or {}).get(b"duplicates_searched", b"") == b"yes"
    shared: dict[str, dict[str, Any]] = {f"{one} and {other}": {} for one, other in PAIRS}
    for kind in KINDS:
        found: dict[str, Any] = dict.fromkeys(shared)
        if looked or kind != "structures":
            found = common(
                rows.execute(f"select {kind}, part, id from crystals order by {kind}, id")
            )
        for pair, one in found.items():
            shared[pair][kind] = one
    for kind, in_both in shared["train and test"].items():
        if in_both is not None:
            log.info("%d test crystals share %s with train", in_both["crystals"]["test"], kind)
    counts = dict(rows.execute("select part, count(*) from crystals group by part"))
    method = (split_schema.metadata or {}).get(b"method", b"").decode()
    sizes = {name: counts.get(name, 0) for name in SPLITS}
    return {"method": method, "crystals": sizes, "shared": shared}


def common(rows: Iterable[tuple[str, str, str]]) -> dict[str, Any]:
    """The keys of crystals in both parts of each pair, and the crystals of each part with such a key.

    ``rows``: (key, part, id) in order of the key.
    """
    found: dict[str, Any] = {
        f"{one} and {other}": {"keys": 0, "crystals": {one: 0, other: 0}, "listed": []}
        for one, other in PAIRS
    }
    for key, sizes, ids in members(rows):
        for one, other in PAIRS:
            if not (sizes[one] and sizes[other]):
                continue
            pair = found[f"{one} and {other}"]
            pair["keys"] += 1
            for name in (one, other):
                pair["crystals"][name] += sizes[name]
            if len(pair["listed"]) < MAX_LISTED:
                pair["listed"].append({"key": key, one: ids[one], other: ids[other]})
    return found


def members(
    rows: Iterable[tuple[str, str, str]],
) -> Iterator[tuple[str, dict[str, int], dict[str, list[str]]]]:
    """Each key, with the number of its crystals and the first ids of each part."""
    for key, group in groupby(rows, itemgetter(0)):
        sizes = dict.fromkeys(SPLITS, 0)
        ids: dict[str, list[str]] = {name: [] for name in SPLITS}
        for _, part, id in group:
            if part not in sizes:
                continue
            sizes[part] += 1
            if len(ids[part]) < IDS_LISTED:
                ids[part].append(id)
        yield key, sizes, ids
