"""The study: it runs exactly the wanted trials, resumes, and does not read the test split."""

import json
import subprocess
import sys

import numpy as np
import optuna
import pyarrow.parquet as pq
import pytest
import torch

from dglframer.common.errors import HeldOut, TrainingFailed, UserError
from dglframer.common.files import write_json
from dglframer.config import Config, override
from dglframer.config.networks import CrystalFramerConfig
from dglframer.config.tuning import SearchChoices, SearchRange, TuneConfig
from dglframer.data.split import read_split
from dglframer.graphs.dataset import GraphDataset
from dglframer.graphs.held_out import VISIBLE, TrainValDataset, visible_datasets
from dglframer.training.run import train_model
from dglframer.tuning import tune as tuning
from dglframer.tuning.tune import tune

CPU = torch.device("cpu")
SEARCH = {
    "training.learning_rate": SearchRange(low=1e-4, high=1e-2, log=True),
    "crystalframer.blocks": SearchRange(low=1, high=2),
    "crystalframer.frame": SearchChoices(choices=("max", "none")),
}


def config(trials: int = 3, **changes) -> Config:
    small = CrystalFramerConfig(width=16, heads=2, feedforward=16, angle_bins=16, distance_bins=16)
    settings = {"trials": trials, "epochs": 2, "search": SEARCH, **changes}
    return Config(crystalframer=small, tune=TuneConfig(**settings))


@pytest.fixture
def run(tiny_run, tmp_path):
    def run(config: Config) -> dict:
        return tune(config, tiny_run.graphs, tiny_run.split, tmp_path, CPU)

    return run


def trials(tmp_path) -> list[dict]:
    return json.loads((tmp_path / "trials.json").read_text())


def test_trials_and_best(run, tmp_path):
    best = run(config())
    done = trials(tmp_path)
    assert [trial["number"] for trial in done] == [0, 1, 2]
    complete = [trial for trial in done if trial["state"] == "complete"]
    assert best["val_loss"] == min(trial["val_loss"] for trial in complete)
    assert best["params"] == done[best["trial"]]["params"]
    assert set(best["params"]) == set(SEARCH)
    assert 1e-4 <= best["params"]["training.learning_rate"] <= 1e-2
    assert json.loads((tmp_path / "best.json").read_text()) == best


def test_it_goes_on_where_it_stopped(run, tmp_path, monkeypatch):
    run(config(trials=2))
    first = trials(tmp_path)
    calls = []

    def counted(*args, **kwargs):
        calls.append(1)
        return train_model(*args, **kwargs)

    monkeypatch.setattr(tuning, "train_model", counted)
    run(config(trials=3))
    assert len(calls) == 1
    assert trials(tmp_path)[:2] == first
    run(config(trials=3))
    assert len(calls) == 1


def test_an_interrupted_trial_does_not_count(run, tmp_path, monkeypatch):
    calls = []

    def dies_in_the_second(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train_model(*args, **kwargs)

    monkeypatch.setattr(tuning, "train_model", dies_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        run(config(trials=2))
    run(config(trials=2))
    assert len(trials(tmp_path)) == 2


def test_another_search_is_another_study(run, tmp_path):
    one, other = run(config(trials=1)), run(config(trials=1, seed=1))
    assert one["study"] != other["study"]
    assert one["params"] != other["params"]


def test_best_trial_follows_from_its_parameters(run, tiny_run):
    settings = config(trials=2)
    best = run(settings)
    assert retrained(tiny_run, settings, best) == best["val_loss"]


def test_every_trial_has_the_seed_of_the_configuration(run, tiny_run):
    """With one value to choose from, the seed is all that can make a difference."""
    search = {"training.learning_rate": SearchChoices(choices=(1e-3,))}
    found = {seed: run(config(trials=1, search=search, seed=seed)) for seed in (0, 5)}
    assert found[0]["val_loss"] != found[5]["val_loss"]
    for seed, best in found.items():
        settings = config(trials=1, search=search, seed=seed)
        assert retrained(tiny_run, settings, {**best, "seed": seed}) == best["val_loss"]


def test_no_trials_wanted(run):
    assert run(config(trials=0))["params"] == {}


@pytest.mark.parametrize(
    ("sampler", "pruner"), [("random", "hyperband"), ("gp", "none"), ("grid", "median")]
)
def test_samplers_and_pruners_by_name(run, tmp_path, monkeypatch, sampler, pruner):
    """A study that was interrupted has the same trials as one that was not, with each sampler."""
    search = {**SEARCH, "training.learning_rate": SearchChoices(choices=(1e-4, 1e-3, 1e-2))}

    def quick(config, train_set, val_set, seed, device, each_epoch):
        for epoch in (1, 2):
            loss = config.training.learning_rate * config.crystalframer.blocks / epoch
            each_epoch({"epoch": epoch, "val_loss": loss})

    monkeypatch.setattr(tuning, "train_model", quick)
    wanted = {"search": search, "sampler": sampler, "pruner": pruner, "storage": "journal"}
    run(config(trials=5, **wanted))
    run(config(trials=12, **wanted))
    resumed = [trial["params"] for trial in trials(tmp_path)]
    (tmp_path / "study.journal").unlink()
    run(config(trials=12, **wanted))
    assert [trial["params"] for trial in trials(tmp_path)] == resumed
    if sampler == "grid":
        assert len({json.dumps(params) for params in resumed}) == 3 * 2 * 2


def test_two_workers_with_real_training(tiny_run, tmp_path):
    """Two processes on one journal; the best trial follows from its parameters."""
    settings = config(trials=4, workers=2, storage="journal")
    path = tmp_path / "config.json"
    write_json(path, settings.model_dump(mode="json"))
    inputs = ["--config", path, "--graphs", tiny_run.graphs, "--split", tiny_run.split]
    command = [sys.executable, "-m", "dglframer", "tune", *map(str, inputs), "--device", "cpu"]
    processes = [
        subprocess.Popen([*command, "--worker", str(k), "--out", str(tmp_path / "tune")])
        for k in (0, 1)
    ]
    assert [process.wait(120) for process in processes] == [0, 0]
    done = trials(tmp_path / "tune")
    assert sorted(trial["number"] for trial in done) == [0, 1, 2, 3]
    helped = json.loads((tmp_path / "tune" / "worker-1.json").read_text())
    best = json.loads((tmp_path / "tune" / "best.json").read_text())
    assert helped["study"] == best["study"]
    assert set(helped["trials"]) <= {trial["number_in_storage"] for trial in done}
    assert retrained(tiny_run, settings, best) == best["val_loss"]


def retrained(tiny_run, settings: Config, best: dict) -> float:
    """The validation loss of a training with the values in best.json alone."""
    parts = read_split(tiny_run.split, allowed=VISIBLE)
    sets = [GraphDataset(tiny_run.graphs, parts[name]) for name in VISIBLE]
    losses = []
    short = {"training.epochs": best["epochs"], "training.averaged_epochs": 0}
    again = override(settings, {**best["params"], **short})
    train_model(again, *sets, best["seed"], CPU, each_epoch=lambda m: losses.append(m["val_loss"]))
    return min(losses)


def test_an_impossible_combination_is_left_out_with_its_reason(run, tmp_path):
    search = {
        "crystalframer.heads": SearchChoices(choices=(2, 3, 5)),
        "crystalframer.blocks": SEARCH["crystalframer.blocks"],
    }
    best = run(config(trials=3, search=search, sampler="random"))
    assert len(trials(tmp_path)) == 3
    assert best["params"]["crystalframer.heads"] == 2
    study = optuna.load_study(
        study_name=best["study"], storage=f"sqlite:///{tmp_path}/study.sqlite3"
    )
    reasons = {
        trial.user_attrs.get("reason") for trial in study.trials if trial.state.name == "FAIL"
    }
    assert reasons == {"impossible: crystalframer.heads must divide crystalframer.width"}


def test_training_that_diverges_ends_its_trial_alone(run, tmp_path, monkeypatch):
    def diverges(config, *args, **kwargs):
        if config.crystalframer.frame == "none":
            raise TrainingFailed("step 3: loss is nan")
        return train_model(config, *args, **kwargs)

    monkeypatch.setattr(tuning, "train_model", diverges)
    search = {"crystalframer.frame": SEARCH["crystalframer.frame"]}
    best = run(config(trials=2, search=search, sampler="grid"))
    assert best["params"] == {"crystalframer.frame": "max"}
    spoiled = trials(tmp_path)[1]
    assert (spoiled["state"], spoiled["reason"]) == ("pruned", "step 3: loss is nan")
    monkeypatch.setattr(tuning, "train_model", lambda config, *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(config(trials=2, seed=3))


def test_no_completed_trial_is_an_error(run, monkeypatch):
    def diverges(*args, **kwargs):
        raise TrainingFailed("step 3: loss is nan")

    monkeypatch.setattr(tuning, "train_model", diverges)
    with pytest.raises(UserError, match=r"no trial was completed.*loss is nan"):
        run(config(trials=2))


def test_fewer_trials_are_the_first_of_the_study(run, tmp_path):
    run(config(trials=2))
    first = trials(tmp_path)
    run(config(trials=3))
    run(config(trials=2))
    assert trials(tmp_path) == first


def test_the_test_split_cannot_be_read(tiny_run, run, monkeypatch):
    """Neither as a split, nor as an id, nor as a row, nor as a label."""
    with pytest.raises(HeldOut, match="test"):
        visible_datasets(tiny_run.graphs, tiny_run.split, ("train", "test"))
    train_set, val_set = visible_datasets(tiny_run.graphs, tiny_run.split)
    hidden = read_split(tiny_run.split)["test"]
    with pytest.raises(HeldOut, match="none of train, val"):
        TrainValDataset(tiny_run.graphs, hidden[:1], [*train_set.ids, *val_set.ids])
    rows = [train_set.id_of_row.tolist().index(id) for id in hidden]
    for row in rows:
        with pytest.raises(HeldOut, match=train_set.id_of_row[row]):
            val_set.collate([int(val_set.rows[0]), row])
    assert np.isnan(train_set.targets[rows]).all()
    assert np.isfinite(train_set.targets[train_set.rows]).all()

    def curious(config, train_set, val_set, *args, **kwargs):
        train_set.collate(rows)

    monkeypatch.setattr(tuning, "train_model", curious)
    with pytest.raises(HeldOut):
        run(config(trials=1))


def test_test_crystals_are_never_read(run, tiny_run, monkeypatch):
    """Every batch of every trial holds train and val crystals alone."""
    splits = pq.read_table(tiny_run.split).to_pylist()
    test_ids = {row["id"] for row in splits if row["split"] == "test"}
    seen: set[str] = set()
    collate = GraphDataset.collate

    def watching(self, rows):
        batch = collate(self, rows)
        seen.update(batch.ids)
        return batch

    monkeypatch.setattr(GraphDataset, "collate", watching)
    run(config(trials=1))
    assert seen and test_ids and not seen & test_ids
    assert "test" not in VISIBLE
    assert set(read_split(tiny_run.split, allowed=VISIBLE)) == {"train", "val"}
