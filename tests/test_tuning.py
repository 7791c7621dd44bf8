"""The study: exactly the wanted number of trials, resumed, and blind to the test split."""

import json

import pyarrow.parquet as pq
import pytest
import torch

from dglframer import tuning
from dglframer.config import Config, ModelConfig, SearchChoices, SearchRange, TuneConfig
from dglframer.dataset import GraphDataset
from dglframer.split import read_split
from dglframer.training import train_model
from dglframer.tuning import VISIBLE, tune

CPU = torch.device("cpu")
SEARCH = {
    "training.learning_rate": SearchRange(low=1e-4, high=1e-2, log=True),
    "model.blocks": SearchRange(low=1, high=2),
    "model.frame": SearchChoices(choices=("max", "none")),
}


def config(trials: int = 3, **changes) -> Config:
    small = ModelConfig(width=16, heads=2, feedforward=16, angle_bins=16, distance_bins=16)
    return Config(model=small, tune=TuneConfig(trials=trials, epochs=2, search=SEARCH, **changes))


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
    from dglframer.config import override

    settings = config(trials=2)
    best = run(settings)
    parts = read_split(tiny_run.split, allowed=VISIBLE)
    sets = [GraphDataset(tiny_run.graphs, parts[name]) for name in VISIBLE]
    losses = []
    again = override(
        settings, {**best["params"], "training.epochs": 2, "training.averaged_epochs": 0}
    )
    train_model(again, *sets, 0, CPU, each_epoch=lambda m: losses.append(m["val_loss"]))
    assert min(losses) == best["val_loss"]


def test_no_trials_wanted(run):
    assert run(config(trials=0))["params"] == {}


def test_test_crystals_are_never_read(run, tiny_run, monkeypatch):
    """Every batch of every trial is made of train and val crystals."""
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
