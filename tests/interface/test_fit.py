"""fit: from a folder and a table to a model, by the stages of the pipeline."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers.crystals import POSCAR

import dglframer
from dglframer.common.errors import UserError
from dglframer.interface.fit import configuration

SETTINGS = {
    "training.epochs": 2,
    "training.averaged_epochs": 0,
    "training.batch_size": 4,
    "crystalframer.blocks": 1,
    "crystalframer.width": 16,
    "crystalframer.heads": 2,
    "crystalframer.feedforward": 16,
    "graphs.cutoff_angstrom": 5.0,
}


@pytest.fixture
def table(tmp_path) -> Path:
    """Twenty cells of CsCl whose label is their length."""
    folder = tmp_path / "mine"
    folder.mkdir()
    lines = ["id,gap_ev,note"]
    for k, a in enumerate(np.linspace(3.9, 4.6, 20)):
        (folder / f"c{k}.vasp").write_text(POSCAR.format(k).replace("4.2 ", f"{a:.3f} "))
        lines.append(f"c{k},{a:.3f},x")
    (folder / "mine.csv").write_text("\n".join(lines) + "\n")
    return folder / "mine.csv"


def test_a_table_beside_structures_becomes_a_model(table, tmp_path, capsys):
    """With the files of the workflow; the same call again trains no more."""
    how = {
        "units": {"gap_ev": "eV"},
        "settings": SETTINGS,
        "device": "cpu",
        "out": tmp_path / "out",
    }
    fitted = dglframer.fit(table, ["gap_ev"], **how)
    assert capsys.readouterr().out == ""
    splits = fitted.metrics["targets"]["gap_ev"]["splits"]
    assert [splits[name]["crystals"] for name in ("train", "val", "test")] == [16, 2, 2]
    assert fitted.model.targets[0].name == "gap_ev" and fitted.model.targets[0].unit == "eV"
    assert all(path.exists() for path in fitted.paths.values())
    assert "test MAE" in repr(fitted) and str(tmp_path / "out") in repr(fitted)
    prediction = fitted.model.predict(table.parent)["prediction"]
    assert len(prediction) == 20 and prediction.between(2, 7).all()
    weights = fitted.paths["models"] / "seed-0" / "model.safetensors"
    before = weights.read_bytes()
    again = dglframer.fit(table, ["gap_ev"], **how)
    assert weights.read_bytes() == before and again.metrics == fitted.metrics


def test_the_configuration_is_one_of_the_workflow(table):
    config = configuration(table.parent, (), {}, (3,), {"split.method": "by_composition"})
    assert config.dataset.source == "folder" and config.dataset.targets == ("gap_ev",)
    assert config.dataset.targets_csv == str(table) and config.seeds == (3,)
    assert config.split.method == "by_composition"
    yaml.safe_load(json.dumps(config.model_dump(mode="json")))


def test_files_of_structures_with_targets(tmp_path):
    for name, source in (("x.parquet", "parquet"), ("x.extxyz", "ase"), ("x.json", "json")):
        (tmp_path / name).write_text("")
        config = configuration(tmp_path / name, ["gap"], {"gap": "eV"}, (0,), {})
        assert config.dataset.source == source and config.dataset.target_units == {"gap": "eV"}
        with pytest.raises(UserError, match=r"targets=\[\.\.\.\]"):
            configuration(tmp_path / name, (), {}, (0,), {})
    with pytest.raises(UserError, match="neither a folder"):
        configuration(tmp_path / "absent.json", ["gap"], {}, (0,), {})


def test_much_data_is_for_the_workflow(table, tmp_path, monkeypatch):
    monkeypatch.setattr("dglframer.interface.fit.MAX_CRYSTALS", 19)
    with pytest.raises(UserError, match=r"20 crystals are many for one process.*snakemake"):
        dglframer.fit(table, ["gap_ev"], out=tmp_path / "out", device="cpu")
