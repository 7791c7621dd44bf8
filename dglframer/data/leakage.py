"""leakage.json: the ids, structures, reduced formulas and prototypes that parts of a split share."""

import logging
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from dglframer.common.errors import DamagedFile
from dglframer.data.ids import source_id
from dglframer.data.split_methods import SPLITS, prototypes

log = logging.getLogger(__name__)

PAIRS = (("train", "test"), ("train", "val"), ("val", "test"))
KINDS = ("ids", "structures", "formulas", "prototypes")
MAX_LISTED = 200  # keys of each kind; the counts include the others


def leakage(checks: pa.Table, split: pa.Table) -> dict[str, Any]:
    """leakage.json: for each pair of parts and each kind, the number of crystals concerned and their ids.

    ``structures`` is null if the clean stage did not look for duplicates. Raises DamagedFile if the
    two tables are not of the same crystals.
    """
    ids = checks["id"].to_pylist()
    if ids != split["id"].to_pylist():
        raise DamagedFile("split.parquet is of another crystals.parquet: run split again")
    part = dict(zip(ids, split["split"].to_pylist(), strict=True))
    firsts = zip(ids, checks["duplicate_of"].to_pylist(), strict=True)
    keys: dict[str, Mapping[str, str]] = {
        "ids": {id: source_id(id) for id in ids},
        "structures": {id: first or id for id, first in firsts},
        "formulas": dict(zip(ids, checks["formula"].to_pylist(), strict=True)),
        "prototypes": prototypes(checks),
    }
    looked = (checks.schema.metadata or {}).get(b"duplicates_searched", b"") == b"yes"
    shared = {
        f"{one} and {other}": {
            kind: common(keys[kind], part, one, other) if looked or kind != "structures" else None
            for kind in KINDS
        }
        for one, other in PAIRS
    }
    for kind, found in shared["train and test"].items():
        if found is not None:
            log.info("%d test crystals share %s with train", found["crystals"]["test"], kind)
    counts = {name: sum(value == name for value in part.values()) for name in SPLITS}
    method = (split.schema.metadata or {}).get(b"method", b"").decode()
    return {"method": method, "crystals": counts, "shared": shared}


def common(key_of: Mapping[str, str], part: Mapping[str, str], one: str, other: str) -> Any:
    """The keys of crystals in both parts, and the number of crystals of each part with such a key."""
    members: dict[str, dict[str, list[str]]] = {one: defaultdict(list), other: defaultdict(list)}
    for id, name in part.items():
        if name in members:
            members[name][key_of[id]].append(id)
    both = sorted(members[one].keys() & members[other].keys())
    return {
        "keys": len(both),
        "crystals": {name: sum(len(members[name][key]) for key in both) for name in (one, other)},
        "listed": [
            {"key": key, **{name: members[name][key][:10] for name in members}}
            for key in both[:MAX_LISTED]
        ],
    }
