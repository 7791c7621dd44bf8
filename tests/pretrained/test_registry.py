"""Models by name: on the command line, in Python, as a start of fine-tuning."""

import json
import sys

import pytest
from helpers.crystals import CIF
from helpers.models import make_model
from helpers.shipped import make_registry
from pytest import approx

import dglframer
from dglframer.cli.main import main
from dglframer.common.errors import DamagedFile, UserError
from dglframer.config import load_config, parse_config
from dglframer.networks.named import names_model, places
from dglframer.pretrained.registry import FOLDER, shipped


@pytest.fixture
def models(tmp_path, monkeypatch):
    """A registry, and a working directory with a crystal."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.cif").write_text(CIF)
    return make_registry(tmp_path / "registry", monkeypatch)


def run(monkeypatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["dglframer", *words])
    return main()


def test_a_name_predicts_as_its_folder_does(models, monkeypatch, capsys):
    assert run(monkeypatch, "predict", "tiny", "x.cif", "--device", "cpu") == 0
    by_name = capsys.readouterr().out
    assert run(monkeypatch, "predict", str(models / "energies"), "x.cif", "--device", "cpu") == 0
    assert capsys.readouterr().out == by_name and by_name.startswith("id,path,prediction,unit")
    table = dglframer.load("tiny", device="cpu").predict("x.cif")
    assert f"{table['prediction'][0]}" in by_name and table["spread"][0] > 0


def test_a_name_may_stand_for_one_target_of_a_model(models):
    one = dglframer.load("tiny_gap", device="cpu")
    assert [target.name for target in one.targets] == ["gap"]
    both = dglframer.load(models / "both", device="cpu").predict("x.cif")
    assert list(both["property"]) == ["energy", "gap"]
    assert one.predict("x.cif")["prediction"][0] == approx(both["prediction"][1], abs=1e-6)


def test_a_path_with_a_separator_wins_over_a_name(models, tmp_path, caplog):
    other = make_model(tmp_path / "tiny", 5)
    assert [place.folder for place in places("tiny")] == [
        models / "energies" / f"seed-{k}" for k in (0, 1)
    ]
    assert "the folder of that name is ./tiny" in caplog.text
    for path in ("./tiny", str(other), other):
        assert [place.folder.resolve() for place in places(path)] == [other]
    assert names_model("tiny") and names_model("./tiny") and not names_model("x.cif")


def test_other_words_are_told_what_there_is(models):
    with pytest.raises(UserError, match=r"tine: no model .* \(there are: tiny, tiny_gap\)"):
        dglframer.load("tine")


def test_a_damaged_file_is_named(models):
    weights = models / "energies" / "seed-1" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(DamagedFile, match=r"seed-1/model\.safetensors: missing or damaged"):
        dglframer.load("tiny")
    (models / "registry.json").write_text('{"a": {}}')
    with pytest.raises(DamagedFile, match="not a registry of models"):
        shipped()


def test_fine_tuning_starts_from_a_name(models, tmp_path):
    """In a file as well, where other paths are relative to its folder."""
    start = str(models / "energies" / "seed-0")
    assert parse_config({"training": {"init_from": "tiny"}}).training.init_from == start
    for written, expected in (("tiny", start), ("./tiny", str(tmp_path / "tiny"))):
        (tmp_path / "my.yaml").write_text(f"training: {{init_from: {written}}}")
        assert load_config(tmp_path / "my.yaml").training.init_from == expected


def test_the_list_says_what_is_known(models, monkeypatch, capsys):
    assert run(monkeypatch, "models") == 0
    text = capsys.readouterr().out
    assert "tiny_gap\n  predicts   gap (eV)\n  test MAE   0.5 eV, of 7 crystals" in text
    assert run(monkeypatch, "models", "--json") == 0
    assert set(json.loads(capsys.readouterr().out)) == {"tiny", "tiny_gap"}


def test_the_models_of_the_package_are_whole():
    for name, one in shipped().items():
        members = one.members()
        assert members and all(path.is_relative_to(FOLDER) for path in members)
        targets = dglframer.load(name, device="cpu").targets
        assert [(target.name, target.unit) for target in targets] == [(one.target, one.unit)]
