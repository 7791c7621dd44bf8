"""`snakemake shapes` from nothing to the table, and what a changed key makes it do again."""

import json
import sys
from pathlib import Path

import pytest
from helpers.workflow import planned, snakemake

from dglframer.cli import main as cli

TINY = {
    "shapes": {
        "budget": "smoke",
        "models": ["deepset", "se3_transformer", "se3_transformer_z"],
        "objects": [1, 1, 1],
        "steps": 2,
    }
}


def test_the_verbs_make_each_others_files(tmp_path, monkeypatch, capsys):
    (tmp_path / "config.json").write_text(json.dumps(TINY))
    monkeypatch.chdir(tmp_path)
    commands = [
        "data --config config.json --out data",
        "train --config config.json --data data --model tfn_z --orientation rotated --seed 3 --out tfn",
        "evaluate --data data --models tfn --out evaluation.json",
        "table --evaluation evaluation.json --out table",
    ]
    for command in commands:
        monkeypatch.setattr(sys, "argv", ["dglframer", "shapes", *command.split()])
        assert cli.main() == 0, capsys.readouterr().err
    assert (tmp_path / "table" / "table.md").read_text() in capsys.readouterr().out
    assert json.loads((tmp_path / "tfn" / "model.json").read_text())["seed"] == 3


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train --data data --model tfn_z", "data: not a data set"),
        ("train --data data --model tfn_x", "no model tfn_x"),
        ("data", "training_objectdataset.h5: not a file of ScanObjectNN"),
    ],
)
def test_wrong_input_is_one_message(tmp_path, monkeypatch, capsys, command, message):
    scans = {"source": "scanobjectnn", "path": "."}
    (tmp_path / "config.json").write_text(json.dumps({"shapes": scans}))
    (tmp_path / "data").write_text("no data")
    (tmp_path / "training_objectdataset.h5").write_text("no data")
    monkeypatch.chdir(tmp_path)
    words = f"shapes {command} --config config.json --out out".split()
    words += ["--orientation", "as_given", "--seed", "0"] if "train" in command else []
    monkeypatch.setattr(sys, "argv", ["dglframer", *words])
    assert cli.main() == 2
    error = capsys.readouterr().err
    assert message in error and error.count("dglframer: error: ") == 1


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    snakemake(folder, "shapes", config=TINY)
    return folder / "results" / "shapes"


def jobs(folder: Path, *targets: str, **changes) -> dict[str, int]:
    """Rules and counts of a dry run of the tiny experiment with changed keys."""
    return planned(folder, "shapes", {"shapes": TINY["shapes"] | changes}, *targets)


@pytest.mark.slow
def test_everything_is_there(finished):
    names = "table.json table.md tilt.svg objects.svg evaluation.json"
    assert all((finished / name).stat().st_size > 500 for name in names.split())
    rows = json.loads((finished / "table.json").read_text())["rows"]
    assert [(row["model"], row["orientation"]) for row in rows] == [
        ("deepset", "as_given"),
        ("deepset", "rotated"),
        ("se3_transformer", "as_given"),
        ("se3_transformer_z", "as_given"),
        ("se3_transformer_z", "rotated"),
    ]
    log = (finished.parent / "logs" / "shapes-table.txt").read_text()
    assert " done in " in log and "What it says" in log


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {}),
        ({"seeds": [0, 1]}, {"train": 5, "evaluate": 1, "table": 1}),
        ({"models": ["deepset"]}, {"evaluate": 1, "table": 1}),
        ({"data_seed": 1}, {"data": 1, "train": 5, "evaluate": 1, "table": 1}),
    ],
    ids=str,
)
def test_what_a_changed_key_reruns(finished, changes, expected):
    assert jobs(finished.parents[1], "shapes", **changes) == expected


def test_the_default_target_has_nothing_of_it(tmp_path):
    assert jobs(tmp_path) == {}
    assert jobs(tmp_path, "shapes")["train"] == 5


def test_scans_are_an_input(tmp_path):
    """Those of the user: without them nothing begins."""
    scans = {"source": "scanobjectnn", "path": "scans"}
    config = {"shapes": TINY["shapes"] | scans}
    done = snakemake(tmp_path, "shapes", "--dry-run", config=config, check=False)
    assert done.returncode != 0 and "training_objectdataset.h5" in done.stdout + done.stderr
    (tmp_path / "scans").mkdir()
    for name in ("training_objectdataset.h5", "test_objectdataset.h5"):
        (tmp_path / "scans" / name).write_text("")
    assert jobs(tmp_path, "shapes", **scans)["data"] == 1
