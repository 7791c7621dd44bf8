"""Matbench's folds are those of its validation file, and the split takes them."""

import hashlib

import pyarrow as pa
import pytest

from dglframer.common.errors import UserError
from dglframer.config import parse_config
from dglframer.config.data import SplitConfig
from dglframer.data.matbench import N_FOLDS, TASKS, fold_rows, matbench_id, place
from dglframer.data.split import split_crystals

# sha256 of the test ids in matbench_v0.1_validation.json (matbench 0.6), blank between ids, a line a fold.
FOLDS = {
    "matbench_dielectric": "10c567ed6262b5236096de6e82ffa3d70fbac33090403a0683f231b82e30cf00",
    "matbench_jdft2d": "7063af3ad22dd7232a874fe790dab4d4c1cd4c81e04632c38a96c0cd4fee5837",
    "matbench_log_gvrh": "d6fb83ee2973211dad295900e05e9759c831c5c367d950c0adce1e42e6cac9ed",
    "matbench_log_kvrh": "3aa5f59fecb9cf0b6e3ba4fa1a35eababbf7569f28827ad7122f9563f1d5c78f",
    "matbench_mp_e_form": "b67d3a9501de77bd0fccbcc18599b3352f47b545747e75aa91b984a6f30e72a9",
    "matbench_mp_gap": "8f58dd7b8ab755e41c060f19becd95119f52b37491f05bda5732db0f26dab245",
    "matbench_perovskites": "7eab03a59ade313812533c5a6c414216764eb044221c224023a9ce230e5f84ae",
    "matbench_phonons": "2de0f189fe89e61bc57a5f5b279e23ff49f7d1f75026e0115217a50bb5d88753",
}


@pytest.mark.parametrize("task", TASKS)
def test_the_folds_are_matbench_s(task):
    lines = [
        " ".join(matbench_id(task, row) for row in fold_rows(task, fold)) for fold in range(N_FOLDS)
    ]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == FOLDS[task]


@pytest.mark.parametrize("theirs", [False, True])
def test_the_split_has_a_fold_as_test(theirs):
    task, rows = "matbench_jdft2d", range(636)
    ids = [matbench_id(task, k) if theirs else f"{task}-{k}" for k in rows]
    table = pa.table({"id": ids})
    tests = []
    for fold in range(N_FOLDS):
        splits = split_crystals(table, SplitConfig(method="matbench", fold=fold))
        parts = list(splits.values())
        assert sorted(splits) == sorted(ids) and parts.count("val") == 64
        tests.append({id for id, part in splits.items() if part == "test"})
        assert {place(id)[1] for id in tests[-1]} == set(fold_rows(task, fold).tolist())
    assert len(set.union(*tests)) == sum(map(len, tests)) == 636


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["mine-1"], "mine-1 is no structure of matbench"),
        (["matbench_jdft2d-636"], "matbench_jdft2d-636 is no structure"),
        (["mb-steels-001"], "mb-steels-001 is no structure"),
        (["matbench_jdft2d-0", "matbench_phonons-0"], "one task of matbench"),
    ],
)
def test_other_crystals_are_refused(ids, message):
    with pytest.raises(UserError, match=message):
        split_crystals(pa.table({"id": ids}), SplitConfig(method="matbench"))


def test_another_number_of_folds_is_refused():
    with pytest.raises(UserError, match="matbench has 5 folds"):
        split_crystals(
            pa.table({"id": ["matbench_jdft2d-0"]}), SplitConfig(method="matbench", folds=4)
        )


def test_a_fold_is_for_the_two_methods_that_have_folds():
    assert parse_config({"split": {"method": "matbench", "fold": 4}}).split.fold == 4
    with pytest.raises(UserError, match="is for method kfold and matbench only"):
        parse_config({"split": {"method": "random", "fold": 4}})
