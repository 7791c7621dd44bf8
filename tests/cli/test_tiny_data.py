"""Data sets of no, one or a few crystals: every stage works or ends with one message, never a traceback."""

import json
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.stages import STAGES

from dglframer.cli import main as cli
from dglframer.common.files import read_json, write_json

SMALL = {
    "graphs": {"cutoff_angstrom": 5.0},
    "crystalframer": {"blocks": 1, "width": 8, "heads": 2, "feedforward": 8},
    "training": {"epochs": 2, "averaged_epochs": 1},
    "tune": {"trials": 1, "epochs": 1},
    "seeds": [0],
}


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs the stages in order; returns the first that ends with an error, and its message."""
    monkeypatch.chdir(tmp_path)

    def run(*stages: str) -> tuple[str, str]:
        for stage in stages or STAGES:
            monkeypatch.setattr(sys, "argv", ["dglframer", stage, *STAGES[stage].split()])
            status, (_, error) = cli.main(), capsys.readouterr()
            if status:
                assert status == 2 and error.count("dglframer: error: ") == 1
                return stage, error
        return "", ""

    return run


def entry(k: int, **changes) -> dict:
    """A crystal of the CsCl type with an own lattice constant and label."""
    atoms = {
        "lattice_mat": ((3.5 + 0.3 * k) * np.eye(3)).tolist(),
        "coords": [[0, 0, 0], [0.5, 0.5, 0.5]],
        "elements": ["Cs" if k % 2 else "Na", "Cl"],
        "cartesian": False,
    }
    return {"id": f"x{k}", "e": 1.0 + 0.5 * k, "atoms": atoms} | changes


def write_data(folder, entries: list[dict], **sections) -> None:
    (folder / "data.json").write_text(json.dumps(entries))
    dataset = {"source": "json", "path": "data.json", "targets": ["e"]}
    write_json(folder / "config.json", {**SMALL, "dataset": dataset, **sections})


def test_four_crystals_reach_the_report(run, tmp_path):
    write_data(tmp_path, [entry(k) for k in range(4)])
    assert run() == ("", "")
    split = pq.read_table(tmp_path / "split.parquet")["split"].to_pylist()
    assert sorted(split) == ["test", "train", "train", "val"]
    metrics = read_json(tmp_path / "evaluation" / "metrics.json")["targets"]["e"]
    (test,) = (k for k in range(4) if split[k] == "test")
    train = [1.0 + 0.5 * k for k in range(4) if split[k] == "train"]
    assert metrics["median_baseline"]["test_mae"] == abs(1.0 + 0.5 * test - sum(train) / 2)
    assert (tmp_path / "predictions.csv").read_text().count("\n") == 5
    assert "Nothing states the unit of e, so" in (tmp_path / "report.html").read_text()


def test_two_targets_with_missing_labels_reach_the_report(run, tmp_path):
    """Every third crystal lacks one target: counts, errors and files are over the known labels."""
    cells = [entry(k) | {"f": 2.0 - 0.3 * k * k} for k in range(18)]
    for k in range(0, 18, 3):
        cells[k]["f" if k % 2 else "e"] = None
    dataset = {"source": "json", "path": "data.json", "targets": ["e", "f"]}
    split = {"method": "random", "val_fraction": 0.3, "test_fraction": 0.3}
    write_data(tmp_path, cells, dataset=dataset, split=split)
    assert run() == ("", "")
    rows = pq.read_table(tmp_path / "evaluation" / "predictions.parquet").to_pylist()
    assert len(rows) == 36
    for row in rows:
        assert row["target"] == cells[int(row["id"][1:])][row["property"]]
        assert np.isfinite(row["prediction"])
    for name, one in read_json(tmp_path / "evaluation" / "metrics.json")["targets"].items():
        for part, errors in one["splits"].items():
            known = [
                row
                for row in rows
                if (row["property"], row["split"]) == (name, part) and row["target"] is not None
            ]
            assert errors["crystals"] == len(known)
            found = [abs(row["prediction"] - row["target"]) for row in known]
            assert errors["mae"] == pytest.approx(np.mean(found))
        train = [
            row["target"]
            for row in rows
            if (row["property"], row["split"]) == (name, "train") and row["target"] is not None
        ]
        test = [row["target"] for row in known]
        assert one["median_baseline"] == {
            "test_mae": pytest.approx(np.abs(np.array(test) - np.median(train)).mean()),
            "test_crystals": len(test),
            "what": "the median of the training labels",
        }
        assert np.isfinite(one["boosting_baseline"]["test_mae"])
        assert np.isfinite(one["composition_baseline"]["test_mae"])
    labels = read_json(tmp_path / "inspection.json")["labels"]
    assert (labels["e"]["count"], labels["f"]["count"]) == (15, 15)


MANY = [entry(k) for k in range(5)]
ALIKE = [entry(0, id=f"x{k}", e=1.0 + k) for k in range(5)]
OUTSIDE = {"unphysical_labels": "drop", "label_ranges": {"e": [100, 200]}}
TOO_FEW = "there are too few crystals for three parts"


@pytest.mark.parametrize(
    ("entries", "sections", "stage", "message"),
    [
        ([entry(0, atoms={})], {}, "crystals", "of 1 records 1 were rejected and 0 have no label"),
        ([entry(0)], {}, "split", f"train 0, val 1, test 0, left out 0): {TOO_FEW}"),
        (MANY[:2], {}, "split", f"train 0, val 1, test 1, left out 0): {TOO_FEW}"),
        (MANY[:3], {}, "tune", "the same value for every training crystal"),
        ([{**one, "e": 1.0} for one in MANY], {}, "tune", "the same value for every training"),
        (
            ALIKE,
            {"cleaning": {"duplicates": "drop"}},
            "split",
            "train 0, val 1, test 0, left out 4",
        ),
        (MANY, {"cleaning": OUTSIDE}, "split", "train 0, val 0, test 0, left out 5"),
        (MANY, {"split": {"method": "official"}}, "split", "the val split is empty"),
        (MANY, {"split": {"method": "kfold", "folds": 6}}, "split", "6 folds of 5 crystals"),
        (MANY, {"split": {"method": "by_time"}}, "split", "no crystal has a date"),
        (MANY, {"split": {"method": "by_composition"}}, "split", "the train split is empty"),
        (MANY, {"split": {"method": "by_prototype"}}, "split", "the train split is empty"),
        (
            MANY,
            {"split": {"method": "leave_element_out", "elements": ["U"]}},
            "split",
            "the test split is empty",
        ),
        (
            MANY,
            {"split": {"method": "leave_element_out", "elements": ["Cl"]}},
            "split",
            "the train split is empty",
        ),
        (
            MANY,
            {"split": {"method": "canonical"}},
            "download",
            "split.method canonical: json has no split",
        ),
    ],
)
def test_too_few_crystals_are_one_message(run, tmp_path, entries, sections, stage, message):
    write_data(tmp_path, entries, **sections)
    stopped, error = run()
    assert stopped == stage and message in error


@pytest.mark.parametrize("n", [0, 1])
def test_a_file_of_no_or_one_crystal_passes_the_stages_that_need_no_parts(run, tmp_path, n):
    """Such a crystals.parquet is not of the crystals stage, which refuses a source without crystals."""
    write_data(tmp_path, [entry(0), entry(1)])
    assert run("download", "crystals") == ("", "")
    table = pq.read_table(tmp_path / "crystals.parquet")
    pq.write_table(table.slice(0, n), tmp_path / "crystals.parquet")
    rows = {"id": table["id"].slice(0, n), "split": pa.array(["train"] * n, pa.string())}
    pq.write_table(pa.table(rows), tmp_path / "split.parquet")
    assert run("clean", "leakage", "graphs") == ("", "")
    assert pq.read_metadata(tmp_path / "checks.parquet").num_rows == n
    assert read_json(tmp_path / "leakage.json")["crystals"] == {"train": n, "val": 0, "test": 0}
    assert read_json(tmp_path / "graphs" / "manifest.json")["crystals"] == n
    stage, error = run("tune")
    assert stage and f"the {'val' if n else 'train'} split is empty" in error
