"""Every method of splitting: sizes, groups kept whole, the published ids, and no dependence on order."""

import csv
import itertools
import json
import random
from collections import Counter
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest
from helpers.crystals import crystal

from dglframer.common.errors import ConfigError, DamagedFile, UserError
from dglframer.common.parquet import write_parquet
from dglframer.config import Config, override
from dglframer.config.data import CleaningConfig, SplitConfig
from dglframer.data.cleaning import check_crystals
from dglframer.data.crystals import crystals_table, validated
from dglframer.data.ids import source_id
from dglframer.data.rejections import Rejections
from dglframer.data.split import (
    SPLITS,
    columns_of,
    reads_checks,
    split_crystals,
    write_split,
)
from dglframer.data.split_methods import METHODS, official_order, official_parts, read_listed
from dglframer.structures.crystal import Record

CUBE = [[4.0, 0, 0], [0, 4.0, 0], [0, 0, 4.0]]
PAIRS = ("Na Cl", "Na Br", "K Cl", "Li F", "Ca O", "Mg O", "Mg S", "Zn S", "Ga As", "Cs I")


def dataset(n=60, repeated=False):
    """Ten compounds in turn, some ids twice, a date for nine of ten."""
    crystals = []
    for k in range(n):
        id = f"c{k // 2:02d}#2" if repeated and k % 2 else f"c{k // 2 if repeated else k:02d}"
        one = crystal(id, PAIRS[k % 10], CUBE, [[0, 0, 0], [0.5, 0.5, 0.5]], e=float(k))
        crystals.append(one)
    table = crystals_table(crystals, "x", ["e"], {"e": "eV"})
    dates = [None if k % 10 == 9 else f"20{10 + k // 10}-03-{1 + k % 10:02d}" for k in range(n)]
    positions = [int(e) for e in table["e"].to_pylist()]
    table = table.set_column(
        table.column_names.index("date"), "date", pa.array([dates[k] for k in positions])
    )
    return table.set_column(
        table.column_names.index("file_position"), "file_position", pa.array(positions)
    )


@pytest.fixture
def checks(tmp_path):
    """checks.parquet of the dataset."""
    write_parquet(tmp_path / "crystals.parquet", dataset())
    return check_crystals(tmp_path / "crystals.parquet", CleaningConfig())


def split(table, checks=None, rejected=None, **settings):
    return split_crystals(table, SplitConfig(**settings), checks, rejected, "e")


def overlapping_ids(splits):
    """Source ids that stand in several parts, found in another way than by the database."""
    parts = {}
    for id, part in splits.items():
        if part in SPLITS:
            parts.setdefault(source_id(id), set()).add(part)
    return {id for id, found in parts.items() if len(found) > 1}


NOTHING = Rejections().table()
SETTINGS = {
    "official": {},
    "random": {},
    "kfold": {"fold": 3},
    "by_composition": {},
    "by_prototype": {},
    "leave_element_out": {"elements": ["Na", "As"]},
    "by_time": {},
}


@pytest.mark.parametrize("method", SETTINGS)
def test_every_crystal_has_a_part_or_a_reason_whatever_the_order(checks, method):
    table = dataset()
    rows = random.Random(1).sample(range(60), 60)
    first = split(table, checks, NOTHING, method=method, **SETTINGS[method])
    assert set(first) == set(table["id"].to_pylist())
    assert set(SPLITS) <= set(first.values())
    shuffled = split(
        table.take(rows), checks.take(rows), NOTHING, method=method, **SETTINGS[method]
    )
    assert shuffled == first
    other = split(table, checks, NOTHING, method=method, seed=5, **SETTINGS[method])
    assert (other != first) == (method != "by_time")


@pytest.mark.parametrize("method", ["random", "kfold", "leave_element_out"])
def test_repeated_ids_stay_together(method):
    splits = split(dataset(repeated=True), method=method, **SETTINGS[method])
    assert not overlapping_ids(splits)
    assert set(SPLITS) <= set(splits.values())


def test_an_id_in_two_parts_is_an_error_but_in_the_official_split(tmp_path, caplog):
    table = dataset(repeated=True)
    (tmp_path / "s.csv").write_text(
        "id,split\n"
        + "".join(f"{id},{SPLITS[k % 3]}\n" for k, id in enumerate(table["id"].to_pylist()))
    )
    with pytest.raises(UserError, match="ids stand in several parts"):
        split(table, method="from_file", path=str(tmp_path / "s.csv"))
    splits = split(table, None, NOTHING, method="official")
    overlap = overlapping_ids(splits)
    assert overlap and all(f"{id} is in" in caplog.text for id in overlap)


# Sizes of the published splits: entries with a finite label, and train, val, test.
@pytest.mark.parametrize(
    ("n", "sizes"),
    [
        (55_723, (44_578, 5_572, 5_572)),  # JVASP dft_3d 2021: formation energy, gap, total energy
        (18_172, (14_537, 1_817, 1_817)),  # its mbj_bandgap
        (55_371, (44_296, 5_537, 5_537)),  # its ehull
    ],
)
def test_official_sizes(n, sizes):
    counts = Counter(official_parts(n, SplitConfig(method="official")))
    assert tuple(counts[name] for name in SPLITS) == sizes
    assert sum(counts.values()) == n


def test_official_sizes_may_be_given():
    config = SplitConfig(method="official", official_sizes=(60_000, 5_000, 4_239))
    counts = Counter(official_parts(69_239, config))
    assert tuple(counts[name] for name in SPLITS) == (60_000, 5_000, 4_239)
    with pytest.raises(UserError, match="add up to 69239, of 69238"):
        official_parts(69_238, config)


def published(target):
    """(id, place in the shuffle of the main targets, place in the shuffle of ``target``)."""
    with open(Path(__file__).with_name("official_split.csv"), encoding="utf-8") as handle:
        rows = [list(row.values()) for row in csv.DictReader(handle) if row["target"] == target]
    return [(id, int(first), int(second)) for _, id, first, second in rows]


@pytest.mark.parametrize(("target", "n"), [("ehull", 55_371), ("mbj_bandgap", 18_172)])
def test_published_ids_of_different_targets_follow_one_file_order(target, n):
    """Two published splits are two shuffles of one file: undone, they must agree on its order.

    The table (tools/official_split.py) is of ids in val or test of both; nothing but the right
    rule with the right seed and sizes puts them all into one order.
    """
    main, other = official_order(55_723), official_order(n)
    rows = sorted(published(target), key=lambda row: main[row[1]])
    assert len(rows) > 40
    ranks = [other[place] for _, _, place in rows]
    assert all(a < b for a, b in itertools.pairwise(ranks))
    parts = official_parts(55_723, SplitConfig(method="official"))
    for _, place, _ in rows:
        assert parts[main[place]] == ("val" if place < 55_723 - 5_572 else "test")
    wrong = official_order(n - 1)
    ranks = [wrong[min(place, n - 2)] for _, _, place in rows]
    assert not all(a < b for a, b in itertools.pairwise(ranks))


def test_official_counts_labelled_entries_good_or_bad_in_file_order(caplog):
    """Against the rule written out: bad structures and repeated ids count, missing labels do not."""
    good = dict(species=["Na", "Cl"], lattice=CUBE, coords=[[0, 0, 0], [0.5, 0.5, 0.5]])
    records = []
    for k in range(100):
        labels = {"e": {0: None, 1: "na", 2: float("nan")}.get(k % 10, 1.0)}
        bad = {"species": ["Xx", "Cl"]} if k % 10 in (2, 3) else {}
        records.append(Record(f"c{k % 94:02d}", labels=labels, **good | bad))
    for repeated in ("first", "all"):
        caplog.clear()
        rejections = Rejections()
        valid = validated(records, ["e"], rejections, repeated)
        table = crystals_table(valid, "x", ["e"], {"e": "eV"})
        splits = split(table, None, rejections.table(), method="official")
        labelled = [k for k in range(100) if k % 10 > 2]
        order = list(range(len(labelled)))
        random.seed(123)
        random.shuffle(order)
        expected = {labelled[place]: "train" for place in order[:56]}
        expected |= {labelled[place]: "val" for place in order[-14:-7]}
        expected |= {labelled[place]: "test" for place in order[-7:]}
        positions = dict(zip(*(table[c].to_pylist() for c in ("id", "file_position")), strict=True))
        assert splits == {id: expected[place] for id, place in positions.items()}
        assert ("c04#2" in splits) == (repeated == "all")
        assert ("c04: a repeated entry is not used" in caplog.text) == (repeated == "first")


def test_official_counts_the_entries_with_the_first_target_only():
    """A crystal that came for its other label has no place in the order, nor a part."""
    table = dataset().select(["id", "file_position", "e"])
    known = [k % 4 != 0 for k in table["file_position"].to_pylist()]
    labels = [value if k else None for value, k in zip(table["e"].to_pylist(), known, strict=True)]
    gaps = table.set_column(2, "e", pa.array(labels, pa.float64()))
    found = split(gaps, None, NOTHING, method="official")
    labelled = split(gaps.filter(pa.array(known)), None, NOTHING, method="official")
    others = set(found) - set(labelled)
    assert len(labelled) == 45 and {found[id] for id in labelled} >= set(SPLITS)
    assert found == labelled | dict.fromkeys(others, "no label e")


def test_official_needs_what_it_is_defined_by():
    with pytest.raises(UserError, match="rejected"):
        split(dataset(), method="official")


@pytest.mark.parametrize("method", ["by_composition", "by_prototype"])
def test_groups_are_whole(checks, method):
    splits = split(dataset(), checks, method=method)
    formulas = dict(zip(checks["id"].to_pylist(), checks["formula"].to_pylist(), strict=True))
    parts = {}
    for id, part in splits.items():
        assert parts.setdefault(formulas[id], part) == part
    assert Counter(splits.values()) == {"train": 48, "val": 6, "test": 6}


def test_a_duplicate_follows_the_crystal_that_it_repeats(checks):
    """Even where the other is dropped: two more copies of it must not part."""
    columns = {name: checks[name].to_pylist() for name in checks.column_names}
    assert columns["id"][:3] == ["c00", "c01", "c02"]
    columns["duplicate_of"] = ["c00" if row % 10 == 0 else "" for row in range(60)]
    columns["duplicate_of"][0] = ""
    columns["space_group"] = [k + 1 for k in range(60)]
    columns["dropped"] = ["doubt"] + [""] * 59
    checks = pa.table(columns, schema=checks.schema)
    for seed in range(5):
        splits = split(dataset(), checks, method="by_prototype", seed=seed)
        assert splits["c00"] == "doubt"
        assert len({splits[f"c{k}"] for k in range(10, 60, 10)}) == 1


def test_a_group_larger_than_its_part_is_not_lost():
    table = dataset(60).filter(pa.array([k % 10 < 3 for k in range(60)]))
    counts = Counter(split(table, method="by_composition").values())
    assert counts == {"train": 6, "val": 6, "test": 6}


def test_folds_are_a_partition():
    tests = []
    for fold in range(4):
        splits = split(dataset(), method="kfold", folds=4, fold=fold)
        tests.append({id for id, part in splits.items() if part == "test"})
        assert Counter(splits.values()) == {"test": 15, "val": 6, "train": 39}
    assert set.union(*tests) == set(dataset()["id"].to_pylist())
    assert sum(map(len, tests)) == 60


def test_left_out_elements_are_in_test_alone():
    table = dataset()
    splits = split(table, method="leave_element_out", elements=["Na", "As"])
    for id, numbers in zip(table["id"].to_pylist(), table["numbers"].to_pylist(), strict=True):
        assert (splits[id] == "test") == bool({11, 33} & set(numbers))
    assert Counter(splits.values())["val"] == 6


def test_by_time_cuts_at_dates(caplog):
    table = dataset()
    dates = dict(zip(table["id"].to_pylist(), table["date"].to_pylist(), strict=True))
    for settings in ({}, {"val_from": date(2014, 1, 1), "test_from": "2015-03-05"}):
        splits = split(table, method="by_time", **settings)
        assert {id for id in splits if splits[id] == "no date"} == {
            i for i in dates if not dates[i]
        }
        of = {name: [dates[id] for id in splits if splits[id] == name] for name in SPLITS}
        assert max(of["train"]) < min(of["val"]) <= max(of["val"]) < min(of["test"])
    assert min(of["test"]) == "2015-03-05" and min(of["val"]) == "2014-03-01"


def test_one_date_is_in_one_part():
    table = dataset()
    place = table.column_names.index("date")
    same = pa.array(["2011-01-01"] * 30 + ["2012-01-01"] * 30)
    with pytest.raises(UserError, match="val split is empty"):
        write_split(split(table.set_column(place, "date", same), method="by_time"), Path("never"))


def test_without_dates_by_time_says_so():
    table = dataset()
    place = table.column_names.index("date")
    for dates in (pa.nulls(60, pa.string()), pa.array([""] * 60)):
        with pytest.raises(UserError, match="no crystal has a date"):
            split(table.set_column(place, "date", dates), method="by_time")


def test_more_folds_than_crystals_are_refused():
    assert Counter(split(dataset(12), method="kfold", folds=12).values())["test"] == 1
    with pytest.raises(UserError, match="13 folds of 12 crystals"):
        split(dataset(12), method="kfold", folds=13)


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet"])
def test_from_file_is_what_the_file_says(tmp_path, caplog, suffix):
    ids = dataset()["id"].to_pylist()
    listed = {id: SPLITS[k % 3] for k, id in enumerate(ids[:50])} | {"elsewhere": "test"}
    path = tmp_path / f"mine.{suffix}"
    if suffix == "csv":
        path.write_text("id,split\n" + "".join(f"{id},{part}\n" for id, part in listed.items()))
    elif suffix == "json":
        parts = {name: [id for id in listed if listed[id] == name] for name in SPLITS}
        path.write_text(json.dumps(parts))
    else:
        write_parquet(path, pa.table({"id": list(listed), "split": list(listed.values())}))
    splits = split(dataset(), method="from_file", path=str(path))
    assert {id: splits[id] for id in ids[:50]} == {id: listed[id] for id in ids[:50]}
    assert {splits[id] for id in ids[50:]} == {f"not listed in mine.{suffix}"}
    assert "1 ids of" in caplog.text and "elsewhere" in caplog.text


def test_a_list_from_a_spreadsheet_begins_with_a_mark(tmp_path):
    (tmp_path / "mine.csv").write_bytes("\ufeffid,split\nFüße,val\n".encode())
    assert read_listed(tmp_path / "mine.csv") == {"Füße": "val"}


def test_a_split_of_ours_says_why_a_crystal_is_in_no_part(tmp_path):
    """split.parquet of another run is such a list; its reasons are kept."""
    path = tmp_path / "split.parquet"
    write_parquet(path, pa.table({"id": ["a", "b"], "split": ["train", "left out"]}))
    assert read_listed(path) == {"a": "train", "b": "left out"}


@pytest.mark.parametrize(
    ("name", "text", "error", "message"),
    [
        ("a.csv", "id,split\na,train\na,test\n", ConfigError, "a is listed in train and in test"),
        (
            "a.csv",
            "id,split\na,tset\n",
            ConfigError,
            "a is in 'tset'; the parts are train, val, test$",
        ),
        ("a.csv", "jid,split\na,test\n", ConfigError, "cannot be read as a split"),
        ("a.json", '["a"]', ConfigError, "cannot be read as a split"),
        ("a.json", "{", DamagedFile, "not valid JSON"),
        ("a.parquet", "x", DamagedFile, "damaged"),
    ],
)
def test_unusable_lists_are_refused(tmp_path, name, text, error, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(error, match=message):
        read_listed(tmp_path / name)
    with pytest.raises(UserError):
        read_listed(tmp_path / "absent.csv")


def test_what_cleaning_drops_is_in_no_part(checks):
    reasons = ["" if k % 5 else f"doubt {k}" for k in range(60)]
    place = checks.column_names.index("dropped")
    checks = checks.set_column(place, "dropped", pa.array(reasons))
    for method in ("random", "by_prototype", "official"):
        splits = split(dataset(), checks, NOTHING, method=method)
        assert len(splits) == 60
        for id, reason in zip(checks["id"].to_pylist(), reasons, strict=True):
            assert splits[id] == reason if reason else splits[id] not in reasons
    with pytest.raises(DamagedFile, match="run clean again"):
        split(dataset(), checks.slice(1), method="random")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, False),
        ({"cleaning.duplicates": "ignore"}, False),
        ({"cleaning.duplicates": "drop"}, True),
        ({"cleaning.unphysical_labels": "drop"}, True),
        ({"cleaning.disagreements": "drop"}, True),
        ({"split.method": "by_prototype"}, True),
        ({"split.method": "by_composition"}, False),
    ],
)
def test_the_split_reads_the_checks_only_where_it_must(change, expected):
    assert reads_checks(override(Config(), change)) == expected


def test_columns_that_are_read_suffice(checks):
    for method in [*METHODS, "official", "by_prototype"]:
        if method in ("from_file", "canonical"):
            continue
        table = dataset().select(columns_of(method, "e"))
        assert len(split(table, checks, NOTHING, method=method, **SETTINGS[method])) == 60
