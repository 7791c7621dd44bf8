"""`dglframer config --check FILE --out FILE`: what a configuration means, defaults included."""

import json
import sys

import pytest

from dglframer.cli import main as cli
from dglframer.config import Config, parse_config


@pytest.fixture
def dglframer(monkeypatch):
    def call(*arguments) -> int:
        monkeypatch.setattr(sys, "argv", ["dglframer", *map(str, arguments)])
        return cli.main()

    return call


def test_the_checked_configuration_is_written_with_its_defaults(dglframer, tmp_path):
    given, out = tmp_path / "given.yaml", tmp_path / "out.json"
    given.write_text("seeds: [4]\ntraining: {epochs: 3, averaged_epochs: 1}\n")
    assert dglframer("config", "--check", given, "--out", out) == 0
    values = json.loads(out.read_text())
    assert values["seeds"] == [4] and values["training"]["epochs"] == 3
    assert values["graphs"] == Config().graphs.model_dump(mode="json")
    assert parse_config(values).model_dump(mode="json") == values


def test_nothing_is_written_of_a_wrong_one(dglframer, tmp_path, capsys):
    (tmp_path / "given.yaml").write_text("sedes: [4]\n")
    assert dglframer("config", "--check", tmp_path / "given.yaml", "--out", tmp_path / "out") == 2
    assert "did you mean seeds?" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_missing_unit_is_said_at_the_start(dglframer, tmp_path, caplog):
    (tmp_path / "data.json").write_text("[]")
    given = "dataset: {source: json, path: data.json, targets: [gap]%s}\nsplit: {method: random}\n"
    for units, told in ((", target_units: {gap: eV}", False), ("", True)):
        (tmp_path / "given.yaml").write_text(given % units)
        assert dglframer("config", "--check", tmp_path / "given.yaml") == 0
        assert ("nothing states the unit of gap" in caplog.text) == told


def test_out_alone_is_refused(dglframer, tmp_path, capsys):
    assert dglframer("config", "--out", tmp_path / "out.json") == 2
    assert "--check FILE" in capsys.readouterr().err
