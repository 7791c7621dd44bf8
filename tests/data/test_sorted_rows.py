"""Sorting beyond memory: any order and any cut of the input give one sequence and one file."""

import random
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dglframer.common.parquet import write_row_groups
from dglframer.data import sorted_rows as module
from dglframer.data.sorted_rows import merged, regrouped, row_groups, sort_into_files

SCHEMA = pa.schema([("id", pa.string()), ("numbers", pa.list_(pa.int16()))])


@pytest.fixture
def rows():
    """Ids whose order as text is not that of their numbers, some not ASCII; 0 to 99 atoms."""
    rng = random.Random(0)
    ids = [f"{rng.choice(['mp-', 'é', '𝔸', 'Z'])}{k}" for k in range(1500)]
    return [{"id": id, "numbers": [1] * rng.randrange(100)} for id in ids]


def write(path, tables):
    write_row_groups(path, regrouped(tables, SCHEMA), SCHEMA)


@pytest.mark.parametrize("files_at_once", [2, 5, 32])
@pytest.mark.parametrize("sizes", [(1500,), (1, 1499), (700, 700, 100), (100,) * 15])
def test_order_and_cut_of_the_input_do_not_matter(
    rows, tmp_path, monkeypatch, sizes, files_at_once
):
    monkeypatch.setattr(module, "MERGED_ROWS", 7)
    monkeypatch.setattr(module, "MERGED_FILES", files_at_once)
    expected = pa.Table.from_pylist(sorted(rows, key=lambda row: row["id"]), schema=SCHEMA)
    random.Random(str(sizes)).shuffle(rows)
    ends = np.cumsum((0, *sizes))
    tables = [pa.Table.from_pylist(rows[a:b], schema=SCHEMA) for a, b in pairwise(ends)]
    files = sort_into_files(tables, tmp_path)
    assert list(files.values()) == list(sizes)
    write(tmp_path / "out.parquet", merged(files))
    assert pq.read_table(tmp_path / "out.parquet").equals(expected)
    write(tmp_path / "whole.parquet", [expected])
    assert (tmp_path / "out.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_row_groups_are_bounded_and_full(monkeypatch):
    monkeypatch.setattr(module, "GROUP_ROWS", 4)
    monkeypatch.setattr(module, "GROUP_ATOMS", 10)
    atoms = [1, 1, 1, 1, 1, 25, 3, 7, 1, 9, 1]
    rows = [{"id": str(k), "numbers": [1] * n} for k, n in enumerate(atoms)]
    groups = row_groups(pa.Table.from_pylist(rows, schema=SCHEMA))
    sizes = [[len(row["numbers"]) for row in group.to_pylist()] for group in groups]
    assert sizes == [[1, 1, 1, 1], [1], [25], [3, 7], [1, 9], [1]]


def test_nothing_is_left_in_memory_but_a_few_rows_of_each_file(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MERGED_ROWS", 5)
    monkeypatch.setattr(module, "MERGED_FILES", 4)
    tables = [pa.Table.from_pylist(rows[k::10], schema=SCHEMA) for k in range(10)]
    assert max(len(table) for table in merged(sort_into_files(tables, tmp_path))) <= 20
    assert len(list(tmp_path.iterdir())) <= 4
