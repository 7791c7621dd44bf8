"""The splits of a learning curve: nested, of the wanted sizes, with whole val and test."""

import pyarrow.parquet as pq
import pytest

from dglframer.common.errors import UserError
from dglframer.data.split import read_split, write_split
from dglframer.data.subsets import write_subsets


@pytest.fixture
def split(tmp_path):
    parts = {f"c{k:02d}": ("train", "train", "train", "val", "test")[k % 5] for k in range(50)}
    write_split(parts | {"x": "a doubt"}, tmp_path / "split.parquet", "random")
    return tmp_path / "split.parquet"


def test_smaller_sets_are_parts_of_larger_ones(split, tmp_path):
    sizes = (20, 5, 10)
    write_subsets(split, sizes, 7, tmp_path)
    whole = read_split(split)
    found = {size: read_split(tmp_path / str(size) / "split.parquet") for size in sizes}
    assert [len(found[size]["train"]) for size in sizes] == list(sizes)
    assert set(found[5]["train"]) < set(found[10]["train"]) < set(found[20]["train"])
    assert set(found[20]["train"]) < set(whole["train"])
    assert all(one[part] == whole[part] for one in found.values() for part in ("val", "test"))
    rows = pq.read_table(tmp_path / "5" / "split.parquet")
    assert rows.schema.metadata[b"method"] == b"random"
    reasons = dict(zip(rows["id"].to_pylist(), rows["reason"].to_pylist(), strict=True))
    assert reasons["x"] == "a doubt"
    assert sum(reason == "not in the subset of 5" for reason in reasons.values()) == 25


def test_another_seed_draws_others_and_the_same_seed_the_same(split, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_subsets(split, [10], seed, tmp_path / name)
    a, b, c = (read_split(tmp_path / name / "10" / "split.parquet")["train"] for name in "abc")
    assert a == b != c


def test_more_than_there_are_is_refused(split, tmp_path):
    with pytest.raises(UserError, match="31 is more than the 30 training crystals"):
        write_subsets(split, [5, 31], 0, tmp_path)
