"""The leakage report: counts what two parts share, and names it."""

import pyarrow as pa
import pytest
from helpers.crystals import crystal

from dglframer.common.errors import DamagedFile
from dglframer.common.parquet import read_parquet, write_parquet
from dglframer.config.data import CleaningConfig
from dglframer.data.cleaning import check_crystals
from dglframer.data.crystals import crystals_table
from dglframer.data.leakage import KINDS, MAX_LISTED, leakage
from dglframer.data.split import write_split

PARTS = {
    "a": "train",
    "b": "test",
    "c": "train",
    "d": "test",
    "d#2": "val",
    "e": "left out",
    "f": "val",
}


@pytest.fixture
def crystals(tmp_path, rocksalt, cscl_like, triclinic):
    """a and b one structure; c and d one formula; d and d#2 one id; e is a copy left out."""
    cubic = crystal("d", "Na Cl", 3.4 * cscl_like.lattice_33 / 4.12, cscl_like.coords_N3)
    wide = crystal("c", "Na Cl", 3.6 * cscl_like.lattice_33 / 4.12, cscl_like.coords_N3)
    rows = {"a": rocksalt, "b": rocksalt, "c": wide, "d": cubic, "d#2": triclinic, "e": triclinic}
    rows["f"] = crystal("f", "K Cl", rocksalt.lattice_33, rocksalt.coords_N3)
    found = [
        crystal(id, "Na Cl", one.lattice_33, one.coords_N3)
        if len(one.numbers_N) == 2 and id != "f"
        else crystal(id, "K Cl" if id == "f" else "Li Si O F", one.lattice_33, one.coords_N3)
        for id, one in rows.items()
    ]
    path = tmp_path / "crystals.parquet"
    write_parquet(path, crystals_table(found, "x", [], {}))
    return path


def report(path, **cleaning):
    split = path.with_name("split.parquet")
    write_split(PARTS, split, "random")
    return leakage(check_crystals(path, CleaningConfig(**cleaning)), read_parquet(split))


def test_what_train_and_test_share_is_counted_and_listed(crystals):
    found = report(crystals)
    assert found["method"] == "random" and found["crystals"] == {"train": 2, "val": 2, "test": 2}
    shared = found["shared"]["train and test"]
    assert set(shared) == set(KINDS)
    assert {kind: one["keys"] for kind, one in shared.items()} == {
        "ids": 0,
        "structures": 1,
        "formulas": 1,
        "prototypes": 2,
    }
    assert shared["structures"]["listed"] == [{"key": "a", "train": ["a"], "test": ["b"]}]
    assert shared["structures"]["crystals"] == {"train": 1, "test": 1}
    assert shared["formulas"]["crystals"] == {"train": 2, "test": 2}
    assert [one["key"] for one in shared["prototypes"]["listed"]] == ["NaCl 221", "NaCl 225"]


def test_an_id_of_two_entries_is_an_id_in_two_parts(crystals):
    shared = report(crystals)["shared"]["val and test"]
    assert shared["ids"]["listed"] == [{"key": "d", "val": ["d#2"], "test": ["d"]}]
    assert shared["structures"]["keys"] == 0


def test_crystals_left_out_share_nothing(crystals):
    for pair in report(crystals)["shared"].values():
        for one in pair.values():
            assert all("e" not in ids for row in one["listed"] for ids in row.values())


def test_without_a_search_structures_are_unknown_and_not_zero(crystals):
    shared = report(crystals, duplicates="ignore", disagreements="ignore")["shared"]
    assert all(pair["structures"] is None for pair in shared.values())
    assert shared["train and test"]["formulas"]["keys"] == 1


def test_long_lists_are_cut_and_their_counts_are_not():
    n = MAX_LISTED + 50
    ids = sorted(f"{side}{k}" for side in "ab" for k in range(n))
    formulas = [f"X{id[1:]}" for id in ids]
    columns = {
        "id": ids,
        "formula": formulas,
        "space_group": [1] * 2 * n,
        "duplicate_of": [""] * 2 * n,
    }
    split = pa.table({"id": ids, "split": ["train" if id[0] == "a" else "test" for id in ids]})
    found = leakage(pa.table(columns), split)["shared"]["train and test"]
    assert found["formulas"]["keys"] == n and len(found["formulas"]["listed"]) == MAX_LISTED
    with pytest.raises(DamagedFile, match="run split again"):
        leakage(pa.table(columns), split.slice(1))
