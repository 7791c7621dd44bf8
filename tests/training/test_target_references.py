"""`dataset.target_references`: a linear model of the composition is taken out of labels, and put back."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from helpers.crystals import crystal
from helpers.recipes import PAPER
from sklearn.linear_model import Ridge

from dglframer.common.composition import PENALTIES, element_fractions, pooled_elements
from dglframer.common.elements import SYMBOLS
from dglframer.common.errors import ConfigError, Interrupted, UserError
from dglframer.common.files import read_json
from dglframer.config import Config, parse_config
from dglframer.config.networks import CrystalFramerConfig
from dglframer.config.stages import stage_settings
from dglframer.config.training import TrainingConfig
from dglframer.data.split import read_split
from dglframer.evaluation.ensemble import load_ensemble
from dglframer.evaluation.evaluate import evaluate
from dglframer.evaluation.items import Item
from dglframer.graphs.dataset import GraphDataset
from dglframer.networks.inference import predict
from dglframer.networks.model_directory import load_model, save_model
from dglframer.structures.periodic_graph import build_graph
from dglframer.training.checkpoints import Checkpoints
from dglframer.training.distributed import Processes
from dglframer.training.prepare import prepare
from dglframer.training.run import TrainingRun, finished_model, train_model
from dglframer.training.signals import StopRequest
from dglframer.training.target_reference import ridge
from dglframer.training.trainer import Trainer

CPU = torch.device("cpu")
SMALL = CrystalFramerConfig(frame="none", blocks=1, width=16, heads=2, feedforward=16)
ENERGY, GAP = "formation_energy_peratom", "optb88vdw_bandgap"
REFERENCE = {ENERGY: "composition"}
SLOPES = np.sin(np.arange(98.0))  # a law, by element


def config(references=REFERENCE, transforms=None, network=SMALL, **training) -> Config:
    given = PAPER | {"epochs": 2, "averaged_epochs": 1, "batch_size": 4} | training
    dataset = {"targets": [ENERGY, GAP], "target_references": references}
    dataset["target_transforms"] = transforms or {}
    return Config(crystalframer=network, training=TrainingConfig(**given), dataset=dataset)


@pytest.fixture
def sets(tiny_run):
    """All twelve crystals and those of val, so that training knows each element of val."""
    val = read_split(tiny_run.split, allowed=("val",))["val"]
    return [GraphDataset(tiny_run.graphs), GraphDataset(tiny_run.graphs, val)]


def relabelled(sets, labels_of, target=0):
    """The sets with other labels of a target, from the compositions of all crystals."""
    for one in sets:
        every = GraphDataset(one.graphs)
        labels_GT = np.array(one.targets)
        labels_GT[every.rows, target] = labels_of(every.compositions())
        one.targets = one.arrays["targets"] = labels_GT
    return sets


def silent(start) -> None:
    """Let the network say 0, whatever it gets."""
    torch.nn.init.zeros_(start.network.head.output.weight)
    torch.nn.init.zeros_(start.network.head.output.bias)


def model_of(settings, start, folder):
    """The model of a network before its first step, written and read."""
    trainer = Trainer(start, settings.training, Processes(CPU))
    save_model(finished_model(settings, trainer, {}), folder)
    return load_model(folder), trainer


@pytest.mark.parametrize("case", ["fractions", "log10", "sum", "sum, log10"])
def test_a_target_linear_in_the_composition_needs_no_network(sets, tmp_path, case):
    """To rounding, and the network says 0. Of an extensive target the law is of numbers of atoms."""
    pooling = "sum" if "sum" in case else "mean"

    def law(numbers):
        values_G = 3 + pooled_elements(numbers, pooling) @ SLOPES
        return 10 ** (0.01 * values_G) if "log10" in case else values_G

    relabelled(sets, law)
    network = SMALL.model_copy(update={"pooling": pooling})
    settings = config(transforms={ENERGY: "log10"} if "log10" in case else {}, network=network)
    start = prepare(settings, *sets, 0, CPU)
    silent(start)
    model, trainer = model_of(settings, start, tmp_path / "seed-0")
    for one in sets:
        numbers = one.compositions()
        output_GT = torch.from_numpy(predict(model.network, one, CPU))
        assert not output_GT.any()
        prediction_GT = model.denormalise(output_GT, numbers).numpy()
        np.testing.assert_allclose(prediction_GT[:, 0], law(numbers), rtol=1e-11)
        assert (prediction_GT[:, 1] == start.mean_T[1]).all()  # the other target has none
    assert trainer.validate()[1, 0] < 1e-10 * np.abs(law(sets[1].compositions())).max()
    assert model.targets[1].composition is None
    stored = read_json(tmp_path / "seed-0" / "model.json")["targets"][0]["composition"]
    assert set(stored) == set(model.training_elements)
    # the same crystals by the way of `predict`
    items = [item(one, model.cutoff) for one in every_crystal(sets[1])]
    rows = load_ensemble([tmp_path], CPU).rows(items)
    expected_G = law([one.crystal.numbers_N for one in items])
    found = [row["prediction"] for row in rows if row["property"] == ENERGY]
    np.testing.assert_allclose(found, expected_G, rtol=1e-11)


def every_crystal(dataset):
    """Crystals of any structure with the compositions of a dataset."""
    for numbers_N in dataset.compositions():
        places = np.random.default_rng(0).random((len(numbers_N), 3))
        symbols = " ".join(SYMBOLS[z - 1] for z in numbers_N)
        yield crystal("x", symbols, 12 * np.eye(3), places)


def item(one, cutoff) -> Item:
    return Item(one.id, None, (0, 0), one, build_graph(one, cutoff))


def known_rows(dataset):
    labels_G = dataset.targets[dataset.rows, 0]
    known_G = ~np.isnan(labels_G)
    return element_fractions(dataset.compositions())[known_G], labels_G[known_G]


@pytest.mark.parametrize(("noise", "penalty"), [(0.03, 0.001), (0.3, 0.1), (3.0, 10.0)])
def test_the_penalty_is_that_of_the_least_error_on_val(noise, penalty):
    rng = np.random.default_rng(1)
    x = element_fractions([rng.integers(1, 40, size=4) for _ in range(300)])
    y = 2 + x @ SLOPES + noise * rng.normal(size=300)
    train, val = (x[:150], y[:150]), (x[150:], y[150:])
    fits = {one: Ridge(one).fit(*train) for one in PENALTIES}
    errors = {one: np.abs(fit.predict(x[150:]) - y[150:]).mean() for one, fit in fits.items()}
    assert min(errors, key=errors.get) == penalty
    np.testing.assert_allclose(ridge(train, val, Processes(CPU)), fits[penalty].coef_, atol=1e-10)


def test_the_fit_is_scikit_learns_ridge_on_known_labels(sets):
    rng = np.random.default_rng(5)  # the noise of val is another one
    relabelled(sets, lambda n: element_fractions(n) @ SLOPES + 0.3 * rng.normal(size=len(n)))
    sets[0].targets[sets[0].rows[2], 0] = np.nan
    sets[1].targets[sets[1].rows[0], 0] = np.nan
    start = prepare(config(), *sets, 0, CPU)
    (x_train, y_train), (x_val, y_val) = map(known_rows, sets)
    fits = [Ridge(penalty).fit(x_train, y_train) for penalty in PENALTIES]
    errors = [np.abs(one.predict(x_val) - y_val).mean() for one in fits]
    best = fits[int(np.argmin(errors))]
    slopes = start.slopes_T[0]
    expected = {SYMBOLS[z]: best.coef_[z] for z in np.flatnonzero(x_train.any(0))}
    assert slopes == pytest.approx(expected, abs=1e-9)
    assert start.slopes_T[1] is None
    rest_G = y_train - best.predict(x_train) + best.intercept_
    assert start.mean_T[0] == pytest.approx(best.intercept_, abs=1e-9)
    assert start.std_T[0] == pytest.approx(rest_G.std())
    assert start.mean_T[1] == sets[0].target_statistics()[0][1]
    learned_G = start.train_set.collate(start.train_set.rows).targets_BT.numpy()[:, 0]
    assert np.isnan(learned_G[2])
    np.testing.assert_allclose(learned_G[~np.isnan(learned_G)], rest_G, atol=1e-9)


def test_the_order_of_rows_changes_nothing_but_rounding():
    rng = np.random.default_rng(3)
    x = element_fractions([rng.integers(1, 30, size=4) for _ in range(60)])
    y = x @ SLOPES + rng.normal(size=60)
    order = rng.permutation(40)
    one, other = (
        ridge((x[rows], y[rows]), (x[40:], y[40:]), Processes(CPU)) for rows in (slice(40), order)
    )
    np.testing.assert_allclose(one, other, atol=1e-12)
    again = ridge((x[:40], y[:40]), (x[40:], y[40:]), Processes(CPU))
    assert np.array_equal(one, again)


def test_one_composition_alone_has_no_slopes():
    x, y = np.full((7, 98), 1 / 3), np.random.default_rng(0).normal(size=7)
    x[:, 3:] = 0
    assert not ridge((x, y), (x, y), Processes(CPU)).any()


def test_an_element_that_no_training_crystal_has_adds_nothing(sets, tmp_path):
    settings = config()
    start = prepare(settings, *sets, 0, CPU)
    silent(start)
    model, _ = model_of(settings, start, tmp_path)
    known, unknown = next(iter(model.targets[0].composition)), "Cf"
    assert unknown not in model.targets[0].composition
    both = crystal("x", f"{known} {unknown}", 4 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]])
    row = load_ensemble([tmp_path], CPU).rows([item(both, model.cutoff)])[0]
    expected = model.targets[0].mean + model.targets[0].composition[known] / 2
    assert row["prediction"] == pytest.approx(expected, rel=1e-12)
    assert "Cf" in row["warning"]


def test_equivalent_atoms_count_for_all_of_their_orbit(sets):
    """A batch holds one atom of each orbit, a composition every atom."""
    whole = prepare(config(network=SMALL.model_copy(update={"symmetry": "none"})), *sets, 0, CPU)
    reduced = prepare(config(), *sets, 0, CPU)
    assert reduced.train_set.group == "all" and whole.train_set.group == "none"
    assert reduced.slopes_T == whole.slopes_T


def test_it_is_evaluated_with_the_others_of_its_ensemble(sets, tiny_run, tmp_path):
    """Intervals, spread and errors are of whole predictions; one member has a reference, one has none."""
    folders = []
    for seed, references in enumerate(({}, REFERENCE)):
        folders.append(tmp_path / f"seed-{seed}")
        save_model(train_model(config(references), *sets, seed, CPU), folders[-1])
    with_reference = load_model(folders[1])
    metrics = evaluate(tiny_run.graphs, tiny_run.split, folders[1:], tmp_path / "one", CPU)
    assert metrics["targets"][ENERGY]["reference"] == "composition"
    assert metrics["targets"][GAP]["reference"] is None
    evaluate(tiny_run.graphs, tiny_run.split, folders, tmp_path / "two", CPU)
    rows = pq.read_table(tmp_path / "two" / "predictions.parquet").to_pylist()
    data = GraphDataset(tiny_run.graphs)
    numbers = data.compositions()
    parts_MG = [
        load_model(one).denormalise(
            torch.from_numpy(predict(load_model(one).network, data, CPU)), numbers
        )[:, 0]
        for one in folders
    ]
    found = {row["id"]: row["prediction"] for row in rows if row["property"] == ENERGY}
    expected = dict(zip(data.ids, torch.stack(parts_MG).mean(0).tolist(), strict=True))
    assert found == pytest.approx(expected)
    target = with_reference.targets[0]
    by_hand = float(predict(with_reference.network, data, CPU)[0, 0]) * target.std + target.mean
    by_hand += np.mean([target.composition[SYMBOLS[z - 1]] for z in numbers[0]])
    assert float(parts_MG[1][0]) == pytest.approx(by_hand)


def test_the_logged_error_is_that_of_the_saved_model(sets, tmp_path):
    settings = config(REFERENCE | {GAP: "composition"}, transforms={GAP: "log10"})
    model = train_model(settings, *positive_gaps(sets), 0, CPU)
    save_model(model, tmp_path)
    again = load_model(tmp_path)
    assert again.targets == model.targets
    output_GT = torch.from_numpy(predict(again.network, sets[1], CPU))
    predicted_GT = again.denormalise(output_GT, sets[1].compositions()).numpy()
    errors_T = np.abs(predicted_GT - sets[1].targets[sets[1].rows]).mean(0)
    assert list(model.history["last_epoch"]["val_mae"].values()) == pytest.approx(errors_T)


def positive_gaps(sets):
    """The gaps are positive: their logarithm is learned."""
    return relabelled(sets, lambda n: 1 + np.random.default_rng(2).random(len(n)), target=1)


def test_a_training_goes_on_to_the_same_bits(sets, tmp_path):
    settings = config(checkpoint_minutes=0)

    def run(folder, stop_after=None):
        trainer = Trainer(prepare(settings, *sets, 0, CPU), settings.training, Processes(CPU))
        stop = StopRequest()
        training = TrainingRun(trainer, Checkpoints(folder, {"seed": 0}), stop)
        if stop_after:
            after_step = training.after_step

            def stopping():
                stop.signal = "a test" if trainer.step >= stop_after else None
                after_step()

            training.after_step = stopping
        return finished_model(settings, trainer, training.finish())

    whole = run(tmp_path / "whole")
    with pytest.raises(Interrupted):
        run(tmp_path / "halves", stop_after=2)
    halves = run(tmp_path / "halves")
    assert halves.targets == whole.targets
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, halves.network.state_dict()[name]), name


@pytest.mark.parametrize("ours", [{}, REFERENCE], ids=["to none", "to a reference"])
@pytest.mark.parametrize("theirs", [{}, REFERENCE], ids=["from none", "from a reference"])
def test_fine_tuning_from_and_to_models_with_and_without(sets, tmp_path, theirs, ours):
    save_model(train_model(config(theirs), *sets, 0, CPU), tmp_path)
    model = load_model(tmp_path)
    relabelled(sets, lambda n: np.random.default_rng(5).normal(size=len(n)))
    refit = prepare(config(ours, init_from=str(tmp_path)), *sets, 1, CPU)
    assert refit.slopes_T == prepare(config(ours), *sets, 1, CPU).slopes_T
    kept = torch.equal(refit.network.head.output.weight, model.network.head.output.weight)
    assert kept == (theirs == ours)
    keep = config(ours, init_from=str(tmp_path), target_statistics="keep")
    if theirs != ours:
        with pytest.raises(UserError, match=r"references .*target_references says .*; use refit"):
            prepare(keep, *sets, 1, CPU)
        return
    start = prepare(keep, *sets, 1, CPU)
    assert start.slopes_T == tuple(one.composition for one in model.targets)
    output_GT = predict(start.network, sets[1], CPU)
    mine_GT = Trainer(start, keep.training, Processes(CPU)).in_user_units(
        output_GT * start.std_T + start.mean_T, range(len(sets[1]))
    )
    before_GT = model.denormalise(torch.from_numpy(output_GT), sets[1].compositions())
    np.testing.assert_allclose(mine_GT, before_GT.numpy(), rtol=1e-12)


def test_the_key_is_of_a_target_and_reaches_only_stages_that_learn():
    with pytest.raises(ConfigError, match=r"target_references.gap: not one of dataset.targets"):
        parse_config({"dataset": {"target_references": {"gap": "composition"}}})
    with pytest.raises(ConfigError, match="composition"):
        parse_config({"dataset": {"target_references": {ENERGY: "atoms"}}})
    plain, referred = config({}), config(REFERENCE)
    for stage in ("tune", "train", "compare"):
        assert stage_settings(plain, stage) != stage_settings(referred, stage), stage
    for stage in ("download", "crystals", "graphs"):
        assert stage_settings(plain, stage) == stage_settings(referred, stage), stage
