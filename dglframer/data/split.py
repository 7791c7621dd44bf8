"""Splits: which crystals train, validate and test. split.parquet holds id, split and reason.

The methods (``split_methods``) map each id to train, val or test, or to the reason for leaving it out.
Crystals of one source id (``x``, ``x#2``) stay together, except in the official split, which is defined
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
from dglframer.data.ids import source_id
from dglframer.data.matbench import matbench_split
from dglframer.data.split_methods import METHODS, SPLITS, Splits, by_prototype, official_split

log = logging.getLogger(__name__)

LEFT_OUT = "left out"  # no model sees these crystals; the source may list them twice, for example


def reads_checks(config: Config) -> bool:
    """Whether the split depends on checks.parquet; by default it does not, whatever the checks find."""
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
    """Map each id of crystals.parquet to train, val or test, or to the reason for leaving it out.

    ``checks`` (checks.parquet): the crystals that cleaning drops; by_prototype needs it. ``rejected``
    (rejected.parquet) and ``target`` are needed for official. Raises UserError if the data do not
    allow the method, and if an id falls into two parts other than by the official rule.
    """
    method = method_of(config, crystals)
    dropped = {}
    if checks is not None:
        if not checks["id"].equals(crystals["id"]):
            raise DamagedFile("checks.parquet is of another crystals.parquet: run clean again")
        rows = zip(checks["id"].to_pylist(), checks["dropped"].to_pylist(), strict=True)
        dropped = {id: reason for id, reason in rows if reason}
        kept = pa.array([not reason for reason in checks["dropped"].to_pylist()], pa.bool_())
        if method != "official":  # its positions count every entry
            crystals = crystals.filter(kept)
    if method == "official":
        splits = official_split(crystals, rejected, target, config)
    elif method == "by_prototype":
        if checks is None:
            raise UserError("split.method by_prototype needs checks.parquet (run clean first)")
        splits = by_prototype(crystals, checks, config)
    elif method == "matbench":
        splits = matbench_split(crystals, config)
    else:
        splits = METHODS[method](crystals, config)
    splits |= dropped
    report_overlap(splits, method)
    return splits


def method_of(config: SplitConfig, crystals: pa.Table) -> str:
    """The method of the configuration; without one canonical if the source has a split, else random."""
    if config.method is not None:
        return config.method
    return "canonical" if any(crystals["split"].to_pylist()) else "random"


def columns_of(method: str | None, target: str = "") -> list[str]:
    """The columns of crystals.parquet that a method needs, or that its default depends on."""
    more: dict[str | None, list[str]] = {
        None: ["split"],
        "canonical": ["split"],
        "official": ["file_position", target] if target else ["file_position"],
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
    """Warn of source ids that stand in two parts; raises UserError unless the method is official."""
    overlap = overlapping_ids(splits)
    for id, parts in overlap.items():
        log.warning("%s is in %s", id, " and ".join(parts))
    if overlap and method != "official":
        raise UserError(
            f"{len(overlap)} ids stand in several parts of the split, as {min(overlap)}; set "
            "dataset.repeated_ids: first, or put all entries of an id into one part"
        )


def write_split(splits: Mapping[str, str], path: Path, method: str = "") -> Counter[str]:
    """Write split.parquet, sorted by id, with the method in its metadata. Returns the counts.

    Raises UserError if a part is empty.
    """
    ids = sorted(splits)
    names = [splits[id] if splits[id] in SPLITS else LEFT_OUT for id in ids]
    reasons = ["" if splits[id] in SPLITS else splits[id] for id in ids]
    counts = Counter(names)
    for name in SPLITS:
        if not counts[name]:
            sizes = ", ".join(f"{part} {counts[part]}" for part in (*SPLITS, LEFT_OUT))
            raise UserError(
                f"the {name} split is empty ({sizes}): there are too few crystals for three parts, "
                "or the settings under split and cleaning leave none for this one"
            )
    table = pa.table({"id": ids, "split": names, "reason": reasons}, metadata={"method": method})
    write_parquet(path, table)
    return counts


def read_split(path: Path, allowed: Sequence[str] = SPLITS) -> dict[str, list[str]]:
    """Ids of each allowed part. Parts that are not allowed (test, while tuning) are not returned.

    Raises DamagedFile if an id stands in two rows, and UserError if an allowed part is empty.
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
    for name, members in parts.items():
        if not members:
            raise UserError(f"{path}: the {name} split is empty")
    return parts
