"""A contribution to the JARVIS leaderboard: its files, and the comparison with the benchmark."""

import csv
import io
import json
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dglframer.common.errors import UserError
from dglframer.report.leaderboard import benchmark_labels, export_leaderboard

LABELS = {"JVASP-2": 1.5, "JVASP-1": -0.25}
NAME = "dft_3d_formation_energy_peratom.json.zip"
TITLE = "AI-SinglePropertyPrediction-formation_energy_peratom-dft_3d-test-mae.csv"


@pytest.fixture
def results(tmp_path):
    """A run with two properties and three test crystals, of which one has no label of the first."""
    rows = [
        ("JVASP-1", "test", "energy", -0.25, -0.125),
        ("JVASP-1", "test", "gap", 1.0, 2.0),
        ("JVASP-2", "test", "energy", 1.5, 1.0),
        ("JVASP-2", "test", "gap", 1.0, 2.0),
        ("JVASP-3", "train", "energy", 9.0, 9.0),
        ("JVASP-4", "test", "energy", None, 3.0),
    ]
    names = ("id", "split", "property", "target", "prediction")
    folder = tmp_path / "results"
    (folder / "evaluation").mkdir(parents=True)
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    pq.write_table(pa.table(columns), folder / "evaluation" / "predictions.parquet")
    for seed, seconds in ((0, 10.0), (1, 20.0)):
        (folder / "models" / f"seed-{seed}").mkdir(parents=True)
        line = json.dumps({"train_seconds": seconds, "val_seconds": 0.25})
        (folder / "models" / f"seed-{seed}" / "metrics.jsonl").write_text(f"{line}\n{line}\n")
    config = {
        "seeds": [0, 1],
        "dataset": {"source": "json", "path": "/home/me/crystals.json", "targets_csv": None},
        "training": {"init_from": "/home/me/models/seed-0"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def benchmark(tmp_path, labels=LABELS, name=NAME):
    path = tmp_path / name
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name.removesuffix(".zip"), json.dumps({"train": {}, "test": labels}))
    return path


def test_the_contribution_has_the_files_that_the_leaderboard_reads(results, tmp_path):
    out = tmp_path / "dglframer_model"
    about = {"team_name": "We"}
    mae = export_leaderboard(results, out, benchmark(tmp_path), "energy", about)
    assert mae == (0.5 + 0.125) / 2
    assert sorted(path.name for path in out.iterdir()) == [
        f"{TITLE}.zip", "config.json", "metadata.json", "run.sh",
    ]  # fmt: skip
    with zipfile.ZipFile(out / f"{TITLE}.zip") as archive:
        assert archive.namelist() == [TITLE]
        rows = list(csv.DictReader(io.StringIO(archive.read(TITLE).decode())))
    assert rows == [
        {"id": "JVASP-2", "prediction": "1.0"},
        {"id": "JVASP-1", "prediction": "-0.125"},
    ]
    metadata = json.loads((out / "metadata.json").read_text())
    assert (metadata["team_name"], metadata["author_email"]) == ("We", "")
    assert metadata["time_taken_seconds"] == 61.0
    assert json.loads((out / "config.json").read_text()) == {
        "seeds": [0, 1],
        "dataset": {"source": "json", "path": "crystals.json", "targets_csv": None},
        "training": {"init_from": "seed-0"},
    }, "folders of this machine are nobody's business"


@pytest.mark.parametrize(
    ("labels", "target", "name", "message"),
    [
        (LABELS, None, NAME, "--target is needed: the run has energy, gap"),
        (LABELS, "heat", NAME, "--target heat: the run has energy, gap"),
        ({**LABELS, "JVASP-9": 0.0}, "energy", NAME, r"1 are missing \(such as JVASP-9\)"),
        ({"JVASP-1": -0.25}, "energy", NAME, r"1 are others \(such as JVASP-2\)"),
        ({**LABELS, "JVASP-1": -0.2}, "energy", NAME, r"JVASP-1: its label is -0\.25 here"),
        (LABELS, "energy", "something.json.zip", "not named like a benchmark"),
    ],
)
def test_what_does_not_fit_the_benchmark_is_refused(
    results, tmp_path, labels, target, name, message
):
    out = tmp_path / "out"
    with pytest.raises(UserError, match=message):
        export_leaderboard(results, out, benchmark(tmp_path, labels, name), target, {})
    assert not out.exists()


def test_a_file_that_is_no_benchmark_is_refused(results, tmp_path):
    (tmp_path / NAME).write_bytes(b"no zip")
    with pytest.raises(UserError, match="not a benchmark's file"):
        export_leaderboard(results, tmp_path / "out", tmp_path / NAME, "energy", {})


def test_the_leaderboard_s_own_checks_take_the_contribution(results, tmp_path, monkeypatch):
    theirs = pytest.importorskip("jarvis_leaderboard.rebuild", exc_type=ImportError)
    benchmarks = Path(theirs.root_dir) / "benchmarks"
    file = benchmarks / "AI" / "SinglePropertyPrediction" / NAME
    labels = benchmark_labels(file)
    columns = {
        "id": list(labels),
        "split": ["test"] * len(labels),
        "property": ["energy"] * len(labels),
        "target": list(labels.values()),
        "prediction": [label + 0.25 for label in labels.values()],
    }
    pq.write_table(pa.table(columns), results / "evaluation" / "predictions.parquet")
    out = tmp_path / "contributions" / "dglframer_model"
    stated = {"author_email": "we@example.org"}
    assert export_leaderboard(results, out, file, None, stated) == pytest.approx(0.25)
    (tmp_path / "benchmarks").symlink_to(benchmarks)
    monkeypatch.setattr(theirs, "root_dir", str(tmp_path))
    for check in (
        theirs.check_metadata_json_exists,
        theirs.check_metadata_info_exists,
        theirs.check_run_sh_exists,
        theirs.check_at_least_one_csv_zip_exists,
        theirs.check_json_zip_exists_for_csv_zip,
    ):
        assert not check(), check.__name__
    read = theirs.get_metric_value(str(out / f"{TITLE}.zip"))
    assert (read["res"], read["num_entries"]) == (0.25, len(labels))
    assert not theirs.errors
