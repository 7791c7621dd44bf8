"""Snakemake as a user starts it, on the default workflow with a small network."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SEEDS = (0, 1, 2, 3)
TINY = {
    "crystalframer": {"blocks": 1, "width": 16, "heads": 2, "feedforward": 16},
    "graphs": {"cutoff_angstrom": 4.0},
    "training": {"epochs": 12, "averaged_epochs": 1, "batch_size": 32},
    "tune": {"trials": 1, "epochs": 1},
    "seeds": list(SEEDS),
}
LONGEST_SECONDS = 900  # a run on two busy cores takes a third


@contextmanager
def started(folder: Path, *arguments: str) -> Iterator[subprocess.Popen]:
    """Snakemake in ``folder``, killed with its children if the block ends first; see log_of."""
    folder.mkdir(exist_ok=True)
    (folder / "tiny.json").write_text(json.dumps(TINY))
    words = ["snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with (folder / "snakemake.log").open("wb") as log:
        driver = subprocess.Popen(
            [sys.executable, "-m", *words, *arguments, "--configfile", "tiny.json"],
            cwd=folder,
            env={**os.environ, "PATH": path},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield driver
    finally:
        with suppress(ProcessLookupError):
            os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()


def log_of(folder: Path) -> str:
    """What Snakemake printed in the last run in ``folder``."""
    return (folder / "snakemake.log").read_text()
