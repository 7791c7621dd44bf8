"""`dglframer init`: what it finds in a folder, and that its file is a valid configuration."""

import logging

import pytest
import yaml
from helpers.crystals import CIF, POSCAR

from dglframer.cli.data import init
from dglframer.common.errors import UserError
from dglframer.config import check_paths, load_config
from dglframer.data.first_config import look
from dglframer.data.sources import open_source


class Args:
    """The arguments of the verb."""

    def __init__(self, folder, out, targets_csv=None, unit=()):
        self.folder, self.out, self.targets_csv, self.unit = folder, out, targets_csv, unit


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "my crystals"
    (folder / "run1").mkdir(parents=True)
    (folder / "a.cif").write_text(CIF)
    (folder / "run1" / "POSCAR").write_text(POSCAR.format("x"))
    return folder


def write_table(folder, text):
    (folder / "labels.csv").write_text(text)


def test_the_written_configuration_reads_the_folder(folder, tmp_path):
    write_table(folder, "id;band_gap;colour;heat\na;1,5;red;\nrun1;2,5;blue;7\nnone;1,0;red;\n")
    out = tmp_path / "mine.yaml"
    init(Args(folder, out, unit=[("heat", "J/K")]))
    config = load_config(out)
    check_paths(config)
    assert config.dataset.targets == ("band_gap", "heat")
    assert dict(config.dataset.target_units) == {"band_gap": "eV", "heat": "J/K"}
    assert config.split.method == "random"
    records = {r.id: r for r in open_source(config.dataset).records() if not r.problem}
    assert {id: one.labels for id, one in records.items()} == {
        "a": {"band_gap": 1.5, "heat": None},
        "run1": {"band_gap": 2.5, "heat": 7.0},
    }
    assert "guessed from the name: check it; 2 labels" in out.read_text()


def test_a_table_without_a_header_and_a_unit_that_nobody_knows(folder, tmp_path, caplog):
    (folder / "id_prop.csv").write_text("a,1.5\nrun1,2.5\n")
    write_table(folder, "id,other\na,1\n")  # id_prop.csv goes first
    seen = look(folder, None)
    assert (seen.structures, seen.rows, seen.matched) == (2, 2, 2)
    assert [(t.name, t.labels, t.unit) for t in seen.targets] == [("target", 2, None)]
    out = tmp_path / "mine.yaml"
    init(Args(folder, out))
    assert f"nothing states the unit of target: write it into {out}" in caplog.text
    assert yaml.safe_load(out.read_text())["dataset"]["target_units"] == {"target": ""}
    assert "nothing states it: write the unit" in out.read_text()


def test_nothing_is_overwritten(folder, tmp_path):
    write_table(folder, "id,gap\na,1\n")
    out = tmp_path / "mine.yaml"
    out.write_text("mine")
    with pytest.raises(UserError, match="is there already"):
        init(Args(folder, out))
    assert out.read_text() == "mine"


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({}, "--targets-csv TABLE is needed: .* there is none"),
        ({"a.csv": "id,g\na,1\n", "b.csv": "id,g\na,1\n"}, "there are a.csv, b.csv"),
        ({"a.csv": "id,g\nz,1\n"}, "the rows have the ids z; the structures a, POSCAR"),
        ({"a.csv": "id,g\na,red\n"}, "no column of numbers; it has g"),
    ],
)
def test_what_does_not_fit_is_said(folder, tmp_path, tables, message):
    for name, text in tables.items():
        (folder / name).write_text(text)
    with pytest.raises(UserError, match=message):
        init(Args(folder, tmp_path / "mine.yaml"))
    assert not (tmp_path / "mine.yaml").exists()


def test_a_unit_of_no_column_is_refused(folder, tmp_path):
    write_table(folder, "id,gap\na,1\n")
    with pytest.raises(UserError, match=r"--unit gpa: .* it has gap"):
        init(Args(folder, tmp_path / "mine.yaml", unit=[("gpa", "eV")]))


def test_a_person_is_asked_for_units(folder, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    write_table(folder, "id,gap,band_gap\na,1,2\n")
    asked = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr(
        "builtins.input", lambda text: asked.append(text) or ["meV", ""][len(asked) - 1]
    )
    out = tmp_path / "mine.yaml"
    init(Args(folder, out))
    assert asked == ["Unit of gap (nothing for a plain number): ", "Unit of band_gap [eV]: "]
    assert dict(load_config(out).dataset.target_units) == {"gap": "meV", "band_gap": "eV"}
