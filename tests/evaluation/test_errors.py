"""The errors of a target by hand: of the ensemble, its members, and what is told to a person."""

import numpy as np
import pytest

from dglframer.evaluation import errors as module
from dglframer.evaluation.errors import errors, interval_summary, summary, target_metrics
from dglframer.networks.model_directory import Target

SPLITS = np.array(["train", "train", "val", "test", "test", "test"])
TARGET = np.array([1.0, 10.0, 100.0, 1.0, 10.0, np.nan])
PREDICTIONS = np.array([[1.0, 10.0, 50.0, 2.0, 14.0, 5.0], [1.0, 10.0, 150.0, 4.0, 10.0, 7.0]])


def test_errors_by_hand():
    found = errors(np.array([1.0, 2.0, 6.0]), np.array([2.0, 2.0, 3.0]))
    assert found == {
        "crystals": 3,
        "mae": pytest.approx(4 / 3),
        "rmse": pytest.approx(np.sqrt(10 / 3)),
        "r2": pytest.approx(1 - 10 / 14),
    }


def test_equal_labels_have_no_r2():
    assert errors(np.array([2.0, 2.0]), np.array([1.0, 2.0]))["r2"] == 0


@pytest.fixture
def baselines(monkeypatch) -> list:
    """What the baselines are asked, which then answer with a median of 4."""
    asked = []

    def answer(features_GF, target_G, transform, parts):
        asked.append((features_GF, target_G, transform, parts))
        return {"median_baseline": {"test_mae": 4.0}}

    monkeypatch.setattr(module, "baseline_errors", answer)
    return asked


@pytest.mark.parametrize("transform", [None, "log10"])
def test_metrics_of_a_target_by_hand(baselines, transform):
    """The ensemble is the mean of its members; crystals without a label do not count."""
    target = Target("modulus", "GPa", 0.0, 1.0, transform)
    features_GF = np.zeros((6, 2))
    found = target_metrics(TARGET, PREDICTIONS, SPLITS, features_GF, target, ["7", "None"])
    assert (found["unit"], found["transform"]) == ("GPa", transform)
    assert [found["splits"][part]["crystals"] for part in ("train", "val", "test")] == [2, 1, 2]
    assert [found["splits"][part]["mae"] for part in ("train", "val", "test")] == [0, 0, 2]
    assert found["test_crystals"] == 2 and type(found["test_crystals"]) is int
    assert found["test_mae_by_seed"] == {"7": 2.5, "None": 1.5}
    assert found["median_baseline"] == {"test_mae": 4.0}
    assert found["test_mae_over_median"] == 0.5
    if transform is None:
        assert "transformed_test_mae" not in found
    else:
        expected = (np.log10(3) + np.log10(1.2)) / 2
        assert found["transformed_test_mae"] == pytest.approx(expected)
    ((features, labels, name, parts),) = baselines
    assert features is features_GF and labels is TARGET and name == transform
    assert {part: rows.tolist() for part, rows in parts.items()} == {
        "train": [True, True, False, False, False, False],
        "val": [False, False, True, False, False, False],
        "test": [False, False, False, True, True, False],
    }


def metrics(unit: str | None, mae: float) -> dict:
    return {
        "unit": unit,
        "splits": {"test": {"mae": mae}},
        "boosting_baseline": {"test_mae": 0.2},
        "median_baseline": {"test_mae": 1.0},
    }


@pytest.mark.parametrize(
    ("unit", "mae", "line"),
    [
        ("eV", 0.1, "gap: test MAE 0.1000 eV, gradient boosting 0.2000, training median 1.0000"),
        (None, 0.1, "gap: test MAE 0.1000, gradient boosting 0.2000, training median 1.0000"),
        (
            "eV",
            0.2,
            "gap: test MAE 0.2000 eV, gradient boosting 0.2000, training median 1.0000 "
            "(the network does not beat gradient boosting)",
        ),
    ],
)
def test_the_line_about_the_error(unit, mae, line):
    assert summary("gap", metrics(unit, mae)) == line


@pytest.mark.parametrize(("unit", "width"), [("eV", "0.5000 eV"), (None, "0.5000")])
def test_the_line_about_the_intervals(unit, width):
    found = {
        "validation_crystals": 50,
        "test_crystals": 40,
        "coverage": {"0.9": 0.875},
        "median_width": {"0.9": 0.5},
    }
    line = interval_summary("gap", {"unit": unit, "intervals": found})
    assert line == f"gap: intervals of 90% hold 88% of 40 test labels, median width {width}"
    few = {"validation_crystals": 3, "coverage": {"0.5": 1.0}}
    line = interval_summary("gap", {"unit": unit, "intervals": few})
    assert line == "gap: no intervals, 3 validation crystals are too few"
