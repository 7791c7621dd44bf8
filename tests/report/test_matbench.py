"""A contribution to matbench: its own loader reads the record; runs of other crystals are refused."""

import hashlib
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dglframer.common.errors import UserError
from dglframer.data.matbench import fold_rows, matbench_id
from dglframer.report.matbench import export_matbench

TASK = "matbench_jdft2d"
MODEL = {"encoder": "crystalframer", "cutoff_angstrom": 8.4, "settings": {"width": 128}}


def run_of(folder, fold, rows=None):
    """A run whose prediction for row k is k + 0.5, for a label of k."""
    rows = fold_rows(TASK, fold).tolist() if rows is None else rows
    columns = {
        "id": [f"{TASK}-{k}" for k in rows] + ["matbench_jdft2d-635"],
        "split": ["test"] * len(rows) + ["train"],
        "property": ["exfoliation_en"] * (len(rows) + 1),
        "target": [float(k) for k in rows] + [1.0],
        "prediction": [k + 0.5 for k in rows] + [1.0],
    }
    (folder / "evaluation").mkdir(parents=True)
    pq.write_table(pa.table(columns), folder / "evaluation" / "predictions.parquet")
    (folder / "models" / "seed-0").mkdir(parents=True)
    history = {"seed": 0, "training": {"epochs": 3, "init_from": "/home/me/model"}}
    text = json.dumps(MODEL | {"history": history})
    (folder / "models" / "seed-0" / "model.json").write_text(text)
    dataset = {"source": "json", "path": f"/home/me/{TASK}.json.gz"}
    split = {"method": "matbench", "fold": fold, "seed": 1}
    (folder / "config.json").write_text(json.dumps({"dataset": dataset, "split": split}))
    return folder


@pytest.fixture
def runs(tmp_path):
    """Five runs, not in the order of the folds."""
    return [run_of(tmp_path / f"run-{k}", (2 * k + 1) % 5) for k in range(5)]


def test_the_record_has_every_prediction_under_its_id_and_its_hash(runs, tmp_path):
    out = tmp_path / "dglframer"
    assert export_matbench(runs, out, None, {"authors": "We"}) == [0.5] * 5
    record = json.loads((out / "results.json.gz").read_text())  # plain text, as matbench writes it
    results = record["tasks"][TASK]["results"]
    assert sorted(results) == [f"fold_{k}" for k in range(5)]
    data = {id: value for fold in results.values() for id, value in fold["data"].items()}
    assert data == {matbench_id(TASK, k): k + 0.5 for k in range(636)}
    assert results["fold_1"]["scores"] == pytest.approx(
        {
            "mae": 0.5,
            "rmse": 0.5,
            "mape": sum(0.5 / k for k in fold_rows(TASK, 1) if k) / sum(fold_rows(TASK, 1) > 0),
            "max_error": 0.5,
        }
    )
    assert results["fold_0"]["parameters"]["training"] == {"epochs": 3}
    stated = record.pop("hash")
    text = json.dumps(record, sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest() == stated
    assert json.loads((out / "info.json").read_text())["authors"] == "We"
    config = json.loads((out / "config.json").read_text())
    assert config["dataset"]["path"] == f"{TASK}.json.gz"
    assert config["split"] == {"method": "matbench", "seed": 1}
    compile((out / "run.py").read_text(), "run.py", "exec")
    assert "/home/me" not in "".join(path.read_text() for path in out.iterdir())


def test_matbench_itself_reads_the_record(runs, tmp_path):
    bench = pytest.importorskip("matbench.bench", reason="matbench is not installed")
    export_matbench(runs, tmp_path / "out", None, {})
    read = bench.MatbenchBenchmark.from_file(tmp_path / "out" / "results.json.gz")
    assert read.is_valid and read.is_recorded and read.validate() == {}
    assert read.scores[TASK].mae.mean == 0.5


@pytest.mark.parametrize(
    ("fold", "rows", "message"),
    [
        (3, None, r"the runs have \[0, 1, 2, 3, 3\]"),
        (4, slice(1, None), "126 test structures, 127 in fold 4 of matbench_jdft2d: 1 are missing"),
        (4, slice(None), "1 are of other folds"),
    ],
)
def test_runs_that_are_not_the_folds_are_refused(tmp_path, fold, rows, message):
    runs = [run_of(tmp_path / f"run-{k}", k) for k in range(4)]
    test = fold_rows(TASK, fold).tolist()
    if rows is not None:
        more = [int(fold_rows(TASK, 0)[0])] if rows == slice(None) else []
        test = test[rows] + more
    runs.append(run_of(tmp_path / "run-4", fold, test))
    with pytest.raises(UserError, match=message):
        export_matbench(runs, tmp_path / "out", None, {})
    assert not (tmp_path / "out").exists()


def test_a_prediction_that_is_no_number_is_refused(runs, tmp_path):
    path = runs[0] / "evaluation" / "predictions.parquet"
    table = pq.read_table(path)
    values = [float("nan"), *table["prediction"].to_pylist()[1:]]
    pq.write_table(table.set_column(4, "prediction", pa.array(values)), path)
    with pytest.raises(UserError, match="not a finite number"):
        export_matbench(runs, tmp_path / "out", None, {})
