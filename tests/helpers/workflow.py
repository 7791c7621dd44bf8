"""Runs of the checkout's workflow with a small network, in a folder of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

from helpers.paths import ROOT

SMALL_RUN = {
    "crystalframer": {"blocks": 1, "width": 16, "heads": 2, "feedforward": 16},
    "graphs": {"cutoff_angstrom": 4.0, "crystals_per_shard": 200},
    "training": {"epochs": 2, "averaged_epochs": 1, "batch_size": 32},
    "tune": {"trials": 1, "epochs": 1},
}


def command_line(folder: Path, *arguments: str, config: dict | None = None) -> dict:
    """What subprocess takes to run the checkout's workflow in ``folder`` with this environment."""
    (folder / "changes.json").write_text(json.dumps(merged(SMALL_RUN, config or {})))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    command += ["--cores", "2", *arguments, "--configfile", "changes.json"]
    environment = {**os.environ, "PATH": path}
    return {"args": [sys.executable, "-m", *command], "cwd": folder, "env": environment}


def snakemake(
    folder: Path, *arguments: str, config: dict | None = None, check: bool = True, **how
) -> subprocess.CompletedProcess:
    """Run the workflow; ``how``: further arguments of subprocess."""
    settings = {**command_line(folder, *arguments, config=config), **how}
    return subprocess.run(**settings, capture_output=True, text=True, check=check)


def merged(base: dict, changes: dict) -> dict:
    result = dict(base)
    for key, value in changes.items():
        result[key] = merged(base[key], value) if isinstance(base.get(key), dict) else value
    return result
