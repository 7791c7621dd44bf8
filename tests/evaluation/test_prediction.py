"""dglframer predict: many files, some bad; ensembles, tables, embeddings."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import torch
from helpers.crystals import TARGETS, crystal, write_crystals
from helpers.models import SMALL, make_model
from helpers.predictions import CPU, predict, rows, structure_files

from dglframer.common.errors import UserError
from dglframer.evaluation.demands import Demands
from dglframer.evaluation.predict import Reading, predict_files
from dglframer.networks.model_directory import load_model, members


@pytest.fixture
def model(tmp_path) -> Path:
    return make_model(tmp_path / "model")


@pytest.fixture
def files(tmp_path) -> list[Path]:
    return structure_files(tmp_path / "files")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_bad_files_get_a_row_and_the_others_are_predicted(model, files, tmp_path, suffix):
    out = tmp_path / f"p{suffix}"
    arguments = [model, *files, tmp_path / "absent.cif", "--out", out]
    command = [sys.executable, "-m", "dglframer", "predict", *map(str, arguments)]
    assert subprocess.run(command, capture_output=True).returncode == 1
    table = rows(out)
    assert list(table[0]) == [
        "id",
        "path",
        "prediction",
        "unit",
        "spread",
        "low",
        "high",
        "abstained",
        "warning",
        "error",
    ]
    by_id = {row["id"]: row for row in table}
    assert [row["path"] for row in table] == [str(path) for path in arguments[1:6]]
    assert list(by_id) == ["salt", "broken", "disordered", "caesium", "absent"]
    for id in ("salt", "caesium"):
        assert by_id[id]["prediction"] is not None and not by_id[id]["error"]
        assert by_id[id]["unit"] == "eV"
    assert "partial occupancy" in by_id["disordered"]["error"]
    assert "no such file" in by_id["absent"]["error"]
    assert all(by_id[id]["prediction"] is None for id in ("broken", "disordered", "absent"))


def test_good_files_exit_with_zero(model, files, tmp_path):
    assert (
        predict_files([model], [files[0], files[3]], tmp_path / "p.csv", CPU, Reading(10_000)) == 0
    )


def test_batching_does_not_change_predictions(model, files, tmp_path):
    predict_files([model], files, tmp_path / "a.parquet", CPU, Reading(10_000))
    predict_files([model], files, tmp_path / "b.parquet", CPU, Reading(1))
    for a, b in zip(rows(tmp_path / "a.parquet"), rows(tmp_path / "b.parquet"), strict=True):
        assert a["prediction"] == pytest.approx(b["prediction"], abs=1e-6)


def test_ensemble_is_mean_and_spread_and_members_keep_their_cutoff(files, tmp_path):
    members = [make_model(tmp_path / str(seed), seed, cutoff) for seed, cutoff in ((0, 5), (1, 7))]
    alone = []
    for member in members:
        predict_files([member], files[:1], tmp_path / "one.parquet", CPU, Reading(10_000))
        [row] = rows(tmp_path / "one.parquet")
        assert row["spread"] is None
        alone.append(row["prediction"])
    predict_files(members, files[:1], tmp_path / "both.parquet", CPU, Reading(10_000))
    [row] = rows(tmp_path / "both.parquet")
    assert row["prediction"] == pytest.approx(sum(alone) / 2, abs=1e-6)
    assert row["spread"] == pytest.approx(abs(alone[0] - alone[1]) / 2**0.5, abs=1e-6)


def test_members_with_different_cutoffs_have_graphs_of_their_own(files, tmp_path):
    """The mean is that of their predictions alone, whichever stands first."""
    members = [make_model(tmp_path / str(cutoff), cutoff=cutoff) for cutoff in (3.5, 6.0)]
    alone = []
    for member in members:
        predict_files([member], files[:1], tmp_path / "one.parquet", CPU, Reading(10_000))
        alone.append(rows(tmp_path / "one.parquet")[0]["prediction"])
    assert abs(alone[0] - alone[1]) > 1e-3
    for order in (members, members[::-1]):
        predict_files(order, files[:1], tmp_path / "both.parquet", CPU, Reading(10_000))
        [row] = rows(tmp_path / "both.parquet")
        assert row["prediction"] == pytest.approx(sum(alone) / 2, abs=1e-6)
        assert row["spread"] == pytest.approx(abs(alone[0] - alone[1]) / 2**0.5, abs=1e-6)


def test_it_abstains_where_the_members_disagree(files, tmp_path):
    """The threshold lies between the spreads of the two crystals."""
    members = [make_model(tmp_path / str(seed), seed) for seed in (0, 1)]
    both = [files[0], files[3], files[1]]
    predict_files(members, both, tmp_path / "all.parquet", CPU, Reading(10_000))
    spreads = [row["spread"] for row in rows(tmp_path / "all.parquet")[:2]]
    threshold = sum(spreads) / 2
    out = tmp_path / "some.csv"
    assert (
        predict_files(members, both, out, CPU, Reading(10_000), Demands(threshold)) == 1
    )  # the broken file
    result = rows(out)
    for row, spread in zip(result[:2], spreads, strict=True):
        assert row["abstained"] == (spread > threshold) == (row["prediction"] is None)
        assert row["spread"] == pytest.approx(spread) and not row["error"]
    assert sum(row["abstained"] for row in result) == 1
    assert result[2]["error"] and not result[2]["abstained"]


def test_abstaining_needs_several_models(model, files, tmp_path):
    with pytest.raises(UserError, match="abstain_above"):
        predict_files([model], files, tmp_path / "p.csv", CPU, Reading(10_000), Demands(0.1))


def test_members_must_predict_the_same(files, tmp_path):
    members = [make_model(tmp_path / unit, unit=unit) for unit in ("eV", "meV")]
    with pytest.raises(UserError, match="meV"):
        predict_files(members, files, tmp_path / "p.csv", CPU, Reading(10_000))


def test_parquet_of_crystals(model, tiny_run, tmp_path):
    predict_files([model], [tiny_run.crystals], tmp_path / "p.parquet", CPU, Reading(10_000))
    assert [row["id"] for row in rows(tmp_path / "p.parquet")] == [c.id for c in tiny_run.valid]


def test_no_text_of_the_csv_is_a_formula(model, tmp_path):
    """A spreadsheet would run it; Parquet has the ids as they are."""
    names = ["=cmd|x", "+1", "@SUM", "-2", "plain", "a=b"]
    cell = (4.2 * np.eye(3), [[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]])
    labels = dict.fromkeys(TARGETS, 0.0)
    crystals = [crystal(name, "Cs Cl", *cell, **labels) for name in sorted(names)]
    write_crystals(tmp_path / "c.parquet", crystals)
    for suffix in ("csv", "parquet"):
        predict_files(
            [model], [tmp_path / "c.parquet"], tmp_path / f"p.{suffix}", CPU, Reading(10_000)
        )
    assert [row["id"] for row in rows(tmp_path / "p.parquet")] == sorted(names)
    lines = list(csv.reader((tmp_path / "p.csv").read_text().splitlines()))[1:]
    assert [line[0] for line in lines] == ["'+1", "'-2", "'=cmd|x", "'@SUM", "a=b", "plain"]
    assert all(float(line[2]) for line in lines)


def test_out_must_have_a_known_suffix(model, files, tmp_path):
    with pytest.raises(UserError, match=r"\.csv or \.parquet"):
        predict_files([model], files, tmp_path / "p.xlsx", CPU, Reading(10_000))


def test_a_run_that_nobody_watches_writes_its_table(model, files, tmp_path):
    """dglframer predict ... 2>&1 | head -1"""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "dglframer", "predict", model, files[0], "--out", "p.csv"]
    done = subprocess.run(command, stdout=write, stderr=write, cwd=tmp_path, check=False)
    os.close(write)
    assert done.returncode == 0
    assert len(rows(tmp_path / "p.csv")) == 1


def test_a_folder_of_seeds_is_an_ensemble(files, tmp_path):
    """Named as a folder, or one by one before the structures or with --model."""
    seeds = [make_model(tmp_path / "models" / f"seed-{k}", k) for k in (0, 1, 2, 10)]
    assert members(tmp_path / "models") == seeds and members(seeds[1]) == [seeds[1]]
    ways = ([tmp_path / "models"], seeds, [seeds[0], "--model", seeds[1]])
    tables = []
    for k, models in enumerate(ways):
        out = tmp_path / f"{k}.csv"
        words = [*models[:1], *models[1:], files[0]] if k < 2 else [seeds[0], files[0], *models[1:]]
        assert predict(*words, "--out", out)[0] == 0
        tables.append(rows(out))
    assert tables[0] == tables[1] and tables[0][0]["spread"] > 0
    assert tables[2][0]["spread"] > 0 and tables[2] != tables[0]


def test_without_out_the_table_goes_to_standard_output(model, files, tmp_path):
    command = [sys.executable, "-m", "dglframer", "predict", model, *files[:2]]
    done = subprocess.run(command, capture_output=True, cwd=tmp_path, check=False)
    assert done.returncode == 1
    predict_files([model], files[:2], tmp_path / "p.csv", CPU, Reading())
    assert done.stdout == (tmp_path / "p.csv").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["files", "model", "p.csv"]


def test_embeddings_are_what_the_head_sees(model, files, tmp_path):
    """In a file of their own, and the predictions stay as they are."""
    out, vectors = tmp_path / "p.csv", tmp_path / "v.parquet"
    predict_files([model], files, out, CPU, Reading(), embed=vectors)
    predict_files([model], files, tmp_path / "alone.csv", CPU, Reading())
    assert out.read_bytes() == (tmp_path / "alone.csv").read_bytes()
    table = pq.read_table(vectors)
    assert table.schema.field("embedding").type == pa.list_(pa.float32())
    loaded = load_model(model)
    for row, prediction in zip(table.to_pylist(), rows(out), strict=True):
        assert (row["id"], row["path"]) == (prediction["id"], prediction["path"])
        if row["error"]:
            assert row["embedding"] is None and row["error"] == prediction["error"]
            continue
        assert len(row["embedding"]) == SMALL.width
        with torch.no_grad():
            output = loaded.network.head(torch.tensor([row["embedding"]]))
        assert float(loaded.denormalise(output, ())) == pytest.approx(
            prediction["prediction"], abs=1e-6
        )


def test_embeddings_of_an_ensemble_are_those_of_its_first_model(model, files, tmp_path):
    alone, first = tmp_path / "alone.parquet", tmp_path / "first.parquet"
    predict_files([model], files, None, CPU, Reading(), embed=alone)
    other = make_model(tmp_path / "other", 1)
    predict_files([model, other], files, None, CPU, Reading(), embed=first)
    assert pq.read_table(first).equals(pq.read_table(alone))


def test_embeddings_are_in_parquet(model, files, tmp_path):
    with pytest.raises(UserError, match=r"must end in \.parquet"):
        predict_files([model], files, None, CPU, Reading(), embed=tmp_path / "v.csv")


LOADED = """
import sys
from dglframer.cli.main import main

main()
print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


def test_a_prediction_loads_only_what_it_needs(model, files):
    """The fixed cost of a call: these take seconds to load."""
    command = [sys.executable, "-c", LOADED, "predict", model, files[0], "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = set(done.stderr.splitlines()[-1].split())
    heavy = "sympy pandas dgl pymatgen jarvis ase optuna sklearn matplotlib e3nn snakemake pyarrow"
    assert "torch" in loaded and not loaded & set(heavy.split())


def test_model_directories_can_be_moved(model, files, tmp_path):
    shutil.move(model, tmp_path / "elsewhere")
    assert (
        predict_files([tmp_path / "elsewhere"], files[:1], tmp_path / "p.csv", CPU, Reading(1000))
        == 0
    )
