"""Splits: reproducible, disjoint, and what is not allowed is not returned."""

import random
from collections import Counter

import pyarrow as pa
import pytest

from dglframer.common.errors import DamagedFile, UserError
from dglframer.common.files import sha256
from dglframer.common.parquet import read_parquet, write_parquet
from dglframer.config.data import SplitConfig
from dglframer.data.split import (
    LEFT_OUT,
    SPLITS,
    method_of,
    read_split,
    split_crystals,
    write_split,
)

IDS = [f"id-{k:03d}" for k in range(100)]


def table(given: dict[str, str]) -> pa.Table:
    """What the split stage reads of crystals.parquet."""
    return pa.table({"id": list(given), "split": list(given.values())})


def random_split(ids=IDS, **settings):
    config = SplitConfig(method="random", **settings)
    return split_crystals(table(dict.fromkeys(ids, "")), config)


def test_canonical_split_is_the_given_one():
    given = {"a": "train", "b": "val", "c": "test", "d": "train"}
    assert split_crystals(table(given), SplitConfig(method="canonical")) == given


@pytest.mark.parametrize(
    ("name", "reason", "message"),
    [
        ("train+test", "listed in train and test", "x is listed in train and test"),
        ("train+val+test", "listed in train and val", "x is listed in train and val and test"),
        ("", "no split", "x has no split"),
        ("Train", "no split of the source ('Train')", "x has no split"),
        ("id_prop", "no split", "x has no split"),
    ],
)
def test_ambiguous_crystal_is_left_out_aloud(caplog, tmp_path, name, reason, message):
    given = {"a": "train", "b": "val", "c": "test", "x": name}
    splits = split_crystals(table(given), SplitConfig(method="canonical"))
    assert {id: splits[id] for id in "abc"} == {id: given[id] for id in "abc"}
    assert message in caplog.text
    write_split(splits, tmp_path / "split")
    last = read_parquet(tmp_path / "split").to_pylist()[-1]
    assert last == {"id": "x", "split": LEFT_OUT, "reason": splits["x"]}
    assert last["reason"].startswith(reason)


def test_canonical_split_needs_one_in_the_source():
    with pytest.raises(UserError, match=r"canonical.*random"):
        split_crystals(table({"a": "", "b": ""}), SplitConfig(method="canonical"))


def test_without_a_method_the_source_decides():
    given = {"a": "train", "b": "val", "c": "test"}
    assert split_crystals(table(given), SplitConfig()) == given
    assert method_of(SplitConfig(), [table(given)]) == "canonical"
    assert method_of(SplitConfig(method="kfold"), [table(given)]) == "kfold"
    without = table(dict.fromkeys(IDS, ""))
    assert method_of(SplitConfig(), [without]) == "random"
    assert split_crystals(without, SplitConfig()) == random_split()


@pytest.mark.parametrize(
    ("fractions", "sizes"),
    [((0.1, 0.1), (80, 10, 10)), ((0.25, 0.05), (70, 25, 5)), ((0.001, 0.001), (98, 1, 1))],
)
def test_random_split_has_the_wanted_sizes(fractions, sizes):
    val, test = fractions
    splits = random_split(val_fraction=val, test_fraction=test)
    counts = Counter(splits.values())
    assert set(splits) == set(IDS)
    assert tuple(counts[name] for name in SPLITS) == sizes


def test_random_split_depends_on_seed_and_ids_alone():
    shuffled = random.Random(1).sample(IDS, k=100)
    assert random_split(seed=1) == random_split(shuffled, seed=1)
    assert random_split(seed=1) != random_split(seed=2)


def test_random_split_ignores_the_split_of_the_source():
    config = SplitConfig(method="random")
    assert split_crystals(table(dict.fromkeys(IDS, "train")), config) == random_split()


def test_random_split_is_the_one_it_always_was():
    """A frozen example: another shuffle would silently make old results incomparable."""
    splits = random_split(IDS[:20])
    parts = {part: sorted(id for id in splits if splits[id] == part) for part in ("val", "test")}
    assert parts == {"val": ["id-007", "id-017"], "test": ["id-003", "id-004"]}


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_crystals_for_three_parts_are_refused(tmp_path, n):
    with pytest.raises(UserError, match="split is empty"):
        write_split(random_split(IDS[:n]), tmp_path / "split.parquet")
    assert not (tmp_path / "split.parquet").exists()


@pytest.mark.parametrize("empty", SPLITS)
def test_empty_part_is_refused_by_name(tmp_path, empty):
    splits = {name: name for name in SPLITS if name != empty} | {"x": LEFT_OUT}
    with pytest.raises(
        UserError, match=rf"the {empty} split is empty .*{empty} 0.*left out 1\): there are"
    ):
        write_split(splits, tmp_path / "split.parquet")


def test_written_split_is_read_back_whatever_the_order(tmp_path):
    splits = random_split(IDS)
    counts = write_split(splits, tmp_path / "a")
    write_split(dict(reversed(splits.items())), tmp_path / "b")
    assert counts == Counter(splits.values())
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b")
    parts = read_split(tmp_path / "a")
    assert {id: name for name, ids in parts.items() for id in ids} == splits
    assert all(ids == sorted(ids) for ids in parts.values())


def test_parts_that_are_not_allowed_are_withheld(tmp_path):
    splits = {**random_split(IDS), "x": LEFT_OUT}
    write_split(splits, tmp_path / "split")
    parts = read_split(tmp_path / "split", allowed=("train", "val"))
    assert set(parts) == {"train", "val"}
    returned = {id for ids in parts.values() for id in ids}
    assert returned == {id for id, name in splits.items() if name in ("train", "val")}
    assert "x" not in {id for ids in read_split(tmp_path / "split").values() for id in ids}


@pytest.mark.parametrize("empty", SPLITS)
def test_a_file_with_an_empty_part_is_refused_where_that_part_is_needed(tmp_path, empty):
    rows = {"id": list(SPLITS), "split": [LEFT_OUT if name == empty else name for name in SPLITS]}
    write_parquet(tmp_path / "split.parquet", pa.table(rows))
    with pytest.raises(UserError, match=rf"split\.parquet: the {empty} split is empty"):
        read_split(tmp_path / "split.parquet")
    others = [name for name in SPLITS if name != empty]
    assert read_split(tmp_path / "split.parquet", others) == {name: [name] for name in others}


@pytest.mark.parametrize("second", ["train", "test", LEFT_OUT])
def test_id_in_two_rows_is_an_error_even_if_withheld(tmp_path, second):
    rows = {"id": ["a", "b", "c", "a"], "split": ["train", "val", "test", second]}
    write_parquet(tmp_path / "split.parquet", pa.table(rows))
    with pytest.raises(DamagedFile, match=r"split\.parquet: a and 0 more"):
        read_split(tmp_path / "split.parquet", allowed=("val",))
