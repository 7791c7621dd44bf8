"""What works without most packages."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.paths import ROOT
from helpers.workflow import SMALL_RUN

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
    # Equivalent atoms are found and their edges averaged by numba's loops.
    settings = SMALL_RUN["crystalframer"] | {"symmetry": "none"}
    config.write_text(json.dumps(SMALL_RUN | {"crystalframer": settings}))
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
