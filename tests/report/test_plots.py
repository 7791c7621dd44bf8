"""The figures: equal data give equal bytes, every part is drawn, any property name and size works."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from helpers.figures import texts

from dglframer.common.files import write_json
from dglframer.common.parquet import write_parquet
from dglframer.evaluation.errors import errors
from dglframer.evaluation.evaluate import predictions_table
from dglframer.report import plots
from dglframer.report.inspection import distribution
from dglframer.training.metrics import MetricsLog

SPLIT = np.array(["train"] * 20 + ["val"] * 5 + ["test"] * 5)


def write_predictions(path: Path, units: dict[str, str], seeds: list[int], rows: int = 1) -> None:
    """predictions.parquet of ``rows`` times 30 crystals with random numbers."""
    rng = np.random.default_rng(1)
    split = np.repeat(SPLIT, rows)
    target = rng.normal(size=(len(split), len(units)))
    predictions = target + rng.normal(scale=0.2, size=(len(seeds), *target.shape))
    ids = [f"c{k}" for k in range(len(split))]
    write_parquet(path, predictions_table(ids, split, units, target, predictions, seeds))


def write_epochs(folder: Path, units: dict[str, str], averaged: int) -> Path:
    """metrics.jsonl of four epochs, and the part of model.json that the figures read."""
    lines = [
        {
            "epoch": epoch,
            "averaged": epoch > 4 - averaged,
            "train_loss": 1 / epoch,
            "val_mae": dict.fromkeys(units, 2 / epoch),
        }
        for epoch in range(1, 5)
    ]
    MetricsLog(folder / "metrics.jsonl", lines)
    targets = [{"name": name, "unit": unit} for name, unit in units.items()]
    write_json(folder / "model.json", {"targets": targets})
    return folder


def parity(path: Path, units: dict[str, str], seeds: list[int], rows: int = 1) -> str:
    write_predictions(path / "predictions.parquet", units, seeds, rows)
    plots.parity_plot(path / "predictions.parquet", path / "parity.svg")
    return (path / "parity.svg").read_text(encoding="utf-8")


def test_parity_has_a_panel_for_each_property(tmp_path: Path) -> None:
    words = texts(parity(tmp_path, {"energy": "eV/atom", "gap": ""}, [0, 1]))
    assert {"energy", "gap", "train (20)", "val (5)", "test (5)"} <= set(words)
    assert words.count("target (eV/atom)") == words.count("prediction (eV/atom)") == 1
    assert words.count("target") == 1, "a property without a unit has no brackets"


def test_parity_states_the_test_errors_of_the_evaluation(tmp_path: Path) -> None:
    svg = parity(tmp_path, {"energy": "eV"}, [0, 1])
    data = plots.read_predictions(tmp_path / "predictions.parquet")["energy"]
    test = data.split == "test"
    expected = errors(data.target[test], data.prediction[test])
    assert f"test MAE {expected['mae']:.4g} eV" in texts(svg)
    assert f"test R² {expected['r2']:.4f}" in texts(svg)


def test_bars_show_the_spread_of_several_seeds_only(tmp_path: Path) -> None:
    assert "LineCollection" in parity(tmp_path, {"energy": "eV"}, [0, 1])
    assert "LineCollection" not in parity(tmp_path, {"energy": "eV"}, [0])


def test_equal_data_give_equal_bytes_whatever_the_users_style(tmp_path: Path) -> None:
    first = parity(tmp_path, {"energy": "eV"}, [0, 1])
    with matplotlib.rc_context({"font.size": 30, "svg.hashsalt": None, "axes.grid": False}):
        assert parity(tmp_path, {"energy": "eV"}, [0, 1]) == first
    assert "<metadata>" not in first and "<dc:date>" not in first


def test_many_points_become_pixels(tmp_path: Path) -> None:
    svg = parity(tmp_path, {"energy": "eV"}, [0, 1], rows=1000)
    assert "data:image/png" in svg
    assert len(svg) < 3_000_000


def test_a_property_may_have_any_name(tmp_path: Path) -> None:
    name = "<b>cost_$x^2 & {more}"
    svg = parity(tmp_path, {name: "$"}, [0])
    assert name in texts(svg) and "<b>" not in svg
    folder = write_epochs(tmp_path / "seed-0", {name: "$"}, averaged=0)
    plots.learning_curve_plot([folder], tmp_path / "curve.svg")
    assert name in texts((tmp_path / "curve.svg").read_text(encoding="utf-8"))


def test_a_constant_target_can_be_drawn(tmp_path: Path) -> None:
    table = predictions_table(["a", "b"], np.array(["train", "test"]), {"x": ""}, *CONSTANT, [0])
    write_parquet(tmp_path / "predictions.parquet", table)
    plots.parity_plot(tmp_path / "predictions.parquet", tmp_path / "parity.svg")
    data = plots.read_predictions(tmp_path / "predictions.parquet")["x"]
    assert "test R² 0.0000" in texts((tmp_path / "parity.svg").read_text(encoding="utf-8"))
    assert texts(plots.svg([plots.label_panel(data)]))


CONSTANT = (np.ones((2, 1)), np.ones((1, 2, 1)))


def test_learning_curves_name_seeds_units_and_averaging(tmp_path: Path) -> None:
    units = {"energy": "eV/atom", "gap": "eV"}
    folders = [write_epochs(tmp_path / f"seed-{seed}", units, averaged=2) for seed in (0, 1)]
    plots.learning_curve_plot(folders, tmp_path / "curve.svg")
    words = texts((tmp_path / "curve.svg").read_text(encoding="utf-8"))
    assert {"training loss", "energy", "gap", "validation MAE (eV/atom)"} <= set(words)
    assert words.count("seed-0") == words.count("seed-1") == words.count("weights averaged") == 3


def test_no_shade_without_averaging(tmp_path: Path) -> None:
    folder = write_epochs(tmp_path / "seed-0", {"energy": "eV"}, averaged=0)
    plots.learning_curve_plot([folder], tmp_path / "curve.svg")
    assert "weights averaged" not in (tmp_path / "curve.svg").read_text(encoding="utf-8")


def test_groups_are_counted(tmp_path: Path) -> None:
    groups = {"cubic": np.array([0.1]), "trigonal": np.array([0.1, 0.2, 0.4])}
    words = texts(plots.svg([plots.group_panel("crystal system", groups, "eV")]))
    assert {"cubic  (n = 1)", "trigonal  (n = 3)", "absolute test error (eV)"} <= set(words)


def test_every_crystal_is_in_the_histogram_of_sizes() -> None:
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    sizes = distribution(np.array([1, 1, 2, 61, 200]), "", whole=True)
    plots.histogram_panel("atoms", sizes)(axes)
    assert axes.patches[0].get_data().values.sum() == 5


def test_coverage_shows_the_intervals_or_says_why_not(tmp_path: Path) -> None:
    found = {"coverage": {"0.5": 0.4, "0.9": 0.95}, "test_crystals": 20}
    for intervals in (found, {"coverage": {}, "test_crystals": 20}):
        plots.coverage_plot({"targets": {"gap": {"intervals": intervals}}}, tmp_path / "c.svg")
        words = texts((tmp_path / "c.svg").read_text(encoding="utf-8"))
        assert "nominal coverage (%)" in words
        assert ("Too few validation crystals" in words) == (not intervals["coverage"])


def test_coverage_in_percent() -> None:
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    intervals = {"coverage": {"0.5": 0.4, "0.9": 0.95}, "test_crystals": 25}
    plots.coverage_panel("gap", intervals)(axes)
    points = axes.containers[0].lines[0].get_xydata()
    assert points == pytest.approx(np.array([[50, 40], [90, 95]]))
    bars = axes.containers[0].lines[2][0].get_segments()
    assert bars[0][:, 1] == pytest.approx([30, 50]), "50 % of 25 crystals deviate by 10 %"
