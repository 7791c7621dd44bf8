"""Splits: which crystals train, validate and test. split.parquet holds id, split and reason.

The methods (``split_methods``) give each crystal train, val or test, or the reason for leaving it out.
Crystals of one source id (``x``, ``x#2``) stay together, except in the official split, which is defined
over the entries of a file. No method depends on the order of the rows.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from dglframer.common.errors import DamagedFile, UserError
from dglframer.common.parquet import read_parquet, write_rows
from dglframer.config import Config
from dglframer.config.data import SplitConfig
from dglframer.data.matbench import matbench_split
from dglframer.data.split_methods import METHODS, Splits, official_split
from dglframer.data.split_table import LEFT_OUT, SPLITS, Batches, SplitTable

log = logging.getLogger(__name__)

TABLE_ROWS = 65_536  # of split.parquet in memory as Python values


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
    """``assigned`` for tables in memory: maps each id to train, val or test, or to a reason."""

    def batches(table: pa.Table | None) -> Batches | None:
        return None if table is None else lambda: iter([table])

    given = batches(crystals), config, method_of(config, [crystals]), batches(checks)
    return dict(assigned(*given, batches(rejected), target).parts())  # type: ignore[arg-type]


def assigned(
    crystals: Batches,
    config: SplitConfig,
    method: str,
    checks: Batches | None = None,
    rejected: Batches | None = None,
    target: str = "",
) -> SplitTable:
    """Every crystal of crystals.parquet with train, val, test, or the reason for leaving it out.

    ``checks`` (checks.parquet): the crystals that cleaning drops; by_prototype needs it. ``rejected``
    (rejected.parquet) and ``target`` are needed for official. Raises UserError if the data do not
    allow the method, and if an id falls into two parts other than by the official rule.
    """
    table = SplitTable(crystals, checks)
    if method == "official":
        official_split(table, rejected, target, config)
    elif method == "matbench":
        matbench_split(table, config)
    else:
        METHODS[method](table, config)
    table.drop()
    report_overlap(table, method)
    return table


def method_of(config: SplitConfig, crystals: Iterable[pa.Table]) -> str:
    """The method of the configuration; without one canonical if the source has a split, else random."""
    if config.method is not None:
        return config.method
    given = any(pc.any(pc.not_equal(batch["split"], "")).as_py() for batch in crystals)
    return "canonical" if given else "random"


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


def report_overlap(table: SplitTable, method: str) -> None:
    """Warn of source ids that stand in two parts; raises UserError unless the method is official."""
    first, count = "", 0
    for id, parts in table.overlap():
        log.warning("%s is in %s", id, " and ".join(parts))
        first, count = first or id, count + 1
    if count and method != "official":
        raise UserError(
            f"{count} ids stand in several parts of the split, as {first}; set "
            "dataset.repeated_ids: first, or put all entries of an id into one part"
        )


def write_split(splits: Mapping[str, str], path: Path, method: str = "") -> Counter[str]:
    """Write split.parquet, sorted by id, with the method in its metadata. Returns the counts.

    Raises UserError if a part is empty.
    """
    return write_parts(lambda: sorted(splits.items()), path, method)


def write_parts(
    parts: Callable[[], Iterable[tuple[str, str]]], path: Path, method: str = ""
) -> Counter[str]:
    """``write_split`` for (id, part or reason) in order of id, a few thousand in memory at a time."""
    counts = Counter(part if part in SPLITS else LEFT_OUT for _, part in parts())
    for name in SPLITS:
        if not counts[name]:
            sizes = ", ".join(f"{part} {counts[part]}" for part in (*SPLITS, LEFT_OUT))
            raise UserError(
                f"the {name} split is empty ({sizes}): there are too few crystals for three parts, "
                "or the settings under split and cleaning leave none for this one"
            )
    schema = pa.schema([(name, pa.string()) for name in ("id", "split", "reason")])
    schema = schema.with_metadata({"method": method})
    write_rows(path, split_tables(parts(), schema), schema)
    return counts


def split_tables(parts: Iterable[tuple[str, str]], schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows of split.parquet in tables of TABLE_ROWS."""
    remaining = iter(parts)
    while some := list(islice(remaining, TABLE_ROWS)):
        columns = {
            "id": [id for id, _ in some],
            "split": [part if part in SPLITS else LEFT_OUT for _, part in some],
            "reason": ["" if part in SPLITS else part for _, part in some],
        }
        yield pa.table(columns, schema=schema)


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
