"""The crystals of a split on disk, each with its group and its part: what the methods of splitting fill in.

SQLite sorts and groups them. Memory holds a few thousand rows, and 8 bytes of each group.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dglframer.common.errors import DamagedFile
from dglframer.common.scratch import scratch_table
from dglframer.data.ids import source_id

SPLITS = ("train", "val", "test")
LEFT_OUT = "left out"  # no model sees these crystals; the source may list them twice, for example
Batches = Callable[[], Iterator[pa.Table]]  # the rows of a file in tables, as often as it is called


class SplitTable:
    """Every crystal's id, source id, key of the group that stays together, and part.

    The part is train, val, test or the reason why a crystal is left out; null: that of its group.
    ``batches`` are rows of crystals.parquet, ``checks`` the same rows of checks.parquet, if cleaning
    drops any. Raises DamagedFile if these are of other crystals.
    """

    def __init__(self, batches: Batches, checks: Batches | None = None):
        self.batches, self.checks = batches, checks
        self.rows = scratch_table("crystals (id text, source text, key text, part text)")
        self.rows.execute("create table dropped (id text primary key, reason text) without rowid")
        self.rows.execute(
            "create table groups (place integer primary key, key text, size integer, part text)"
        )
        self.rows.create_function("source_id", 1, source_id, deterministic=True)
        for _, checked in self.with_checks():
            if checked is not None:
                found = checked.filter(pc.not_equal(checked["dropped"], ""))
                columns = (found[name].to_pylist() for name in ("id", "dropped"))
                self.rows.executemany(
                    "insert into dropped values (?, ?)", zip(*columns, strict=True)
                )

    def with_checks(self) -> Iterator[tuple[pa.Table, pa.Table | None]]:
        """The rows of both files, side by side."""
        if self.checks is None:
            for batch in self.batches():
                yield batch, None
            return
        for batch, checked in side_by_side(self.batches(), self.checks()):
            if not checked["id"].equals(batch["id"]):
                raise DamagedFile("checks.parquet is of another crystals.parquet: run clean again")
            yield batch, checked

    def kept(self) -> Iterator[pa.Table]:
        """The rows of crystals.parquet without those that cleaning drops."""
        for batch, checked in self.with_checks():
            if checked is not None:
                batch = batch.filter(pc.equal(checked["dropped"], ""))
            yield batch

    def add(
        self,
        ids: Iterable[str],
        keys: Iterable[str | None] | None = None,
        parts: Iterable[str] | None = None,
    ) -> None:
        """Add crystals with the keys of their groups, or with their parts."""
        ids = list(ids)
        nothing = [None] * len(ids)
        rows = zip(ids, map(source_id, ids), keys or nothing, parts or nothing, strict=True)
        self.rows.executemany("insert into crystals values (?, ?, ?, ?)", rows)

    def count(self) -> int:
        """The number of crystals that were added."""
        (count,) = self.rows.execute("select count(*) from crystals").fetchone()
        return int(count)

    def group_sizes(self) -> np.ndarray:
        """The crystals of each group [K], groups in order of their keys."""
        self.rows.execute(
            "insert into groups (key, size) select key, count(*) from crystals "
            "where part is null group by key order by key"
        )
        sizes = self.rows.execute("select size from groups order by place")
        return np.fromiter((size for (size,) in sizes), np.int64)

    def assign_groups(self, parts: Iterable[str]) -> None:
        """Give the crystals of each group its part, groups in order of their keys."""
        numbered = ((part, place) for place, part in enumerate(parts, start=1))
        self.rows.executemany("update groups set part = ? where place = ?", numbered)
        self.rows.execute("create unique index by_key on groups (key)")
        self.rows.execute(
            "update crystals set part = (select part from groups where groups.key = crystals.key) "
            "where part is null"
        )

    def drop(self) -> None:
        """What cleaning drops is in no part, whatever the method says."""
        self.rows.execute("delete from crystals where id in (select id from dropped)")
        self.rows.execute(
            "insert into crystals select id, source_id(id), null, reason from dropped"
        )

    def parts(self) -> Iterator[tuple[str, str]]:
        """(id, part or reason) of every crystal, by id."""
        yield from self.rows.execute("select id, part from crystals order by id")

    def overlap(self) -> Iterator[tuple[str, list[str]]]:
        """Source ids that stand in several parts, with these parts, by id."""
        pairs = self.rows.execute(
            "select source, max(part = 'train'), max(part = 'val'), max(part = 'test') from crystals "
            "where part in ('train', 'val', 'test') group by source "
            "having count(distinct part) > 1 order by source"
        )
        for id, *inside in pairs:
            yield id, [name for name, here in zip(SPLITS, inside, strict=True) if here]


def side_by_side(
    first: Iterable[pa.Table], second: Iterable[pa.Table]
) -> Iterator[tuple[pa.Table, pa.Table]]:
    """The same rows of two files in tables of one length; raises DamagedFile if one has more rows."""
    ones, others = iter(first), iter(second)
    one, other = next(ones, None), next(others, None)
    while one is not None and other is not None:
        length = min(len(one), len(other))
        yield one.slice(0, length), other.slice(0, length)
        one = one.slice(length) if length < len(one) else next(ones, None)
        other = other.slice(length) if length < len(other) else next(others, None)
    if any(rest is not None and len(rest) for rest in (one, other)):
        raise DamagedFile("two files are not of the same crystals: run clean and split again")
