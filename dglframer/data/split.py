"""Splits: which crystals train, validate and test. split.parquet holds id, split and reason.

The methods (``split_methods``) map each id to train, val, test, or to why it is in none of them.
Crystals of one source id (``x``, ``x#2``) stay together, but in the official split, which is defined
over the entries of a file. No method depends on the order of the rows.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from dglframer.common.errors import DamagedFile, UserError
from dglframer.common.parquet import read_parquet, write_parquet
from dglframer.config import Config
from dglframer.config.data import SplitConfig
from dglframer.data.crystals import source_id
from dglframer.data.split_methods import METHODS, SPLITS, Splits, by_prototype, official_split

log = logging.getLogger(__name__)

LEFT_OUT = "left out"  # crystals that no model sees, e.g. because the source lists them twice


def reads_checks(config: Config) -> bool:
    """Whether the split depends on checks.parquet: not by default, so that looking changes nothing."""
    cleaning = config.cleaning
    switches = (cleaning.duplicates, cleaning.unphysical_labels, cleaning.disagreements)
    return "drop" in switches or config.split.method == "by_prototype"


def split_crystals(
    crystals: pa.Table,
    config: SplitConfig,
    checks: pa.Table | None = None,
    rejected: pa.Table | None = None,
    target: str = "",
) -> Splits:
    """Map each id of crystals.parquet to train, val, test, or to why it is left out.

    ``checks`` (checks.parquet) is needed for by_prototype and says what cleaning drops; ``rejected``
    (rejected.parquet) and ``target`` are needed for official. Raises UserError for what the data
    cannot give, and if an id falls into two parts other than by the official rule.
    """
    dropped = {}
    if checks is not None:
        if not checks["id"].equals(crystals["id"]):
            raise DamagedFile("checks.parquet is of another crystals.parquet: run clean again")
        rows = zip(checks["id"].to_pylist(), checks["dropped"].to_pylist(), strict=True)
        dropped = {id: reason for id, reason in rows if reason}
        kept = pa.array([not reason for reason in checks["dropped"].to_pylist()], pa.bool_())
        if config.method != "official":  # its positions count every entry
            crystals = crystals.filter(kept)
    if config.method == "official":
        splits = official_split(crystals, rejected, target, config)
    elif config.method == "by_prototype":
        if checks is None:
            raise UserError("split.method by_prototype needs checks.parquet (run clean first)")
        splits = by_prototype(crystals, checks, config)
    else:
        splits = METHODS[config.method](crystals, config)
    splits |= dropped
    report_overlap(splits, config.method)
    return splits


def columns_of(method: str) -> list[str]:
    """What the split stage reads of crystals.parquet: structures only where a method looks at them."""
    more = {
        "canonical": ["split"],
        "official": ["file_position"],
        "by_composition": ["numbers"],
        "leave_element_out": ["numbers"],
        "by_time": ["date"],
    }
    return ["id", *more.get(method, [])]


def overlapping_ids(splits: Mapping[str, str]) -> dict[str, list[str]]:
    """Source ids that stand in several parts, with these parts."""
    parts = defaultdict(set)
    for id, part in splits.items():
        if part in SPLITS:
            parts[source_id(id)].add(part)
    return {
        id: [name for name in SPLITS if name in found]
        for id, found in sorted(parts.items())
        if len(found) > 1
    }


def report_overlap(splits: Mapping[str, str], method: str) -> None:
    """Raise UserError if a source id stands in two parts; the official split may have such, aloud."""
    overlap = overlapping_ids(splits)
    for id, parts in overlap.items():
        log.warning("%s is in %s", id, " and ".join(parts))
    if overlap and method != "official":
        raise UserError(
            f"{len(overlap)} ids stand in several parts of the split, as {min(overlap)}; set "
            "dataset.repeated_ids: first, or put all entries of an id into one part"
        )


def write_split(splits: Mapping[str, str], path: Path) -> Counter[str]:
    """Write split.parquet, sorted by id; raises UserError if a part is empty. Returns the counts."""
    ids = sorted(splits)
    names = [splits[id] if splits[id] in SPLITS else LEFT_OUT for id in ids]
    reasons = ["" if splits[id] in SPLITS else splits[id] for id in ids]
    counts = Counter(names)
    for name in SPLITS:
        if not counts[name]:
            raise UserError(f"the {name} split is empty ({dict(counts)})")
    write_parquet(path, pa.table({"id": ids, "split": names, "reason": reasons}))
    return counts


def read_split(path: Path, allowed: Sequence[str] = SPLITS) -> dict[str, list[str]]:
    """Ids of each allowed part. Parts that are not allowed (test, while tuning) are not returned.

    Raises DamagedFile if an id stands in two rows: overlap between parts is an error.
    """
    table = read_parquet(path, columns=["id", "split"])
    ids, names = table["id"].to_pylist(), table["split"].to_pylist()
    repeated = [id for id, count in Counter(ids).items() if count > 1]
    if repeated:
        raise DamagedFile(f"{path}: {repeated[0]} and {len(repeated) - 1} more stand in two rows")
    parts: dict[str, list[str]] = {name: [] for name in allowed}
    for id, name in zip(ids, names, strict=True):
        if name in parts:
            parts[name].append(id)
    return parts
