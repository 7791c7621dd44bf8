"""Paths of configuration files under Snakemake: relative to the file that states them, wherever it runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.paths import ROOT

from dglframer.common.files import read_json

SNAKEMAKE = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]


def snakemake(cwd: Path, *arguments: object) -> subprocess.CompletedProcess:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [*SNAKEMAKE, "--cores", "1", *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )


@pytest.fixture
def project(tmp_path, rocksalt_cif):
    """Data and a configuration in folders of their own, and a file of changes elsewhere."""
    for name in ("project/structures", "changes", "here"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "project/structures/a.cif").write_text(rocksalt_cif)
    (tmp_path / "project/e.csv").write_text("id,e\na,1.5\n")
    (tmp_path / "project/mine.yaml").write_text(
        "dataset: {source: folder, path: structures, targets_csv: e.csv, targets: [e]}\n"
    )
    (tmp_path / "changes/seeds.json").write_text(json.dumps({"seeds": [3]}))
    return tmp_path


@pytest.fixture
def rocksalt_cif(rocksalt):
    from pymatgen.core import Structure

    return Structure(rocksalt.lattice_33, ["Na", "Cl"], rocksalt.coords_N3).to(fmt="cif")


def test_a_path_is_relative_to_its_file_and_no_stage_runs_again_from_elsewhere(project):
    files = ["--configfile", "../project/mine.yaml", "../changes/seeds.json"]
    done = snakemake(project / "here", "results/download.json", "results/config.json", *files)
    assert done.returncode == 0, done.stderr
    config = read_json(project / "here/results/config.json")
    assert config["dataset"]["path"] == str(project / "project/structures")
    assert config["dataset"]["targets_csv"] == str(project / "project/e.csv")
    assert config["seeds"] == [3]
    listed = read_json(project / "here/results/download.json")["files"]
    assert [Path(one["path"]).name for one in listed] == ["e.csv", "a.cif"]
    again = ["--configfile", "project/mine.yaml", "changes/seeds.json", "--directory", "here"]
    done = snakemake(project, "--dry-run", "results/download.json", *again)
    assert "Nothing to be done" in done.stdout + done.stderr


def test_a_repeated_key_and_a_missing_split_stop_before_anything_runs(project):
    (project / "changes/twice.yaml").write_text("seeds: [1]\nseeds: [2]\n")
    done = snakemake(project, "--dry-run", "--configfile", "changes/twice.yaml")
    assert done.returncode != 0
    assert "twice.yaml: lines 1 and 2 both set seeds" in done.stdout + done.stderr
    (project / "changes/split.yaml").write_text("split: {method: from_file, path: absent.csv}\n")
    done = snakemake(project, "--dry-run", "--configfile", "changes/split.yaml")
    assert done.returncode != 0
    assert str(project / "changes/absent.csv") in done.stdout + done.stderr
    assert not (project / "results").exists()
