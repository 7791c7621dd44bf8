"""Training, evaluation and the table of the N-body experiment, on few and short simulations."""

import json

import numpy as np
import pytest
import torch

from dglframer.common.errors import DamagedFile, TrainingFailed
from dglframer.common.files import sha256, write_json
from dglframer.config import Config
from dglframer.config.experiments import NbodyConfig
from dglframer.experiments.data_set import PARTS
from dglframer.experiments.fitting import Course, batches
from dglframer.experiments.model_folder import load_trained, save_trained
from dglframer.experiments.nbody.bounds import measure_bounds
from dglframer.experiments.nbody.budgets import BUDGETS, budget_of, trainings
from dglframer.experiments.nbody.evaluation import evaluate
from dglframer.experiments.nbody.figures import (
    horizon_figure,
    learning_figure,
    rotation_figure,
    turned_along,
)
from dglframer.experiments.nbody.simulation import simulate, write_data_set
from dglframer.experiments.nbody.table import LABELS, markdown, read_results
from dglframer.experiments.nbody.task import examples
from dglframer.experiments.nbody.training import (
    Description,
    build_described,
    mean_errors,
    train,
)

CPU = torch.device("cpu")
SIZES = {"train": 300, "val": 40, "test": 30}


@pytest.fixture(scope="module")
def parts():
    return {part: simulate(count, 0, part, "norm") for part, count in SIZES.items()}


@pytest.fixture(scope="module")
def data(parts, tmp_path_factory):
    path = tmp_path_factory.mktemp("nbody") / "data.safetensors"
    write_data_set(path, parts, "norm", seed=0)
    return path


@pytest.fixture(scope="module")
def models(parts, data):
    """Folders of four trainings: two seeds, two horizons."""
    kinds = [
        ("egnn", 10, 0),
        ("egnn", 10, 1),
        ("set_transformer", 10, 0),
        ("se3_transformer", 2, 0),
    ]
    kinds += [("se3_transformer", 10, 0)]
    folders = []
    for name, frames, seed in kinds:
        description = Description(name, frames, seed, steps=12, degrees=2)
        sets = [examples(parts[part], frames) for part in ("train", "val")]
        folders.append(data.parent / f"{name}-{frames}-{seed}")
        trained = train(description, *sets)
        save_trained(trained, vars(description), sha256(data), 1, folders[-1])
    return folders


def test_targets_are_what_has_changed(parts):
    of = examples(parts["test"], 3, dtype=torch.float64)
    x, v = parts["test"].positions, parts["test"].velocities
    assert np.abs(of.positions.numpy() + of.targets[:, :, 0].numpy() - x[:, 3]).max() < 1e-12
    assert np.abs(of.velocities.numpy() + of.targets[:, :, 1].numpy() - v[:, 3]).max() < 1e-12


def test_every_shuffle_has_every_row_at_most_once():
    def drawn(count, steps, seed):
        return list(batches(Course("", count, 128, steps, 1, seed)))

    rows = drawn(300, 7, seed=0)
    assert len(rows) == 7 and all(len(one) == 128 for one in rows)
    for first in range(0, 6, 2):
        assert len(set(torch.cat(rows[first : first + 2]).tolist())) == 256
    again = drawn(300, 7, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(rows, again, strict=True))
    assert not torch.equal(rows[0], drawn(300, 1, seed=1)[0])
    assert [len(one) for one in drawn(20, 2, seed=0)] == [20, 20]


def test_equal_arguments_give_equal_weights_and_curves(parts):
    sets = [examples(parts[part], 10) for part in ("train", "val")]
    before = torch.get_rng_state()
    runs = [train(Description("deepset", 10, seed, 60, 2), *sets) for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), before)
    first, same, other = ({**run.network.state_dict()} for run in runs)
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert runs[0].curve == runs[1].curve != runs[2].curve
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_the_best_weights_on_validation_are_kept(parts):
    sets = [examples(parts[part], 10) for part in ("train", "val")]
    run = train(Description("deepset", 10, 0, 400, 2), *sets)
    sums = [line["val_mse_x"] + line["val_mse_v"] for line in run.curve]
    assert run.curve[-1]["step"] == 400 and len(sums) == 40
    assert run.best == run.curve[int(np.argmin(sums))]
    assert run.best["step"] < 400, "300 simulations are overfitted before the end"
    assert mean_errors(run.network, sets[1]) == (run.best["val_mse_x"], run.best["val_mse_v"])
    assert run.curve[-1]["train_loss"] < run.curve[0]["train_loss"]
    assert run.seconds_per_step > 0


def test_an_infinite_error_stops_the_training(parts):
    sets = [examples(parts[part], 10) for part in ("train", "val")]
    sets[0].targets[:] = float("inf")
    with pytest.raises(TrainingFailed, match="deepset"):
        train(Description("deepset", 10, 0, 10, 2), *sets)


def test_models_are_read_as_they_were_written(models, parts):
    network, values = load_trained(models[0], build_described)
    of = examples(parts["val"], 10)
    assert mean_errors(network, of) == (values["best"]["val_mse_x"], values["best"]["val_mse_v"])
    assert values["parameters"] == 134_288


@pytest.mark.parametrize("file", ["model.safetensors", "model.json", "curve.jsonl"])
def test_a_damaged_model_is_named(models, data, tmp_path, file):
    folder = tmp_path / "egnn"
    folder.mkdir()
    for path in models[0].iterdir():
        content = path.read_bytes()
        (folder / path.name).write_bytes(content[:-20] if path.name == file else content)
    with pytest.raises(DamagedFile, match="egnn"):
        evaluate(data, [folder], CPU)


def test_a_model_of_other_data_is_refused(models, parts, tmp_path):
    write_data_set(tmp_path / "other", {**parts, "val": parts["test"]}, "norm", seed=0)
    with pytest.raises(DamagedFile, match="another data set"):
        evaluate(tmp_path / "other", models[:1], CPU)


@pytest.fixture(scope="module")
def results(models, data, parts):
    """evaluation.json and bounds.json."""
    folder = data.parent
    write_json(folder / "evaluation.json", evaluate(data, models, CPU))
    write_json(folder / "bounds.json", measure_bounds(parts, "norm", 2, 50, 0))
    return folder / "evaluation.json", folder / "bounds.json"


def test_rows_of_the_evaluation(results, models, parts):
    evaluation = json.loads(results[0].read_text())
    rows = {(row["model"], row["frames"], row.get("seed")): row for row in evaluation["rows"]}
    assert len(rows) == 6
    network, _ = load_trained(models[1], build_described)
    expected = mean_errors(network, examples(parts["test"], 10))
    row = rows["egnn", 10, 1]
    assert (row["mse_x"], row["mse_v"]) == pytest.approx(expected, rel=1e-6)
    assert row["delta_eq_x_float64"] < 1e-13 < row["delta_eq_x_float32"] < 1e-5
    assert row["delta_eq_max_v_float32"] >= row["delta_eq_v_float32"]
    assert rows["set_transformer", 10, 0]["delta_eq_max_x_float64"] > 1e-3
    x, v = parts["test"].positions, parts["test"].velocities
    linear = rows["linear", 10, None]
    assert linear["mse_x"] == pytest.approx(((x[:, 10] - x[:, 0] - v[:, 0]) ** 2).mean(), rel=1e-5)
    assert linear["mse_v"] == pytest.approx(((v[:, 10] - v[:, 0]) ** 2).mean(), rel=1e-5)


def test_the_table_has_means_over_seeds_and_the_floor(results):
    table = read_results(*([path] for path in results))
    (one,) = table["data_sets"]
    assert [row["model"] for row in one["rows"]] == [
        name for name in LABELS if name in ("linear", "set_transformer", "se3_transformer", "egnn")
    ]
    egnn = one["rows"][-1]
    rows = [r for r in json.loads(results[0].read_text())["rows"] if r["model"] == "egnn"]
    errors = [row["mse_x"] for row in rows]
    assert egnn["seeds"] == [0, 1]
    assert egnn["mse_x"] == pytest.approx(np.mean(errors))
    assert egnn["mse_x_std"] == pytest.approx(np.std(errors, ddof=1))
    assert one["rows"][0]["published"] == {"mse_x": 0.0691, "mse_v": 0.261}
    lines = [line for line in markdown(table).splitlines() if line.startswith("| ")]
    assert f"| EGNN | {egnn['mse_x']:.4f} ± {egnn['mse_x_std']:.4f} |" in markdown(table)
    assert "standard deviation over 1 to 2 seed(s)" in markdown(table), "two of EGNN, one of others"
    assert any(line.startswith("| *equivariant floor* | 0.0000") for line in lines)
    bars = {line.count("|") for line in lines}
    assert bars == {11, 10}, "every row has the columns of its head"


def test_figures_are_drawn_alike_twice(results):
    evaluation, bounds = (json.loads(path.read_text()) for path in results)
    twice = []
    for _ in range(2):
        drawn = (
            rotation_figure(evaluation),
            learning_figure([evaluation]),
            horizon_figure([evaluation], [bounds]),
        )
        assert all(text.startswith("<?xml") and "</svg>" in text for text in drawn)
        assert not any("mathdefault" in text for text in drawn), "formulas are not typeset"
        twice.append(drawn)
    assert twice[0] == twice[1]
    assert "SE(3)-Transformer: turned by 70°" in drawn[0]
    assert "SE(3)-Transformer, one for each horizon" in drawn[2]


def test_the_turned_prediction_in_the_figure_is_the_rotation_of_the_first(results):
    shown = json.loads(results[0].read_text())["shown"]
    distances = {}
    for name, systems in shown.items():
        turned = systems["turned"]
        predicted = np.array(turned["positions"]) + np.array(turned["predictions"])[:, 0]
        expected = turned_along(systems["as_given"], turned)
        distances[name] = np.abs(expected - predicted).max()
    assert distances["se3_transformer"] < 1e-5 < 1e-3 < distances["set_transformer"]


def test_budgets_grow_and_the_configuration_overrides_them():
    steps = [budget.steps["se3_transformer"] for budget in BUDGETS.values()]
    assert list(BUDGETS) == ["smoke", "default", "full"] and steps == sorted(steps)
    assert budget_of(Config().nbody) == BUDGETS["default"]
    own = budget_of(NbodyConfig(budget="smoke", steps=7, seeds=(4,), simulations=(9, 8, 7)))
    assert (own.seeds, own.simulations, set(own.steps.values())) == ((4,), (9, 8, 7), {7})
    assert own.degrees == BUDGETS["smoke"].degrees
    assert all(set(one.steps) == set(LABELS) - {"linear"} for one in BUDGETS.values())
    assert PARTS == ("train", "val", "test")


def test_a_training_for_each_model_and_seed_and_one_for_each_other_horizon():
    names, budget = trainings(Config().nbody), BUDGETS["default"]
    assert len(names) == 5 * len(budget.seeds) + len(budget.horizons)
    assert len(names) == len(set(names)) and 10 not in budget.horizons
    assert names[-1] == "se3_transformer-5-frames-seed-0"
    assert trainings(NbodyConfig(models=("egnn",), seeds=(4,))) == ["egnn-10-frames-seed-4"]
