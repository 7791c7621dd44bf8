"""Runs of the workflow with a small network, in a folder of their own."""

import json
import os
import re
import shutil
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
    options = ["--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    return plain_command(folder, *options, *arguments, "--configfile", "changes.json")


def plain_command(folder: Path, *arguments: str) -> dict:
    """What subprocess takes to run `snakemake` in ``folder`` with this environment."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    words = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
    return {"args": words, "cwd": folder, "env": {**os.environ, "PATH": path}}


def copy_checkout(folder: Path) -> Path:
    """Another checkout of the same rules and code, in ``folder``."""
    ignored = shutil.ignore_patterns(
        "__pycache__"
    )  # links stay links: the package has one to the rules
    for name in ("workflow", "dglframer"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored, symlinks=True)
    for name in ("Snakefile", "config.yaml", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def snakemake(
    folder: Path, *arguments: str, config: dict | None = None, check: bool = True, **how
) -> subprocess.CompletedProcess:
    """Run the workflow; ``how``: further arguments of subprocess."""
    settings = {**command_line(folder, *arguments, config=config), **how}
    return subprocess.run(**settings, capture_output=True, text=True, check=check)


def planned(folder: Path, experiment: str, config: dict, *targets: str) -> dict[str, int]:
    """The rules of an experiment in a dry run, without its name before them, and their jobs."""
    done = snakemake(folder, *targets, "--dry-run", "--quiet", "rules", config=config)
    found = re.findall(rf"^{experiment}_(\w+) +(\d+)$", done.stdout + done.stderr, re.MULTILINE)
    return {rule: int(count) for rule, count in found}


def merged(base: dict, changes: dict) -> dict:
    result = dict(base)
    for key, value in changes.items():
        result[key] = merged(base[key], value) if isinstance(base.get(key), dict) else value
    return result
