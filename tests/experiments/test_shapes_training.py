"""Training, evaluation, table and figures of the objects experiment, on few objects and steps."""

import json

import numpy as np
import pytest
import torch

from dglframer.common.errors import DamagedFile, TrainingFailed
from dglframer.common.files import sha256, write_json
from dglframer.config import Config
from dglframer.config.experiments import ShapesConfig
from dglframer.experiments.data_set import PARTS
from dglframer.experiments.model_folder import load_trained, save_trained
from dglframer.experiments.shapes.budgets import BUDGETS, budget_of, trainings
from dglframer.experiments.shapes.clouds import generate, write_clouds
from dglframer.experiments.shapes.evaluation import SEED, TILTS, evaluate
from dglframer.experiments.shapes.figures import object_figure, tilt_figure
from dglframer.experiments.shapes.models import Size, pooled
from dglframer.experiments.shapes.objects import OBJECTS
from dglframer.experiments.shapes.table import conclusion, markdown, read_results
from dglframer.experiments.shapes.task import about_z, examples, scores, tilts
from dglframer.experiments.shapes.training import (
    Description,
    build_described,
    statistics_batches,
    train,
)

CPU = torch.device("cpu")
SIZE = Size(degrees=2, channels=8, layers=1, neighbours=4)
DESCRIPTION = {"source": "generated", "seed": 0, "classes": list(OBJECTS)}
KINDS = [
    ("se3_transformer", "as_given", 0),
    ("se3_transformer_z", "as_given", 0),
    ("se3_transformer_z", "as_given", 1),
    ("se3_transformer_z", "rotated", 0),
    ("pointnet", "as_given", 0),
]


@pytest.fixture(scope="module")
def parts():
    return {part: generate(1, 0, part) for part in PARTS}


@pytest.fixture(scope="module")
def sets(parts):
    return [examples(parts[part]) for part in ("train", "val")]


@pytest.fixture(scope="module")
def data(parts, tmp_path_factory):
    path = tmp_path_factory.mktemp("shapes") / "data.safetensors"
    write_clouds(path, parts, DESCRIPTION)
    return path


@pytest.fixture(scope="module")
def folders(sets, data):
    """Five trainings of two steps."""
    made = []
    for name, orientation, seed in KINDS:
        description = Description(name, orientation, seed, 2, SIZE)
        made.append(data.parent / f"{name}-{orientation}-{seed}")
        trained = train(description, *sets)
        save_trained(trained, description.plain(), sha256(data), 1, made[-1])
    return made


@pytest.fixture(scope="module")
def evaluation(folders, data):
    path = data.parent / "evaluation.json"
    write_json(path, evaluate(data, folders, CPU))
    return path


def test_tilts_have_horizontal_axes_and_angles_up_to_the_largest():
    up = tilts(4000, 90, 0) @ [0, 0, 1]
    angles = np.degrees(np.arccos(up[:, 2]))
    assert angles.max() <= 90 and angles.mean() == pytest.approx(45, abs=1.5)
    assert np.abs(up[:, :2].mean(axis=0)).max() < 0.03
    further = np.degrees(np.arccos((tilts(4000, 180, 0) @ [0, 0, 1])[:, 2]))
    assert further == pytest.approx(2 * angles, abs=1e-4)
    assert np.abs(tilts(5, 0, 0) - np.eye(3)).max() < 1e-15


def test_rotations_about_z_keep_the_vertical():
    rotations = about_z(1000, 0)
    assert np.abs(rotations @ [0, 0, 1] - [0, 0, 1]).max() < 1e-15
    assert np.abs(rotations[:, 0, 0].mean()) < 0.07


def test_a_training_learns_its_objects(sets):
    trained = train(Description("pointnet", "as_given", 0, 60, SIZE), *sets)
    losses = [line["train_loss"] for line in trained.curve]
    assert losses[-1] < 0.5 * losses[0]
    assert scores(trained.network, sets[0])[0] > 0.6 > 3 / 15
    best = max(trained.curve, key=lambda line: (line["val_accuracy"], -line["val_loss"]))
    assert trained.best == best and len(trained.curve) == 10
    assert scores(trained.network, sets[1])[0] == best["val_accuracy"]


def test_equal_arguments_give_equal_weights_and_rotations_other_ones(sets):
    before = torch.get_rng_state()
    kinds = (("as_given", 0), ("as_given", 0), ("rotated", 0), ("rotated", 0), ("rotated", 1))
    runs = [train(Description("deepset", *kind, 5, SIZE), *sets).curve for kind in kinds]
    assert torch.equal(torch.get_rng_state(), before)
    assert runs[0] == runs[1] and runs[2] == runs[3]
    assert runs[0] != runs[2] != runs[4]


def test_rotated_objects_train_the_same_network_if_it_is_invariant(sets):
    """Therefore the experiment trains it once."""
    given, rotated = (
        train(Description("tfn", orientation, 0, 3, SIZE), *sets)
        for orientation in ("as_given", "rotated")
    )
    assert rotated.curve[-1]["train_loss"] == pytest.approx(given.curve[-1]["train_loss"], rel=1e-4)


def test_a_loss_that_is_not_finite_stops_the_training(sets):
    bad = examples(generate(1, 0, "train"))
    bad.points[:] = float("inf")
    with pytest.raises(TrainingFailed, match="deepset, as_given, seed 0"):
        train(Description("deepset", "as_given", 0, 3, SIZE), bad, sets[1])


def test_models_are_read_as_they_were_written(folders, sets):
    network, values = load_trained(folders[1], build_described)
    accuracy, loss = scores(network, sets[1])
    assert (accuracy, loss) == (values["best"]["val_accuracy"], values["best"]["val_loss"])
    assert values["size"] == {"degrees": 2, "channels": 8, "layers": 1, "neighbours": 4}


@pytest.mark.parametrize("file", ["model.safetensors", "model.json", "curve.jsonl"])
def test_a_damaged_model_is_named(folders, data, tmp_path, file):
    folder = tmp_path / "pointnet"
    folder.mkdir()
    for path in folders[-1].iterdir():
        content = path.read_bytes()
        (folder / path.name).write_bytes(content[:-20] if path.name == file else content)
    with pytest.raises(DamagedFile, match="pointnet"):
        evaluate(data, [folder], CPU)


def test_a_model_of_other_data_is_refused(folders, parts, tmp_path):
    write_clouds(tmp_path / "other", {**parts, "val": parts["test"]}, DESCRIPTION)
    with pytest.raises(DamagedFile, match="another data set"):
        evaluate(tmp_path / "other", folders[-1:], CPU)


def test_rows_of_the_evaluation(evaluation, folders, parts):
    result = json.loads(evaluation.read_text())
    rows = {(row["model"], row["orientation"], row["seed"]): row for row in result["rows"]}
    assert list(rows) == KINDS and result["objects"]["test"] == 15
    assert list(result["shown"]) == list(OBJECTS)
    network, _ = load_trained(folders[1], build_described)
    given = examples(parts["test"])
    expected = [scores(network, given.rotated(tilts(15, of, SEED)))[0] for of in TILTS]
    assert rows[KINDS[1]]["accuracy"] == expected
    for key in KINDS:
        limits = rows[key]["change_any"] < 1e-10, rows[key]["change_about_z"] < 1e-10
        assert limits == (key[0] == "se3_transformer", key[0].startswith("se3"))
    assert len(set(rows[KINDS[0]]["accuracy"])) == 1, "an invariant network has a flat curve"


def test_the_table_has_means_over_seeds_beside_the_published_numbers(evaluation):
    results = read_results(evaluation)
    both = [row["accuracy"] for row in json.loads(evaluation.read_text())["rows"][1:3]]
    row = next(row for row in results["rows"] if row["seeds"] == [0, 1])
    assert row["accuracy"] == pytest.approx(100 * np.mean(both, axis=0))
    assert row["accuracy_std"] == pytest.approx(100 * np.std(both, axis=0, ddof=1))
    text = markdown(results)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {12}
    assert lines[2].startswith("| SE(3)-Transformer |") and lines[2].endswith("| 72.8 |")
    assert "| the same | the same |" in lines[2]
    assert lines[-1].startswith("| SE(3)-Transformer +z |") and lines[-1].endswith("| 85.0 |")
    assert "as we remember them" in text and "not on these objects" in text


def test_the_paragraph_states_what_gravity_is_worth(evaluation):
    results = read_results(evaluation)
    assert "Nothing yet: no SE(3)-Transformer is right for 20 %" in conclusion(results), (
        "after two steps"
    )
    for row in results["rows"]:
        row["accuracy"] = [40 + 0.5 * value for value in row["accuracy"]]
    plain, given = (
        next(row for row in results["rows"] if row["model"] == name)
        for name in ("se3_transformer", "se3_transformer_z")
    )
    worth = given["accuracy"][0] - plain["accuracy"][0]
    assert f"worth {worth:+.1f} points" in conclusion(results)
    assert conclusion({**results, "rows": [plain]}) == ""


def test_figures_are_drawn_alike_twice(evaluation):
    results, shown = read_results(evaluation), json.loads(evaluation.read_text())["shown"]
    first, second = ((tilt_figure(results), object_figure(shown)) for _ in range(2))
    assert first == second
    assert all(text.startswith("<?xml") and "</svg>" in text for text in first)
    assert first[0].count(">SE(3)-Transformer<") == 2, "an invariant network stands in both panels"
    assert first[0].count(">PointNet, reduced<") == 1
    assert all(f">{name}<" in first[1] for name in OBJECTS)


def test_budgets_grow_and_the_configuration_overrides_them():
    steps = [budget.steps["se3_transformer_z"] for budget in BUDGETS.values()]
    assert list(BUDGETS) == ["smoke", "default", "full"] and steps == sorted(steps)
    assert budget_of(Config().shapes) == BUDGETS["default"]
    own = budget_of(ShapesConfig(budget="smoke", steps=7, seeds=(4,), objects=(9, 8, 7)))
    assert (own.seeds, own.objects, set(own.steps.values())) == ((4,), (9, 8, 7), {7})
    assert own.neighbours == BUDGETS["smoke"].neighbours


def test_a_training_for_each_model_orientation_and_seed():
    names = trainings(Config().shapes)
    assert len(names) == len(set(names)) == (2 * 7 - 2) * 3
    assert "tfn-rotated-seed-0" not in names and "tfn_z-rotated-seed-0" in names
    assert trainings(ShapesConfig(models=("tfn",), seeds=(4,))) == ["tfn-as_given-seed-4"]


@pytest.mark.parametrize("orientation", ["as_given", "rotated"])
def test_the_statistics_of_a_network_of_sets_are_those_of_its_weights(sets, orientation):
    train_set, val_set = sets
    network = train(Description("deepset", orientation, 0, 12, SIZE), train_set, val_set).network
    with torch.no_grad():
        means = [
            pooled(network.points(points)).mean(0)
            for points in statistics_batches(train_set, orientation == "rotated")
        ]
    norm = network.head[0]
    torch.testing.assert_close(norm.running_mean, torch.stack(means).mean(0))
    assert norm.momentum == 0.1  # update_bn gives it back
