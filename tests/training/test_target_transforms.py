"""`dataset.target_transforms`: the logarithm is learned; everything a person reads is in the unit."""

import json
import sys

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import torch
from helpers.stages import WITHOUT_TUNING

from dglframer.cli import main as cli
from dglframer.common.errors import ConfigError, UserError
from dglframer.common.files import read_json, write_json
from dglframer.config import Config, parse_config
from dglframer.config.networks import CrystalFramerConfig
from dglframer.config.stages import stage_settings
from dglframer.config.training import TrainingConfig
from dglframer.data.split import read_split
from dglframer.graphs.dataset import GraphDataset
from dglframer.networks.inference import predict
from dglframer.networks.model_directory import load_model, save_model
from dglframer.training.distributed import Processes
from dglframer.training.prepare import prepare
from dglframer.training.run import train_model
from dglframer.training.trainer import Trainer

CPU = torch.device("cpu")
SMALL = CrystalFramerConfig(frame="none", blocks=1, width=16, heads=2, feedforward=16)
ENERGY, GAP = "formation_energy_peratom", "optb88vdw_bandgap"


@pytest.fixture
def sets(tiny_run):
    """Train and val with labels from 1 to 1,000 in place of the energies, and an unknown one."""
    parts = read_split(tiny_run.split, allowed=("train", "val"))
    both = [GraphDataset(tiny_run.graphs, parts[name]) for name in ("train", "val")]
    for one in both:
        labels_GT = np.array(one.targets)
        labels_GT[:, 0] = np.geomspace(1, 1000, len(labels_GT))
        labels_GT[one.rows[0], 0] = np.nan
        one.targets = one.arrays["targets"] = labels_GT
    return both


def config(transforms, **training) -> Config:
    given = TrainingConfig(**{"epochs": 1, "averaged_epochs": 0, "batch_size": 4, **training})
    dataset = {"targets": [ENERGY, GAP], "target_transforms": transforms}
    return Config(crystalframer=SMALL, training=given, dataset=dataset)


LOG = {ENERGY: "log10"}


def test_statistics_are_of_the_logarithm_and_of_the_target_that_has_it(sets):
    start = prepare(config(LOG), *sets, 0, CPU)
    energy_G, gap_G = sets[0].targets[sets[0].rows].T
    known_G = np.log10(energy_G[~np.isnan(energy_G)])
    assert start.mean_T == pytest.approx([known_G.mean(), gap_G.mean()])
    assert start.std_T == pytest.approx([known_G.std(), gap_G.std()])
    batch = start.train_set.collate(start.train_set.rows)
    assert np.allclose(batch.targets_BT[:, 0], np.log10(energy_G), equal_nan=True)
    assert np.array_equal(batch.targets_BT[:, 1], gap_G)


def test_the_loss_is_of_the_logarithm_and_the_error_in_the_unit(sets):
    settings = config(LOG)
    trainer = Trainer(prepare(settings, *sets, 0, CPU), settings.training, Processes(CPU))
    output_GT = predict(trainer.result, sets[1], CPU) * trainer.std_T + trainer.mean_T
    target_GT = sets[1].targets[sets[1].rows]
    loss_T, mae_T = trainer.validate()
    residual_G = output_GT[:, 0] - np.log10(target_GT[:, 0])
    assert loss_T[0] == pytest.approx(np.nanmean(np.abs(residual_G)) / trainer.std_T[0])
    error_G = 10 ** output_GT[:, 0] - target_GT[:, 0]
    assert mae_T[0] == pytest.approx(np.nanmean(np.abs(error_G)))
    assert mae_T[1] == pytest.approx(np.abs(output_GT[:, 1] - target_GT[:, 1]).mean())
    assert loss_T[1] == pytest.approx(mae_T[1] / trainer.std_T[1])


def test_a_model_predicts_in_the_unit_also_when_read_again(sets, tmp_path):
    model = train_model(config(LOG), *sets, 0, CPU)
    save_model(model, tmp_path)
    description = json.loads((tmp_path / "model.json").read_text())
    assert [target["transform"] for target in description["targets"]] == ["log10", None]
    output_GT = torch.from_numpy(predict(model.network, sets[1], CPU))
    scaled = [output_GT[:, t] * one.std + one.mean for t, one in enumerate(model.targets)]
    prediction_GT = load_model(tmp_path).denormalise(output_GT, sets[1].compositions())
    assert torch.allclose(prediction_GT, torch.stack([10 ** scaled[0], scaled[1]], 1))


def test_a_label_without_a_logarithm_is_named(sets):
    sets[0].targets[sets[0].rows[2], 0] = -2.5
    with pytest.raises(
        UserError, match=rf"{ENERGY} of {sets[0].ids[2]} is -2.5: log10 needs a pos"
    ):
        prepare(config(LOG), *sets, 0, CPU)


def test_fine_tuning_keeps_statistics_only_of_the_same_transform(sets, tmp_path):
    save_model(train_model(config(LOG), *sets, 0, CPU), tmp_path)
    tuning = {"init_from": str(tmp_path), "target_statistics": "keep"}
    prepare(config(LOG, **tuning), *sets, 0, CPU)
    with pytest.raises(UserError, match=r"transforms \['log10', None\].*\[None, None\]; use refit"):
        prepare(config({}, **tuning), *sets, 0, CPU)
    prepare(config({}, **tuning | {"target_statistics": "refit"}), *sets, 0, CPU)


def test_the_key_is_of_a_target_and_reaches_the_stages():
    with pytest.raises(ConfigError, match=r"target_transforms.gap: not one of dataset.targets"):
        parse_config({"dataset": {"target_transforms": {"gap": "log10"}}})
    with pytest.raises(ConfigError, match="log10"):
        parse_config({"dataset": {"target_transforms": {ENERGY: "ln"}}})
    for stage in ("crystals", "tune", "train", "compare"):
        assert stage_settings(config({}), stage) != stage_settings(config(LOG), stage), stage


def entry(k: int) -> dict:
    """A crystal of the CsCl type; the modulus falls by powers of the lattice constant."""
    atoms = {
        "lattice_mat": ((3.2 + 0.05 * k) * np.eye(3)).tolist(),
        "coords": [[0, 0, 0], [0.5, 0.5, 0.5]],
        "elements": ["Cs" if k % 2 else "Na", "Cl"],
        "cartesian": False,
    }
    return {"id": f"x{k:02d}", "modulus": 1000 * 10 ** (-0.1 * k), "atoms": atoms}


@pytest.mark.parametrize("references", [{}, {"modulus": "composition"}], ids=["", "a reference"])
def test_from_a_file_to_predictions_in_gigapascals(tmp_path, monkeypatch, capsys, references):
    monkeypatch.chdir(tmp_path)
    entries = [entry(k) for k in range(20)]
    entries[3]["modulus"] = 0.0
    (tmp_path / "data.json").write_text(json.dumps(entries))
    dataset = {"source": "json", "path": "data.json", "targets": ["modulus"]}
    dataset |= {"target_units": {"modulus": "GPa"}, "target_transforms": {"modulus": "log10"}}
    dataset["target_references"] = references
    sections = {"graphs": {"cutoff_angstrom": 5.0}, "seeds": [0], "tune": {"trials": 0}}
    sections["training"] = {"epochs": 40, "averaged_epochs": 0, "batch_size": 4}
    sections["training"]["learning_rate"] = 0.003
    sections["crystalframer"] = SMALL.model_dump(mode="json")
    write_json(tmp_path / "config.json", {"dataset": dataset, **sections})
    for stage, words in WITHOUT_TUNING.items():
        monkeypatch.setattr(sys, "argv", ["dglframer", stage, *words.split()])
        assert cli.main() == 0, (stage, capsys.readouterr().err)
    [row] = pq.read_table("rejected.parquet").to_pylist()
    assert row["reason"] == "label modulus is 0: log10 needs a positive number"
    summary = read_json(tmp_path / "inspection.json")
    assert summary["labels"]["modulus"]["max"] == pytest.approx(1000)
    assert summary["learned"]["log10 of modulus"]["max"] == pytest.approx(3)
    assert "log10 of modulus" in capsys.readouterr().out

    labels = {one["id"]: one["modulus"] for one in entries}
    rows = pq.read_table("evaluation/predictions.parquet").to_pylist()
    assert len(rows) == 19
    for row in rows:
        assert row["target"] == labels[row["id"]] and row["unit"] == "GPa"
    test = [row for row in rows if row["split"] == "test"]
    metrics = read_json(tmp_path / "evaluation" / "metrics.json")["targets"]["modulus"]
    errors = [abs(row["prediction"] - row["target"]) for row in test]
    assert metrics["splits"]["test"]["mae"] == pytest.approx(np.mean(errors))
    ratios = [abs(np.log10(row["prediction"] / row["target"])) for row in test]
    assert metrics["transform"] == "log10"
    assert metrics["transformed_test_mae"] == pytest.approx(np.mean(ratios))
    assert np.mean(ratios) < 0.3  # it has learned: the labels spread over two powers of ten

    predicted = pyarrow.csv.read_csv("predictions.csv").to_pylist()
    by_id = {row["id"]: row["prediction"] for row in rows}
    assert {row["id"]: row["prediction"] for row in predicted} == pytest.approx(by_id, rel=1e-4)
    page = (tmp_path / "report.html").read_text()
    assert "The models learned log10 of the label" in page
    assert ("what a linear model of the composition leaves" in page) == bool(references)
