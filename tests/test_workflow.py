"""The Snakemake workflow: its shape, what reruns when, and one small run from end to end."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

SMALL_RUN = {
    "model": {"blocks": 1, "width": 16, "heads": 2, "feedforward": 16},
    "graphs": {"cutoff_angstrom": 4.0, "crystals_per_shard": 200},
    "training": {"epochs": 2, "averaged_epochs": 1, "batch_size": 32},
    "tune": {"trials": 1, "epochs": 1},
}
STAGES = (
    "download crystals clean inspect split leakage graphs tune train_seed evaluate report".split()
)


def snakemake(folder: Path, *arguments: str, config: dict | None = None, check: bool = True):
    """Run the checkout's workflow in ``folder``, with `dglframer` taken from this environment."""
    (folder / "changes.json").write_text(json.dumps(merged(SMALL_RUN, config or {})))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    command += ["--cores", "2", *arguments, "--configfile", "changes.json"]
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=check,
    )


def merged(base: dict, changes: dict) -> dict:
    result = dict(base)
    for key, value in changes.items():
        result[key] = merged(base[key], value) if isinstance(base.get(key), dict) else value
    return result


def planned(folder: Path, *arguments: str, config: dict | None = None) -> dict[str, int]:
    """Jobs of a dry run: rule name to count, targets without a command left out."""
    output = snakemake(folder, *arguments, "--dry-run", "--quiet", "rules", config=config)
    text = output.stdout + output.stderr
    jobs = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 2 and words[1].isdigit() and words[0] in STAGES:
            jobs[words[0]] = int(words[1])
    return jobs


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A folder with a name that needs quoting, in which the workflow has run once."""
    folder = tmp_path_factory.mktemp("a run with ünicode") / "results here"
    folder.mkdir()
    snakemake(folder)
    return folder


def test_the_default_dag(tmp_path):
    jobs = planned(tmp_path)
    assert jobs == {stage: 2 if stage == "train_seed" else 1 for stage in STAGES}


def test_everything_is_there_and_documented_files_are_readable(finished):
    results = finished / "results"
    expected = """
        config.json download.json crystals.parquet rejected.parquet split.parquet
        checks.parquet inspection.json inspection.html leakage.json
        graphs/manifest.json graphs/shard-00000.parquet graphs/shard-00002.parquet
        tune/best.json tune/trials.json tune/study.sqlite3
        models/seed-0/model.json models/seed-0/model.safetensors models/seed-0/metrics.jsonl
        models/seed-1/model.json evaluation/predictions.parquet evaluation/metrics.json
        evaluation/parity.svg evaluation/learning_curve.svg report.html
    """.split()
    missing = [name for name in expected if not (results / name).is_file()]
    assert not missing
    metrics = json.loads((results / "evaluation" / "metrics.json").read_text())
    target = metrics["targets"]["formation_energy_peratom"]
    counts = {name: part["crystals"] for name, part in target["splits"].items()}
    assert counts == {"train": 398, "val": 50, "test": 54}
    assert target["median_baseline"]["test_mae"] == pytest.approx(1.0643, abs=1e-4)
    for stage in STAGES:
        logs = list((results / "logs").glob(f"{stage.replace('_', '-')}*.txt"))
        assert logs and all(" done in " in path.read_text() for path in logs), stage


def test_a_second_run_has_nothing_to_do(finished):
    output = snakemake(finished)
    assert "Nothing to be done" in output.stdout + output.stderr


CHANGES = [
    ({"split": {"method": "random"}}, "split leakage tune train_seed evaluate report"),
    ({"cleaning": {"duplicates": "ignore"}}, "clean inspect leakage report"),
    (
        {"cleaning": {"duplicates": "drop"}},
        "clean inspect split leakage tune train_seed evaluate report",
    ),
    ({"graphs": {"cutoff_angstrom": 4.5}}, "graphs tune train_seed evaluate report"),
    ({"model": {"heads": 4}}, "tune train_seed evaluate report"),
    ({"training": {"epochs": 3}}, "tune train_seed evaluate report"),
    ({"training": {"checkpoint_minutes": 1, "tensorboard": True}}, ""),
    ({"tune": {"seed": 5}}, "tune train_seed evaluate report"),
    ({"seeds": [0]}, "evaluate report"),
    ({"seeds": [0, 1, 2]}, "train_seed evaluate report"),
    ({"dataset": {"targets": ["optb88vdw_bandgap"]}}, " ".join(STAGES)),
]


@pytest.mark.parametrize(("change", "rules"), CHANGES, ids=lambda value: str(value)[:40])
def test_what_a_changed_key_reruns(finished, change, rules):
    assert sorted(planned(finished, config=change)) == sorted(rules.split())


def test_targets_of_single_stages(tmp_path, finished):
    assert "evaluate" not in planned(tmp_path, "train")
    assert sorted(planned(finished, "--forcerun", "evaluate")) == ["evaluate", "report"]


def test_the_same_bytes_in_another_folder(finished, tmp_path):
    """Weights, predictions and report do not depend on where or when the workflow ran."""
    snakemake(tmp_path)
    for name in ("models/seed-1/model.safetensors", "evaluation/predictions.parquet"):
        first, second = (folder / "results" / name for folder in (finished, tmp_path))
        assert first.read_bytes() == second.read_bytes(), name


def test_graphs_in_parts_by_several_jobs(finished, tmp_path):
    """As for large data sets: each job builds its shards, the last one finds them and lists them."""
    shutil.copytree(finished / "results", tmp_path / "results")
    shutil.rmtree(tmp_path / "results" / "graphs")
    snakemake(tmp_path, *(f"results/graphs/built/{part}-of-2" for part in (1, 2)))
    shards = sorted((tmp_path / "results" / "graphs").glob("shard-*.parquet"))
    made = [path.stat().st_mtime_ns for path in shards]
    snakemake(tmp_path, "results/graphs/manifest.json")
    assert [path.stat().st_mtime_ns for path in shards] == made
    for path in (*shards, tmp_path / "results" / "graphs" / "manifest.json"):
        assert path.read_bytes() == (finished / path.relative_to(tmp_path)).read_bytes()


def test_an_interrupted_training_goes_on(finished, tmp_path):
    """Snakemake removes the outputs of a job that was killed; the checkpoints are not among them."""
    shutil.copytree(finished / "results", tmp_path / "results")
    for name in ("model.json", "model.safetensors", "metrics.jsonl"):
        (tmp_path / "results" / "models" / "seed-1" / name).unlink()
    shutil.copytree(finished / ".snakemake", tmp_path / ".snakemake")
    snakemake(tmp_path, "results/models/seed-1/model.json")
    assert "going on after" in (tmp_path / "results/logs/train-seed-1.txt").read_text()
    for name in ("model.safetensors", "model.json", "metrics.jsonl"):
        first, second = (one / "results/models/seed-1" / name for one in (finished, tmp_path))
        assert first.read_bytes() == second.read_bytes()


def test_a_damaged_shard_stops_training_with_its_name(finished, tmp_path):
    shutil.copytree(finished / "results", tmp_path / "results")
    shard = tmp_path / "results" / "graphs" / "shard-00001.parquet"
    shard.write_bytes(shard.read_bytes()[:-10])
    shutil.rmtree(tmp_path / "results" / "cache")
    command = "train --config results/config.json --graphs results/graphs --seed 0 --out model"
    output = subprocess.run(
        [sys.executable, "-m", "dglframer", *command.split(), "--split", "results/split.parquet"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert output.returncode == 2
    assert "shard-00001.parquet" in output.stderr and "Traceback" not in output.stderr


def test_a_mistyped_key_is_named_before_anything_runs(tmp_path):
    output = snakemake(tmp_path, "--dry-run", config={"trainign": {"epochs": 3}}, check=False)
    assert output.returncode != 0
    assert "did you mean training?" in output.stdout + output.stderr


def test_snakemake_report(finished):
    snakemake(finished, "--report", "report.zip")
    assert (finished / "report.zip").stat().st_size > 10_000


def test_lint():
    command = [sys.executable, "-m", "snakemake", "--lint", "--snakefile", str(ROOT / "Snakefile")]
    assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 0
