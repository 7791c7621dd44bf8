"""Predictions, errors and baselines, compared with arithmetic in the tests."""

import json
import shutil
import subprocess
import sys
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from dglframer.common.composition import PENALTIES, element_fractions
from dglframer.common.elements import SYMBOLS
from dglframer.common.errors import UserError
from dglframer.config import Config
from dglframer.config.data import GraphsConfig
from dglframer.config.networks import CrystalFramerConfig
from dglframer.config.training import TrainingConfig
from dglframer.data.split import SPLITS, read_split
from dglframer.evaluation.baselines import composition_prediction
from dglframer.evaluation.evaluate import evaluate
from dglframer.graphs.dataset import GraphDataset
from dglframer.networks.model_directory import load_model, save_model
from dglframer.training.run import train_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def models(tiny_run, tmp_path_factory):
    small = CrystalFramerConfig(blocks=1, width=16, heads=2, feedforward=16)
    config = Config(crystalframer=small, training=TrainingConfig(epochs=2, averaged_epochs=1))
    parts = read_split(tiny_run.split)
    sets = [GraphDataset(tiny_run.graphs, parts[name]) for name in ("train", "val")]
    root = tmp_path_factory.mktemp("models")
    for seed in (0, 1):
        save_model(train_model(config, *sets, seed, CPU), root / f"seed-{seed}")
    return [root / "seed-0", root / "seed-1"]


def test_two_models_of_one_seed_have_columns_of_their_own(tiny_run, models, tmp_path):
    """Members of an ensemble may differ in their settings instead."""
    twin = load_model(models[1])
    twin.history["seed"] = 0
    save_model(twin, tmp_path / "twin")
    chosen = [models[0], tmp_path / "twin", models[1]]
    metrics = evaluate(tiny_run.graphs, tiny_run.split, chosen, tmp_path / "out", CPU)
    row = pq.read_table(tmp_path / "out" / "predictions.parquet").to_pylist()[0]
    members = [row[f"prediction_seed_{label}"] for label in ("0", "0_2", "1")]
    assert members[0] != members[1] == members[2]
    assert row["prediction"] == pytest.approx(np.mean(members))
    assert all(
        list(one["test_mae_by_seed"]) == ["0", "0_2", "1"] for one in metrics["targets"].values()
    )


def test_metrics_are_those_of_the_predictions(tiny_run, models, tmp_path):
    metrics = evaluate(tiny_run.graphs, tiny_run.split, models, tmp_path, CPU)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    rows = pq.read_table(tmp_path / "predictions.parquet").to_pylist()
    assert len(rows) == 12 * 2
    labels = {one.id: one.labels for one in tiny_run.valid}
    for row in rows:
        assert row["target"] == labels[row["id"]][row["property"]]
        seeds = [row["prediction_seed_0"], row["prediction_seed_1"]]
        assert seeds[0] != seeds[1]
        assert row["prediction"] == pytest.approx(np.mean(seeds))
        assert row["spread"] == pytest.approx(np.std(seeds, ddof=1))
    for name, result in metrics["targets"].items():
        for split in SPLITS:
            mine = [row for row in rows if row["property"] == name and row["split"] == split]
            error = np.array([row["prediction"] - row["target"] for row in mine])
            target = np.array([row["target"] for row in mine])
            assert result["splits"][split]["crystals"] == len(mine)
            assert result["splits"][split]["mae"] == pytest.approx(np.abs(error).mean())
            assert result["splits"][split]["rmse"] == pytest.approx(np.sqrt((error**2).mean()))
            r2 = 1 - (error**2).sum() / ((target - target.mean()) ** 2).sum()
            assert result["splits"][split]["r2"] == pytest.approx(r2)
        median = np.median([row["target"] for row in rows_of(rows, name, "train")])
        test = np.array([row["target"] for row in rows_of(rows, name, "test")])
        expected = np.abs(test - median).mean()
        assert result["median_baseline"]["test_mae"] == pytest.approx(expected)
        ratio = result["splits"]["test"]["mae"] / expected
        assert result["test_mae_over_median"] == pytest.approx(ratio)


def test_errors_are_also_told_by_the_elements_of_the_training_crystals(tiny_run, models, tmp_path):
    parts = read_split(tiny_run.split)
    elements = {one.id: {SYMBOLS[z - 1] for z in one.numbers_N} for one in tiny_run.valid}
    counts = Counter(symbol for id in parts["train"] for symbol in elements[id])
    stated = json.loads((models[0] / "model.json").read_text())["training_elements"]
    assert stated == counts
    metrics = evaluate(tiny_run.graphs, tiny_run.split, models, tmp_path, CPU)
    rows = pq.read_table(tmp_path / "predictions.parquet").to_pylist()
    for name, result in metrics["targets"].items():
        errors = {True: [], False: []}
        for row in rows_of(rows, name, "test"):
            is_known = elements[row["id"]] <= counts.keys()
            errors[is_known].append(abs(row["prediction"] - row["target"]))
        for is_known, part in ((True, "known"), (False, "unknown")):
            found = result["by_elements"][part]
            assert found["crystals"] == len(errors[is_known])
            mae = np.mean(errors[is_known]) if errors[is_known] else None
            assert found["mae"] == (mae if mae is None else pytest.approx(mae))
        assert errors[False], "a test crystal with another element"


def test_intervals_are_those_of_the_validation_errors(tiny_run, models, tmp_path):
    """Three validation crystals: the half width of a coverage of 0.68 is the largest error."""
    metrics = evaluate(tiny_run.graphs, tiny_run.split, models[:1], tmp_path, CPU)
    rows = pq.read_table(tmp_path / "predictions.parquet").to_pylist()
    assert all(row["low"] is None and row["high"] is None for row in rows)  # of 0.9: too few
    [entry, alone] = json.loads((tmp_path / "intervals.json").read_text())["sets"]
    assert entry == alone
    for name, result in metrics["targets"].items():
        error = [abs(row["prediction"] - row["target"]) for row in rows_of(rows, name, "val")]
        interval = entry["targets"][name]
        assert interval["quantiles"]["0.68"] == pytest.approx(max(error))
        assert interval["quantiles"]["0.9"] is None and interval["validation_crystals"] == 3
        test = [abs(row["prediction"] - row["target"]) for row in rows_of(rows, name, "test")]
        share = np.mean([one <= max(error) for one in test])
        assert result["intervals"]["coverage"]["0.68"] == pytest.approx(share)
        assert result["intervals"]["median_width"]["0.68"] == pytest.approx(2 * max(error))


def rows_of(rows, name, split):
    return [row for row in rows if (row["property"], row["split"]) == (name, split)]


def test_one_model_has_no_spread(tiny_run, models, tmp_path):
    evaluate(tiny_run.graphs, tiny_run.split, models[:1], tmp_path, CPU)
    assert np.isnan(pq.read_table(tmp_path / "predictions.parquet")["spread"].to_numpy()).all()


def test_model_for_another_cutoff_is_refused(tiny_run, models, tmp_path):
    from dglframer.graphs.shards import write_graphs

    write_graphs(
        tiny_run.crystals,
        tmp_path / "graphs",
        GraphsConfig(cutoff_angstrom=4.0, crystals_per_shard=100),
    )
    with pytest.raises(UserError, match=r"cutoff of 5\.0.*at 4\.0"):
        evaluate(tmp_path / "graphs", tiny_run.split, models, tmp_path, CPU)


def test_composition_baseline_finds_a_linear_law():
    rng = np.random.default_rng(0)
    numbers = [rng.integers(1, 6, size=rng.integers(1, 9)) for _ in range(200)]
    energy_98 = rng.normal(size=98)
    fractions = element_fractions(numbers)
    assert fractions.shape == (200, 98) and fractions.sum(1) == pytest.approx(1)
    assert fractions[0, numbers[0][0] - 1] == pytest.approx((numbers[0] == numbers[0][0]).mean())
    targets = fractions @ energy_98
    part = np.arange(200) % 10
    train, val, test = part < 8, part == 8, part == 9
    prediction = composition_prediction(fractions, targets, train, val)
    assert np.abs(prediction - targets)[test].max() < 1e-3
    # the baseline does not depend on the test targets
    hidden = np.where(test, 99.0, targets)
    assert np.array_equal(composition_prediction(fractions, hidden, train, val), prediction)


def test_the_penalty_of_the_composition_baseline_is_chosen_on_val():
    """Noisy labels of few crystals: the training error alone would choose the smallest penalty."""
    rng = np.random.default_rng(1)
    fractions = element_fractions([rng.integers(1, 40, size=4) for _ in range(60)])
    targets = fractions @ rng.normal(size=98) + rng.normal(size=60)
    train, val = np.arange(60) < 30, np.arange(60) >= 40

    def ridge(penalty: float) -> np.ndarray:
        x, mean = fractions[train], targets[train].mean()
        weights = np.linalg.solve(x.T @ x + penalty * np.eye(98), x.T @ (targets[train] - mean))
        return fractions @ weights + mean

    def best(part: np.ndarray) -> float:
        return min(PENALTIES, key=lambda one: np.abs(ridge(one) - targets)[part].mean())

    assert best(train) < best(val)
    prediction = composition_prediction(fractions, targets, train, val)
    np.testing.assert_allclose(prediction, ridge(best(val)), rtol=1e-9)


def test_the_verb_needs_no_course_of_a_training(tiny_run, models, tmp_path):
    """A model as it is shipped has none: everything else is written."""
    copy = tmp_path / "shipped"
    copy.mkdir()
    for name in ("model.json", "model.safetensors"):
        shutil.copyfile(models[0] / name, copy / name)
    words = [
        "dglframer",
        "evaluate",
        "--graphs",
        str(tiny_run.graphs),
        "--split",
        str(tiny_run.split),
    ]
    words += ["--models", str(copy), "--device", "cpu", "--out", str(tmp_path / "out")]
    run = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "none of the models has a metrics.jsonl" in run.stderr
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert "learning_curve.svg" not in written and {"metrics.json", "parity.svg"} <= written
