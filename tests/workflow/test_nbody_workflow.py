"""`snakemake nbody` from nothing to the table, and what a changed key makes it do again."""

import json
import sys
from pathlib import Path

import pytest
from helpers.workflow import planned, snakemake

from dglframer.cli import main as cli

TINY = {
    "nbody": {
        "budget": "smoke",
        "caps": ["norm"],
        "models": ["deepset", "se3_transformer"],
        "simulations": [40, 10, 10],
        "steps": 2,
    }
}


def test_the_verbs_make_each_others_files(tmp_path, monkeypatch, capsys):
    (tmp_path / "config.json").write_text(json.dumps(TINY))
    monkeypatch.chdir(tmp_path)
    commands = [
        "simulate --config config.json --cap component --out data",
        "bounds --config config.json --data data --out bounds.json",
        "train --config config.json --data data --model egnn --frames 10 --seed 3 --out egnn",
        "evaluate --data data --models egnn --out evaluation.json",
        "table --evaluations evaluation.json --bounds bounds.json --out table",
    ]
    for command in commands:
        monkeypatch.setattr(sys, "argv", ["dglframer", "nbody", *command.split()])
        assert cli.main() == 0, capsys.readouterr().err
    assert (tmp_path / "table" / "table.md").read_text() in capsys.readouterr().out
    assert json.loads((tmp_path / "egnn" / "model.json").read_text())["seed"] == 3


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train --data data --model egnn", "data: not a data set"),
        ("train --data data --model egn", "no model egn"),
        ("bounds --data data", "data: not a data set"),
    ],
)
def test_wrong_input_is_one_message(tmp_path, monkeypatch, capsys, command, message):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "data").write_text("no data")
    monkeypatch.chdir(tmp_path)
    words = f"nbody {command} --config config.json --out out".split()
    words += ["--frames", "10", "--seed", "0"] if "train" in command else []
    monkeypatch.setattr(sys, "argv", ["dglframer", *words])
    assert cli.main() == 2
    error = capsys.readouterr().err
    assert message in error and error.count("dglframer: error: ") == 1


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("nbody")
    snakemake(folder, "nbody", config=TINY)
    return folder / "results" / "nbody"


def jobs(folder: Path, *targets: str, **changes) -> dict[str, int]:
    """Rules and counts of a dry run of the tiny experiment with changed keys."""
    return planned(folder, "nbody", {"nbody": TINY["nbody"] | changes}, *targets)


@pytest.mark.slow
def test_everything_is_there(finished):
    names = "table.json table.md rotation.svg learning_curves.svg horizon.svg norm/evaluation.json"
    assert all((finished / name).stat().st_size > 500 for name in names.split())
    (one,) = json.loads((finished / "table.json").read_text())["data_sets"]
    assert [row["model"] for row in one["rows"]] == ["linear", "deepset", "se3_transformer"]
    assert one["rows"][2]["parameters"] == 66_292 and one["rows"][2]["steps"] == 2
    trained = {path.name for path in (finished / "norm" / "models").iterdir()}
    assert trained == {
        "deepset-10-frames-seed-0",
        "se3_transformer-10-frames-seed-0",
        "se3_transformer-2-frames-seed-0",
    }
    log = (finished.parent / "logs" / "nbody-table.txt").read_text()
    assert " done in " in log and "equivariant floor" in log


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {}),
        ({"seeds": [0, 1]}, {"train": 2, "evaluate": 1, "table": 1}),
        ({"models": ["deepset"]}, {"evaluate": 1, "table": 1}),
        (
            {"caps": ["norm", "component"]},
            {"simulate": 1, "bounds": 1, "train": 3, "evaluate": 1, "table": 1},
        ),
        (
            {"data_seed": 1},
            {"simulate": 1, "bounds": 1, "train": 3, "evaluate": 1, "table": 1},
        ),
    ],
    ids=str,
)
def test_what_a_changed_key_reruns(finished, changes, expected):
    assert jobs(finished.parents[1], "nbody", **changes) == expected


def test_the_default_target_has_nothing_of_it(tmp_path):
    assert jobs(tmp_path) == {}
    assert jobs(tmp_path, "nbody")["train"] == 3
