"""Conformal intervals: quantiles by hand, coverage by simulation, and the way to `predict`."""

import json
import logging
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.crystals import POSCAR
from helpers.models import make_model

from dglframer.cli import main as cli
from dglframer.common.errors import DamagedFile
from dglframer.evaluation.errors import interval_summary
from dglframer.evaluation.intervals import (
    Interval,
    calibrated,
    coverage_on,
    find_intervals,
    quantile,
    write_intervals,
)
from dglframer.networks.archive import unpacked, write_models
from dglframer.networks.model_directory import members

ONE_MODEL = np.full(9, np.nan)


def test_the_quantile_is_the_one_of_the_theorem():
    scores = np.arange(1.0, 10)  # n = 9: the (n + 1) c smallest
    assert [quantile(scores, c) for c in (0.5, 0.8, 0.9)] == [5, 8, 9]
    assert quantile(scores, 0.95) is None


def test_one_model_has_intervals_of_one_width():
    error_G = np.array([0.3, -0.1, 0.2, -0.9, 0.5, 0.4, -0.6, 0.8, 0.7])
    interval = calibrated(error_G + 2, np.full(9, 2.0), ONE_MODEL, None)
    assert interval.floor is None and interval.validation_crystals == 9
    low, high = interval.ends(np.array([1.0, -5.0]), np.array([np.nan, np.nan]), 0.9)
    assert low == pytest.approx([0.1, -5.9]) and high == pytest.approx([1.9, -4.1])
    assert np.isnan(interval.ends(np.array([1.0]), np.array([np.nan]), 0.99)).all()


def drawn(n: int, seed: int):
    """Labels, predictions and spreads of an ensemble whose spread tells half of the error's size."""
    rng = np.random.default_rng(seed)
    size_G = rng.lognormal(0, 1, n)
    prediction_G = rng.normal(size=n)
    return prediction_G + size_G * rng.normal(size=n), prediction_G, size_G / 2


@pytest.mark.parametrize("follows", [True, False])
def test_they_cover_what_they_state(follows):
    spread = (lambda s: s) if follows else (lambda s: np.full_like(s, np.nan))
    target, prediction, s = drawn(4000, 0)
    interval = calibrated(target, prediction, spread(s), None)
    assert (interval.floor is not None) == follows
    target, prediction, s = drawn(20_000, 1)
    found = coverage_on(interval, target, prediction, spread(s))
    for nominal, share in found["coverage"].items():
        assert share == pytest.approx(float(nominal), abs=0.02)
    assert found["test_crystals"] == 20_000


def test_following_an_honest_spread_makes_them_narrower():
    target, prediction, spread = drawn(4000, 0)
    wide = calibrated(target, prediction, np.full_like(spread, np.nan), None)
    narrow = calibrated(target, prediction, spread, None)
    widths = [
        coverage_on(one, target, prediction, spread)["median_width"]["0.9"]
        for one in (wide, narrow)
    ]
    assert widths[1] < 0.6 * widths[0]


def test_a_spread_that_tells_nothing_costs_little():
    rng = np.random.default_rng(0)
    target, prediction = rng.normal(size=(2, 4000))
    spread = rng.lognormal(0, 1, 4000)
    wide = calibrated(target, prediction, np.full(4000, np.nan), None)
    other = calibrated(target, prediction, spread, None)
    mean = [np.subtract(*one.ends(prediction, spread)[::-1]).mean() for one in (wide, other)]
    assert mean[1] < 1.15 * mean[0]


def test_of_a_logarithm_the_ends_are_positive_factors():
    rng = np.random.default_rng(0)
    prediction = 10 ** rng.uniform(0, 3, 2000)
    target = prediction * 10 ** rng.normal(0, 0.2, 2000)
    interval = calibrated(target, prediction, np.full(2000, np.nan), "log10")
    low, high = interval.ends(np.array([1.0, 100.0]), np.array([np.nan, np.nan]))
    factor = high[0]
    assert factor == pytest.approx(10 ** (0.2 * 1.645), rel=0.05)
    assert low == pytest.approx([1 / factor, 100 / factor])
    assert high == pytest.approx([factor, 100 * factor])
    # a spread in the unit counts in powers of ten: the same share of the prediction, the same width
    followed = Interval("log10", 0.1, {"0.9": 2.0}, 9)
    low, high = followed.ends(np.array([1.0, 100.0]), np.array([0.1, 10.0]))
    assert high[1] / high[0] == pytest.approx(100) and low[1] / low[0] == pytest.approx(100)


def test_missing_labels_do_not_count():
    interval = Interval(None, None, {str(c): 1.0 for c in (0.5, 0.68, 0.8, 0.9, 0.95, 0.99)}, 9)
    found = coverage_on(interval, np.array([0.5, np.nan, 3.0]), np.zeros(3), np.full(3, np.nan))
    assert found["test_crystals"] == 2 and found["coverage"]["0.9"] == 0.5


def test_the_lines_for_a_person():
    metrics = {"unit": "eV", "intervals": {"validation_crystals": 99, "test_crystals": 40}}
    metrics["intervals"] |= {"coverage": {"0.9": 0.875}, "median_width": {"0.9": 0.25}}
    line = "gap: intervals of 90% hold 88% of 40 test labels, median width 0.2500 eV"
    assert interval_summary("gap", metrics) == line
    metrics["intervals"]["coverage"] = {"0.5": 0.5}
    assert (
        interval_summary("gap", metrics) == "gap: no intervals, 99 validation crystals are too few"
    )


@pytest.fixture
def models(tmp_path):
    return [make_model(tmp_path / "run" / "models" / f"seed-{k}", k) for k in (0, 1)]


QUANTILES = {"0.5": 1.0, "0.68": 1.0, "0.8": 1.0, "0.9": 2.0, "0.95": 3.0, "0.99": None}


def test_they_are_found_by_the_weights_of_just_these_models(models, tmp_path):
    both, first = (Interval(None, floor, QUANTILES, 9) for floor in (0.5, None))
    assert find_intervals(models) == {}
    path = tmp_path / "run" / "evaluation" / "intervals.json"
    write_intervals(path, [(models, {"energy": both}), (models[:1], {"energy": first})])
    assert find_intervals(models) == find_intervals(models[::-1]) == {"energy": both}
    assert find_intervals(models[:1]) == {"energy": first}
    assert find_intervals(models[1:]) == {}
    path.rename(tmp_path / "run" / "models" / "intervals.json")
    assert find_intervals(models) == {"energy": both}
    (tmp_path / "run" / "models" / "intervals.json").write_text('{"sets": [{}]}')
    with pytest.raises(DamagedFile, match=r"intervals\.json"):
        find_intervals(models)


def test_they_go_with_the_models_into_an_archive(models, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    both = Interval(None, 0.5, QUANTILES, 9)
    write_intervals(
        tmp_path / "run" / "evaluation" / "intervals.json", [(models, {"energy": both})]
    )
    assert write_models(tmp_path / "run" / "models", tmp_path / "mine.zip") == 2
    assert find_intervals(members(unpacked(tmp_path / "mine.zip"))) == {"energy": both}


def predicted(tmp_path, monkeypatch, *options: str) -> list[dict]:
    (tmp_path / "salt.vasp").write_text(POSCAR.format("x"))
    (tmp_path / "bad.cif").write_text("data_nothing\n")
    out = tmp_path / "out.parquet"
    words = [tmp_path / "run" / "models", tmp_path / "salt.vasp", tmp_path / "bad.cif"]
    words += ["--out", out, "--device", "cpu", *options]
    monkeypatch.setattr(sys, "argv", ["dglframer", "predict", *map(str, words)])
    assert cli.main() == 1
    return pq.read_table(out).to_pylist()


def test_predict_states_them_and_abstains_by_their_width(models, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    [row, bad] = predicted(tmp_path, monkeypatch)
    assert row["low"] is None and row["high"] is None and "no intervals.json" in caplog.text
    path = tmp_path / "run" / "evaluation" / "intervals.json"
    write_intervals(path, [(models, {"energy": Interval(None, 0.5, QUANTILES, 9)})])
    [row, bad] = predicted(tmp_path, monkeypatch)
    half = 2.0 * (0.5 + row["spread"])
    assert row["low"] == pytest.approx(row["prediction"] - half)
    assert row["high"] == pytest.approx(row["prediction"] + half)
    assert bad["low"] is None and bad["error"]
    [wider, _] = predicted(tmp_path, monkeypatch, "--coverage", "0.95")
    assert wider["high"] - wider["low"] == pytest.approx(3.0 * half)
    [none, _] = predicted(tmp_path, monkeypatch, "--coverage", "0.99")
    assert none["low"] is None and none["prediction"] is not None
    for limit, abstains in ((2 * half - 0.01, True), (2 * half + 0.01, False)):
        [row, bad] = predicted(tmp_path, monkeypatch, "--abstain-above", str(limit))
        assert row["abstained"] == abstains == (row["prediction"] is None)
        assert row["high"] - row["low"] == pytest.approx(2 * half) and not bad["abstained"]


def test_a_coverage_that_nothing_is_calibrated_for_is_refused(
    models, tmp_path, monkeypatch, capsys
):
    words = "predict run/models x.cif --out o.csv --coverage 0.7"
    monkeypatch.setattr(sys, "argv", ["dglframer", *words.split()])
    with pytest.raises(SystemExit):
        cli.main()
    assert "0.68" in capsys.readouterr().err


def test_the_file_states_its_format(models, tmp_path):
    write_intervals(tmp_path / "i.json", [(models, {})])
    assert json.loads((tmp_path / "i.json").read_text())["format_version"] == 1
