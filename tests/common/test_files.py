"""Writing and reading files: nothing half written, nothing damaged taken for good."""

import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dglframer.common.errors import DamagedFile
from dglframer.common.files import (
    atomic_path,
    canonical_json,
    hash_of,
    read_json,
    sha256,
    write_json,
    write_text,
)
from dglframer.common.parquet import parquet_batches, read_parquet, write_parquet

TABLE = pa.table({"id": [f"crystal-{k}" for k in range(40)], "value": [k / 7 for k in range(40)]})


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("old", ["old", None])
def test_failed_write_leaves_what_was_there(tmp_path, old, failure):
    path = tmp_path / "file"
    if old:
        path.write_text(old)
    with pytest.raises(failure), atomic_path(path) as temporary:
        temporary.write_text("half of the n")
        raise failure
    assert [file.name for file in tmp_path.iterdir()] == (["file"] if old else [])
    assert not old or path.read_text() == old


def test_write_replaces_and_leaves_no_temporary_file(tmp_path):
    path = tmp_path / "new folder" / "file"
    for text in ("first", "second"):
        write_text(path, text)
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


def test_temporary_file_is_in_the_same_folder(tmp_path):
    with atomic_path(tmp_path / "file") as temporary:
        temporary.write_text("")
        assert temporary.parent == tmp_path
        assert not (tmp_path / "file").exists()


def test_nan_is_refused_in_json_and_the_old_file_kept(tmp_path):
    write_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"a": math.nan})
    assert read_json(tmp_path / "a.json") == {"a": 1}


def test_hash_does_not_depend_on_the_order_of_keys():
    assert hash_of({"a": 1, "b": [2.5]}) == hash_of({"b": [2.5], "a": 1})
    assert hash_of({"a": 1}) != hash_of({"a": 2})
    assert canonical_json({"b": None, "a": "é"}) == '{"a":"\\u00e9","b":null}'


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff\xfe", b"PAR1 but no more PAR1"])
@pytest.mark.parametrize("read", [read_json, read_parquet])
def test_unreadable_file_is_named(tmp_path, read, content):
    path = tmp_path / "that one.file"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DamagedFile, match=r"that one\.file"):
        read(path)


@pytest.mark.parametrize("content", ["[]", "{}", "3", "null", '{"a": 1}', '{"b": 1}'])
def test_json_without_the_keys_is_named(tmp_path, content):
    (tmp_path / "that one.json").write_text(content)
    with pytest.raises(DamagedFile, match=r"that one\.json: .* it has no "):
        read_json(tmp_path / "that one.json", "a", "b")


def test_parquet_round_trip_and_equal_bytes(tmp_path):
    for name in ("a", "b"):
        write_parquet(tmp_path / name, TABLE)
    assert read_parquet(tmp_path / "a").equals(TABLE)
    assert read_parquet(tmp_path / "a", columns=["value"]).column_names == ["value"]
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b")


def damaged(path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("column", range(TABLE.num_columns))
def test_flipped_byte_in_a_page_is_detected(tmp_path, column):
    path = tmp_path / "a.parquet"
    write_parquet(path, TABLE)
    chunk = pq.read_metadata(path).row_group(0).column(column)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    damaged(path, start + chunk.total_compressed_size - 1)
    with pytest.raises(DamagedFile, match=r"a\.parquet"):
        read_parquet(path)


def test_no_flipped_byte_breaks_the_reader(tmp_path):
    path = tmp_path / "a.parquet"
    write_parquet(path, TABLE)
    for position in range(0, path.stat().st_size, 3):
        damaged(path, position)
        try:
            read_parquet(path)
        except DamagedFile as error:
            assert "a.parquet" in str(error)
        damaged(path, position)


def test_names_that_are_no_text_are_noticed(tmp_path):
    path = tmp_path / "a.parquet"
    write_parquet(path, TABLE)
    path.write_bytes(path.read_bytes().replace(b"id", b"\xffd", 1))
    with pytest.raises(DamagedFile, match=r"a\.parquet"):
        read_parquet(path)


@pytest.mark.parametrize("kept", [0.2, 0.9, 0.99])
def test_truncated_parquet_is_detected(tmp_path, kept):
    path = tmp_path / "a.parquet"
    write_parquet(path, TABLE)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(DamagedFile, match=r"a\.parquet"):
        read_parquet(path)


@pytest.mark.parametrize("rows", [1, 2, 1000])
def test_batches_are_the_table_in_order(tmp_path, rows):
    write_parquet(tmp_path / "a", TABLE)
    batches = list(parquet_batches(tmp_path / "a", rows=rows))
    assert pa.concat_tables(batches).equals(TABLE) and len(batches[0]) <= rows
    assert next(parquet_batches(tmp_path / "a", ["value"])).column_names == ["value"]


@pytest.mark.parametrize("row_group_size", [1000, 1_000_000])
def test_memory_of_batches_does_not_grow_with_the_file(tmp_path, row_group_size):
    """Neither what was read nor the rest of a row group is kept: many writers make one of all rows."""
    values = np.random.default_rng(0).random((8, 200_000))
    table = pa.table(dict(zip("abcdefgh", values, strict=True)))
    pq.write_table(table, tmp_path / "a", row_group_size=row_group_size, use_dictionary=False)
    del table
    before = pa.total_allocated_bytes()
    most = max(pa.total_allocated_bytes() for _ in parquet_batches(tmp_path / "a"))
    assert most - before < values.nbytes / 3


def test_batches_of_a_damaged_file_are_refused_by_name(tmp_path):
    path = tmp_path / "a.parquet"
    with pytest.raises(DamagedFile, match=r"a\.parquet: no such file"):
        next(parquet_batches(path))
    write_parquet(path, TABLE)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DamagedFile, match=r"a\.parquet"):
        next(parquet_batches(path))
