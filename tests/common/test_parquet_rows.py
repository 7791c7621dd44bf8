"""Parquet in pieces: the bytes do not depend on how the rows were cut, and rows are found by number."""

import random
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dglframer.common import parquet
from dglframer.common.errors import DamagedFile
from dglframer.common.parquet import RowReader, write_parquet, write_rows
from dglframer.data.split_table import side_by_side

TABLE = pa.table(
    {"id": [f"c{k:03d}" for k in range(100)], "n": list(range(100))}, metadata={"a": "b"}
)


def pieces(table, seed):
    """The rows in tables of any sizes, some of them empty."""
    cuts = sorted(random.Random(seed).choices(range(len(table) + 1), k=7))
    ends = [0, *cuts, len(table)]
    return [table.slice(a, b - a) for a, b in pairwise(ends)]


@pytest.mark.parametrize("rows", [0, 1, 100])
def test_rows_written_in_pieces_have_the_bytes_of_one_table(tmp_path, rows):
    table = TABLE.slice(0, rows)
    write_parquet(tmp_path / "whole", table)
    for seed in range(5):
        write_rows(tmp_path / "pieces", pieces(table, seed), table.schema)
        assert (tmp_path / "pieces").read_bytes() == (tmp_path / "whole").read_bytes()
    if not rows:
        write_rows(tmp_path / "pieces", [], table.schema)
        assert (tmp_path / "pieces").read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_row_group_is_all_that_waits_to_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "GROUP_ROWS", 32)
    found = set()
    for seed in range(5):
        write_rows(tmp_path / "pieces", pieces(TABLE, seed), TABLE.schema)
        found.add((tmp_path / "pieces").read_bytes())
    metadata = pq.read_metadata(tmp_path / "pieces")
    assert [metadata.row_group(k).num_rows for k in range(4)] == [32, 32, 32, 4]
    assert len(found) == 1 and pq.read_table(tmp_path / "pieces").equals(TABLE)


def test_rows_by_number_read_their_row_groups_alone(tmp_path):
    pq.write_table(TABLE, tmp_path / "rows", row_group_size=30)
    with RowReader(tmp_path / "rows") as reader:
        assert len(reader) == 100
        for first, stop in ((0, 1), (29, 31), (30, 60), (99, 100), (0, 100)):
            assert reader.read(first, stop, ["n"])["n"].to_pylist() == list(range(first, stop))
    with pytest.raises(DamagedFile, match="absent: no such file"):
        RowReader(tmp_path / "absent")


def test_two_files_are_read_side_by_side():
    for seed in range(5):
        pairs = list(side_by_side(pieces(TABLE, seed), pieces(TABLE, seed + 9)))
        assert all(one.equals(other) for one, other in pairs)
        assert pa.concat_tables(one for one, _ in pairs).equals(TABLE)
    for one, other in ((TABLE, TABLE.slice(1)), (TABLE.slice(1), TABLE)):
        with pytest.raises(DamagedFile, match="not of the same crystals"):
            list(side_by_side([one], [other]))
