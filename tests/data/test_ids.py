"""Ids: the records of one source id, and the two spellings of the Materials Project's."""

import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dglframer.common.errors import ConfigError, UserError
from dglframer.config.data import SplitConfig
from dglframer.data.ids import LAST_IN_DIGITS, source_id, usual_mp_id
from dglframer.data.leakage import leakage
from dglframer.data.split import split_crystals, write_split

# Digits and letters of one material: silicon in the Materials Project's own documentation, AlF3 and LiF
# in materialsproject/api issue 1025; hilze is the first that has letters only, by the same page.
SPELLINGS = {
    "mp-149": ["mp-149", "mp-ft", "mp-aaaaft", "mp-000149"],
    "mp-8039": ["mp-8039", "mp-lxf", "mp-aaalxf"],
    "mp-1138": ["mp-1138", "mp-bru"],
    "mp-0": ["mp-0", "mp-a", "mp-aa"],
    "mvc-149": ["mvc-149", "mvc-ft"],
    f"mp-{LAST_IN_DIGITS}": ["mp-3347529", "mp-hilzd", "mp-ahilzd"],
    "mp-hilze": ["mp-3347530", "mp-hilze", "mp-aahilze"],
}


@pytest.mark.parametrize("usual", SPELLINGS)
def test_every_spelling_of_a_material_gives_its_usual_one(usual):
    assert {usual_mp_id(id) for id in SPELLINGS[usual]} == {usual}
    assert {source_id(f"{id}#2") for id in SPELLINGS[usual]} == {usual}


@pytest.mark.parametrize(
    "id",
    [
        "JVASP-149",
        "mp_ft",
        "mp-FT",
        "mp-ft2",
        "mp-",
        "xmp-ft",
        "ft",
        "mp-149-GGA",
        "mp-" + "b" * 99,
    ],
)
def test_other_ids_stay_as_they_are(id):
    assert usual_mp_id(id) == source_id(id) == id


def test_source_ids_are_without_the_number_of_the_record():
    assert source_id("JVASP-113961#2") == "JVASP-113961" == source_id("JVASP-113961")
    assert source_id("a#b") == "a#b" and source_id("a#0") == "a#0"


def test_the_spellings_are_those_of_the_materials_project():
    emmet = pytest.importorskip("emmet.core.mpid", reason="the extra mp is not installed")
    alpha = emmet.AlphaID
    assert alpha._cut_point == LAST_IN_DIGITS
    numbers = [*range(30), *(26**k + d for k in range(1, 7) for d in (-1, 0, 1))]
    numbers += [LAST_IN_DIGITS + d for d in range(-3, 4)]
    numbers += [random.Random(0).randrange(10**8) for _ in range(500)]
    for number in numbers:
        for given in (f"mp-{number}", alpha(number, prefix="mp"), alpha(number, 8, prefix="mp")):
            assert usual_mp_id(str(given)) == alpha(number, prefix="mp").string


def table(ids, split=""):
    return pa.table({"id": ids, "split": [split] * len(ids)})


@pytest.mark.parametrize("method", ["random", "kfold"])
def test_drawn_parts_keep_both_spellings_together(method):
    twins = [f"mp-{k}" for k in range(149, 169)] + ["mp-ft", "mp-aaaafu"]
    for seed in range(5):
        splits = split_crystals(table(sorted(twins)), SplitConfig(method=method, seed=seed))
        assert splits["mp-ft"] == splits["mp-149"] and splits["mp-aaaafu"] == splits["mp-150"]
    plain = split_crystals(table(sorted(twins[:20])), SplitConfig(method=method))
    letters = {f"mp-{k}": f"mp-{alpha}" for k, alpha in ((149, "ft"), (150, "fu"))}
    renamed = sorted(letters.get(id, id) for id in twins[:20])
    other = split_crystals(table(renamed), SplitConfig(method=method))
    assert {id: other[letters.get(id, id)] for id in plain} == plain


def test_a_canonical_split_with_a_material_in_two_parts_is_refused():
    given = pa.table(
        {"id": ["a", "mp-149", "mp-ft", "z"], "split": ["val", "train", "test", "test"]}
    )
    with pytest.raises(UserError, match="1 ids stand in several parts of the split, as mp-149"):
        split_crystals(given, SplitConfig(method="canonical"))


@pytest.mark.parametrize(("listed", "here"), [("mp-149", "mp-aaaaft"), ("mp-ft", "mp-149#2")])
def test_a_file_of_one_spelling_splits_crystals_of_the_other(tmp_path, caplog, listed, here):
    (tmp_path / "s.csv").write_text(f"id,split\n{listed},test\na,val\nb,train\n")
    config = SplitConfig(method="from_file", path=str(tmp_path / "s.csv"))
    assert split_crystals(table(["a", "b", here]), config) == {
        "a": "val",
        "b": "train",
        here: "test",
    }
    assert not caplog.records


def test_a_file_that_puts_two_spellings_into_two_parts_is_refused(tmp_path):
    (tmp_path / "s.csv").write_text("id,split\nmp-149,test\nmp-ft,train\n")
    config = SplitConfig(method="from_file", path=str(tmp_path / "s.csv"))
    with pytest.raises(ConfigError, match="mp-ft is listed in test and in train"):
        split_crystals(table(["mp-149"]), config)


def test_leakage_sees_one_material_in_two_spellings(tmp_path):
    ids = ["a", "mp-149", "mp-ft"]
    columns = {"id": ids, "formula": ids, "space_group": [1] * 3, "duplicate_of": [""] * 3}
    splits = {"a": "val", "mp-149": "train", "mp-ft": "test"}
    write_split(splits, tmp_path / "split.parquet", "official")
    found = leakage(pa.table(columns), pq.read_table(tmp_path / "split.parquet"))
    assert found["method"] == "official"
    assert found["shared"]["train and test"]["ids"] == {
        "keys": 1,
        "crystals": {"train": 1, "test": 1},
        "listed": [{"key": "mp-149", "train": ["mp-149"], "test": ["mp-ft"]}],
    }
