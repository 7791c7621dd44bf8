"""Starting from a trained model: weights, frozen parameters, statistics of the targets."""

import sys

import numpy as np
import pytest
import torch
from helpers.published import load_oracle, needs_oracle, write_checkpoint
from helpers.recipes import PAPER

from dglframer.cli.main import main
from dglframer.common.errors import ConfigError, UserError
from dglframer.config import Config, parse_config
from dglframer.config.networks import CrystalFramerConfig
from dglframer.config.training import TrainingConfig
from dglframer.data.split import read_split
from dglframer.graphs.dataset import GraphDataset
from dglframer.networks.inference import predict
from dglframer.networks.model_directory import load_model, save_model
from dglframer.training.prepare import Prepared, prepare
from dglframer.training.run import identity_of, train_model

CPU = torch.device("cpu")
SMALL = CrystalFramerConfig(blocks=2, width=16, heads=2, feedforward=16, angle_bins=16)


@pytest.fixture(scope="module")
def sets(tiny_run):
    parts = read_split(tiny_run.split, allowed=("train", "val"))
    return [GraphDataset(tiny_run.graphs, parts[name]) for name in ("train", "val")]


def config(**training) -> Config:
    given = {"epochs": 2, "averaged_epochs": 0, "batch_size": 4} | training
    return Config(crystalframer=SMALL, training=TrainingConfig(**given))


@pytest.fixture(scope="module")
def first(sets, tmp_path_factory):
    """A model directory, trained on half of the crystals: its statistics differ from the whole's."""
    folder = tmp_path_factory.mktemp("first")
    half = GraphDataset.__new__(GraphDataset)
    vars(half).update(vars(sets[0]), ids=sets[0].ids[:3], rows=sets[0].rows[:3])
    save_model(train_model(config(), half, sets[1], 0, CPU), folder)
    return folder


def prepared(sets, first, settings=SMALL, **training) -> Prepared:
    given = config(init_from=str(first), **training).training
    return prepare(Config(crystalframer=settings, training=given), *sets, 0, CPU)


def test_it_starts_with_the_weights_and_the_calibration_of_the_model(sets, first):
    model, start = load_model(first), prepared(sets, first)
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, start.network.state_dict()[name]), name


@pytest.mark.parametrize("even", [False, True])
def test_frames_are_added_to_a_model_without_them(sets, tmp_path, even):
    """Before the first step the network is the same function, and then its frames learn."""
    framed = SMALL.model_copy(update={"even_third_axis": even})
    without = SMALL.model_copy(update={"frame": "none"})
    plain = Config(crystalframer=without, training=config().training)
    save_model(train_model(plain, *sets, 0, CPU), tmp_path)
    start = prepared(sets, tmp_path, framed, target_statistics="keep")
    mine = predict(start.network, sets[1], CPU)
    np.testing.assert_allclose(mine, predict(load_model(tmp_path).network, sets[1], CPU), atol=1e-5)
    tuning = Config(crystalframer=framed, training=config(init_from=str(tmp_path)).training)
    learned = train_model(tuning, *sets, 0, CPU).network
    for block in learned.blocks:
        assert block.attention.angle_3HDK.abs().max() > 1e-4
    halved = SMALL.model_copy(update={"distance_coefficient": 0.5})
    with pytest.raises(UserError, match=r"crystalframer\.distance_coefficient: 1\.0"):
        prepared(sets, tmp_path, halved)


def test_a_third_axis_does_not_become_even(sets, first):
    """It would be another function."""
    even = SMALL.model_copy(update={"even_third_axis": True})
    with pytest.raises(UserError, match=r"crystalframer\.even_third_axis: False"):
        prepared(sets, first, even)


def test_properties_of_elements_are_added_to_a_model_without_them(sets, tmp_path):
    """Before the first step the network is the same function, and then their weights learn."""
    without = SMALL.model_copy(update={"element_properties": False})
    plain = Config(crystalframer=without, training=config().training)
    save_model(train_model(plain, *sets, 0, CPU), tmp_path)
    start = prepared(sets, tmp_path, target_statistics="keep")
    mine = predict(start.network, sets[1], CPU)
    np.testing.assert_allclose(mine, predict(load_model(tmp_path).network, sets[1], CPU), atol=1e-5)
    learned = train_model(config(init_from=str(tmp_path)), *sets, 0, CPU).network
    assert learned.embedding.property_weight_PW.abs().max() > 1e-4


def test_properties_of_elements_are_not_taken_away(sets, first):
    without = SMALL.model_copy(update={"element_properties": False})
    with pytest.raises(UserError, match=r"crystalframer\.element_properties: True"):
        prepared(sets, first, without)


@pytest.mark.parametrize("which", ["refit", "keep"])
def test_statistics_are_those_asked_for(sets, first, which):
    model, start = load_model(first), prepared(sets, first, target_statistics=which)
    theirs = np.array([[target.mean for target in model.targets],
                       [target.std for target in model.targets]])  # fmt: skip
    fitted = np.array(sets[0].target_statistics())
    assert not np.allclose(theirs, fitted)
    wanted = {"refit": fitted, "keep": theirs}[which]
    assert np.allclose([start.mean_T, start.std_T], wanted)
    if which == "keep":  # before the first step it predicts as the model did
        mine = predict(start.network, sets[1], CPU) * start.std_T + start.mean_T
        output = torch.from_numpy(predict(model.network, sets[1], CPU))
        assert np.array_equal(mine, model.denormalise(output, ()).numpy())


@needs_oracle
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_imported_checkpoint_starts_as_published_and_learns(sets, tmp_path, monkeypatch, dtype):
    oracle = load_oracle()
    sizes = {"n_layers": 2, "d_model": 16, "n_heads": 2, "d_ff": 16, "D_dist": 8, "D_ang": 16}
    theirs = oracle.make_config(frame_method="max", **sizes)
    weights = oracle.random_weights(theirs, 3, targets=2, trained_like=0.05)
    oracle.forward([oracle.tiny_crystal()], weights, theirs, calibrate=True)
    given = {"names": list(sets[0].manifest["targets"]), "mean": [-1.5, 0.7], "std": [1.1, 1.4]}
    write_checkpoint(weights, theirs, tmp_path / "c.ckpt", dtype, **given)
    folder = tmp_path / "model"
    words = ["dglframer", "import-checkpoint", str(tmp_path / "c.ckpt"), str(folder)]
    monkeypatch.setattr(sys, "argv", [*words, "--unit", "eV"])
    assert main() == 0

    imported = load_model(folder)
    with pytest.raises(
        UserError,
        match=r"crystalframer\.frame_ties: first(.|\n)*crystalframer\.window_sigmas: 4\.0",
    ):
        prepared(sets, folder)
    values = imported.network.settings.model_dump(mode="json")
    settings = parse_config({"crystalframer": values}).crystalframer
    start = prepared(sets, folder, settings, target_statistics="keep")
    mine = predict(start.network, sets[1], CPU) * start.std_T + start.mean_T
    output = torch.from_numpy(predict(imported.network.float(), sets[1], CPU))
    assert np.array_equal(mine, imported.denormalise(output, ()).numpy())

    training = config(
        init_from=str(folder), epochs=30, **(PAPER | {"learning_rate": 0.005})
    ).training
    tuned = train_model(Config(crystalframer=settings, training=training), *sets, 0, CPU)
    before, after = (error_on(sets[0], one) for one in (imported, tuned))
    assert after < before / 2


def error_on(dataset, model) -> float:
    """Mean absolute error over crystals and targets."""
    output = torch.from_numpy(predict(model.network, dataset, CPU))
    predicted_GT = model.denormalise(output, dataset.compositions()).numpy()
    return np.abs(predicted_GT - dataset.targets[dataset.rows]).mean()


def test_frozen_parameters_stay_and_the_others_learn(sets, first):
    settings = config(init_from=str(first), freeze=["embedding", "blocks.0"], averaged_epochs=1)
    tuned = train_model(settings, *sets, 0, CPU).network.state_dict()
    for name, before in load_model(first).network.state_dict().items():
        stays = name.startswith(("embedding", "blocks.0")) or "sigma_s" in name
        assert torch.equal(before, tuned[name]) == stays, name


def test_only_weights_may_be_frozen_with_all_biases_among_them(sets, first):
    before = dict(load_model(first).network.named_parameters())
    biases = [name for name in before if name.endswith("bias")]
    trained = train_model(config(init_from=str(first), freeze=biases), *sets, 0, CPU).network
    same = {name for name, one in trained.named_parameters() if torch.equal(one, before[name])}
    assert same == set(biases) and biases


def test_other_targets_get_a_new_output_layer(sets, first):
    one = GraphDataset.__new__(GraphDataset)
    name, unit = next(iter(sets[0].manifest["targets"].items()))
    vars(one).update(vars(sets[0]))
    one.manifest = {**sets[0].manifest, "targets": {name: unit}}
    one.targets = sets[0].targets[:, :1]
    start = prepared([one, one], first)
    theirs, mine = load_model(first).network.state_dict(), start.network.state_dict()
    assert mine["head.output.weight"].shape == (1, 16)
    assert all(torch.equal(theirs[k], mine[k]) for k in mine if not k.startswith("head.output"))
    with pytest.raises(UserError, match="target_statistics: keep"):
        prepared([one, one], first, target_statistics="keep")


def test_other_settings_of_the_network_are_named(sets, first):
    other = SMALL.model_copy(update={"blocks": 3, "feedforward": 32})
    with pytest.raises(
        UserError, match=r"crystalframer\.blocks: 2\n  crystalframer\.feedforward: 16"
    ):
        prepared(sets, first, other)


def test_freezing_names_what_it_does_not_find(sets, first):
    with pytest.raises(UserError, match=r"begins with block\.0 \(like blocks\.0"):
        prepared(sets, first, freeze=["block.0"])
    with pytest.raises(UserError, match="nothing to train"):
        prepared(sets, first, freeze=["embedding", "blocks", "head"])


def test_the_keys_need_a_model():
    with pytest.raises(ConfigError, match="need init_from"):
        parse_config({"training": {"freeze": ["head"]}})


def test_other_initial_weights_are_another_training(sets, first, tmp_path):
    save_model(train_model(config(), *sets, 1, CPU), tmp_path)
    identities = [identity_of(config(init_from=str(path)), *sets, 0) for path in (first, tmp_path)]
    hashes = {identity["initial_weights_sha256"] for identity in identities}
    assert len(hashes) == 2
    history = train_model(config(init_from=str(first)), *sets, 0, CPU).history
    assert history["initial_weights_sha256"] == identities[0]["initial_weights_sha256"]
