"""What works without most packages, and what Snakemake asks of conda."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.paths import ROOT
from helpers.workflow import SMALL_RUN, merged

BLOCKED = "numba pymatgen snakemake jarvis yaml optuna matplotlib jinja2 spglib"
RUN_WITHOUT = f"""
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED.split()!r}:
            raise ImportError("blocked: " + name)
sys.meta_path.insert(0, Block())
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name in {BLOCKED.split()!r} else find(name, *a)
from dglframer.cli.main import main
sys.argv = ["dglframer", *sys.argv[1:]]
sys.exit(main())
"""


def run_without(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", RUN_WITHOUT, *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def model(tiny_run, tmp_path) -> Path:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(SMALL_RUN))
    inputs = f"--config {config} --graphs {tiny_run.graphs} --split {tiny_run.split}".split()
    output = run_without("train", *inputs, "--seed", "0", "--out", str(tmp_path / "model"))
    assert output.returncode == 0, output.stderr
    return tmp_path / "model"


def test_training_from_shards_needs_torch_dgl_pyarrow_pydantic_and_safetensors(model):
    assert (model / "model.json").is_file()


def test_the_block_blocks():
    output = run_without("config", "--check", str(ROOT / "config.yaml"))
    assert "blocked: yaml" in output.stderr


def test_evaluating_from_shards_needs_no_more(tiny_run, model, tmp_path):
    code = f"""
from pathlib import Path
import torch
from dglframer.evaluation.evaluate import evaluate
evaluate(Path({str(tiny_run.graphs)!r}), Path({str(tiny_run.split)!r}), [Path({str(model)!r})],
         Path({str(tmp_path / "evaluation")!r}), torch.device("cpu"))
"""
    before, after = RUN_WITHOUT.split("from dglframer.cli.main")[0], code
    subprocess.run([sys.executable, "-c", before + after], check=True)
    assert (tmp_path / "evaluation" / "metrics.json").is_file()


# A stand-in for conda that answers what Snakemake asks: it records the environment file, and makes
# an environment whose python and dglframer are those of the tests, but for pip, which it records.
FAKE_CONDA = """#!/usr/bin/env bash
here=$(cd "$(dirname "$0")/.." && pwd)
echo "$@" >> "$here/calls"
case "$1 $2" in
  "info --json") echo "{\\"conda_prefix\\": \\"$here\\", \\"platform\\": \\"linux-64\\"}" ;;
  "--version ") echo "conda 26.7.0" ;;
  "config --get") echo '{"get": {"channel_priority": "strict"}}' ;;
  "env create")
    while [ $# -gt 0 ]; do
      case "$1" in --file) file=$2 ;; --prefix|-p) prefix=$2 ;; esac; shift
    done
    mkdir -p "$prefix/bin" "$prefix/conda-meta" && touch "$prefix/conda-meta/history"
    cp "$file" "$prefix/environment.yaml"
    ln -s "@BIN@/dglframer" "$prefix/bin/dglframer"
    printf '#!/bin/sh\\n[ "$2" = pip ] && echo "$@" >> "%s" && exit\\nexec @PYTHON@ "$@"\\n' \\
      "$here/calls" > "$prefix/bin/python"
    chmod +x "$prefix/bin/python" ;;
esac
"""
ACTIVATE = 'export PATH="$1/bin:$PATH" CONDA_PREFIX="$1"\n'


@pytest.fixture
def conda(tmp_path) -> Path:
    root = tmp_path / "conda"
    (root / "bin").mkdir(parents=True)
    text = FAKE_CONDA.replace("@BIN@", str(Path(sys.executable).parent))
    (root / "bin" / "conda").write_text(text.replace("@PYTHON@", sys.executable))
    (root / "bin" / "conda").chmod(stat.S_IRWXU)
    (root / "bin" / "activate").write_text(ACTIVATE)
    return root


def test_use_conda_makes_both_environments_and_runs_in_them(conda, tmp_path):
    """With a stand-in for conda: the environment files, the installation of the checkout, a run."""
    (tmp_path / "changes.json").write_text(json.dumps(merged(SMALL_RUN, {"seeds": [0]})))
    command = "snakemake --cores 2 --use-conda results/tune/best.json --configfile changes.json"
    arguments = [*command.split(), "--snakefile", str(ROOT / "Snakefile")]
    output = subprocess.run(
        [sys.executable, "-m", *arguments, "--directory", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{conda / 'bin'}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert output.returncode == 0, output.stderr
    made = list((tmp_path / ".snakemake" / "conda").glob("*/environment.yaml"))
    expected = {(ROOT / "envs" / name).read_text() for name in ("data.yaml", "model.yaml")}
    assert {path.read_text() for path in made} == expected
    installs = [
        line for line in (conda / "calls").read_text().splitlines() if "pip install" in line
    ]
    assert len(installs) == 2
    assert all(line.endswith(f"-e {ROOT}") for line in installs)
    assert (tmp_path / "results" / "tune" / "best.json").is_file()
