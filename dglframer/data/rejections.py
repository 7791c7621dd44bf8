"""The rejected records: their ids, reasons and positions, on the way to rejected.parquet.

There may be as many of them as crystals, so that they wait in a file and not in memory.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from dglframer.common.errors import UserError
from dglframer.common.parquet import write_row_groups
from dglframer.common.scratch import scratch_table
from dglframer.common.text import escaped
from dglframer.structures.crystal import NO_LABEL

log = logging.getLogger(__name__)

GROUP_ROWS = 65_536  # of rejected.parquet in memory at a time
REASONS_SHOWN = 20  # in the log
SCHEMA = pa.schema([("id", pa.string()), ("reason", pa.string()), ("file_position", pa.int64())])


class Rejections:
    """The rows of rejected.parquet; the file has them in order, whatever the order of the source."""

    def __init__(self) -> None:
        self.rows = scratch_table("rejected (id text, reason text, file_position integer)")

    def add(self, id: str, reason: str, file_position: int) -> None:
        row = (escaped(id), escaped(reason), file_position)
        self.rows.execute("insert into rejected values (?, ?, ?)", row)

    def __len__(self) -> int:
        (count,) = self.rows.execute("select count(*) from rejected").fetchone()
        return int(count)

    def count_labelled(self) -> int:
        """The number of them that had their label: these count as bad."""
        labelled = "select count(*) from rejected where substr(reason, 1, ?) <> ?"
        (count,) = self.rows.execute(labelled, (len(NO_LABEL), NO_LABEL)).fetchone()
        return int(count)

    def reasons(self) -> Iterator[tuple[str, int]]:
        """Each reason with its count, by falling count, then in order of appearance."""
        counts = "select reason, count(*) as n from rejected group by reason"
        yield from self.rows.execute(f"{counts} order by n desc, min(rowid)")

    def tables(self) -> Iterator[pa.Table]:
        """The sorted rows in tables of bounded size; one empty table without rows."""
        rows = self.rows.execute("select * from rejected order by id, reason, file_position")
        while True:
            some = rows.fetchmany(GROUP_ROWS)
            named = [dict(zip(SCHEMA.names, row, strict=True)) for row in some]
            yield pa.Table.from_pylist(named, schema=SCHEMA)
            if len(some) < GROUP_ROWS:
                return

    def table(self) -> pa.Table:
        """All rows of rejected.parquet."""
        return pa.concat_tables(self.tables()).combine_chunks()

    def write(self, path: Path) -> None:
        """Write rejected.parquet."""
        write_row_groups(path, self.tables(), SCHEMA)


def lacks_label(reason: str, target: str) -> bool:
    """Whether a reason for rejection is that the record has no finite value of ``target``."""
    if reason.startswith(f"{NO_LABEL} "):  # of all targets
        names = reason.removeprefix(f"{NO_LABEL} ")
        return names == target or target in names.split(", ")
    return reason.startswith(f"label {target} is ")


def check_rejected_share(n_valid: int, rejections: Rejections, max_share: float) -> None:
    """Log the reasons; raises UserError if no crystal is left or the share of rejected ones is too large.

    A record without a wanted label is in rejected.parquet but does not count: many properties are
    known for a part of a data set only.
    """
    for k, (reason, count) in enumerate(rejections.reasons()):
        if k == REASONS_SHOWN:
            log.info("further reasons are in rejected.parquet")
            break
        log.info("rejected %d: %s", count, reason)
    n_bad = rejections.count_labelled()
    n_unlabelled = len(rejections) - n_bad
    if n_valid + len(rejections) == 0:
        raise UserError("the source has no records")
    if n_valid == 0:
        raise UserError(
            f"no crystal is left: of {len(rejections)} records {n_bad} were rejected and "
            f"{n_unlabelled} have no label; see rejected.parquet"
        )
    share = n_bad / (n_valid + n_bad)
    if share > max_share:
        raise UserError(
            f"{n_bad} of {n_valid + n_bad} labelled records were rejected ({share:.1%}), "
            f"dataset.max_rejected_fraction allows {max_share:.1%} ({n_unlabelled} more records have "
            "no label); see rejected.parquet"
        )
