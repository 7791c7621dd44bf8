"""Trainings by the verbs, on one thread each, for scripts that compare many; what is done is kept."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dglframer.common.files import read_json, write_json
from dglframer.config import Config

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = "-m", "dglframer"  # what the interpreter runs
# Of a script's command line: on which graphs and with which settings it trains.
OPTIONS: dict[str, dict[str, Any]] = {
    "results": {"type": Path, "help": "results folder of the workflow"},
    "--config": {"type": Path, "help": "configuration (default: config.json of the results)"},
}


def kept(file: Path, keys: tuple[str, ...], make: Callable[[], Any]) -> Any:
    """What a JSON file holds under some keys, each inside the one before; made the first time."""
    place = found_in(file)
    for key in keys:
        if key not in place:
            break
        place = place[key]
    else:
        return place
    made = make()
    place = found = found_in(file)  # again: another call has perhaps written meanwhile
    for key in keys[:-1]:
        place = place.setdefault(key, {})
    place[keys[-1]] = made
    write_json(file, found)
    print(f"{', '.join(keys)}: {made}", flush=True)
    return made


def found_in(file: Path) -> Any:
    return read_json(file) if file.exists() else {}


def call(*words: Any, program: Sequence[str] = PROGRAM) -> float:
    """Run a verb on one thread; its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, *program, *map(str, words)]
    run = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    if run.returncode:
        raise SystemExit(f"{' '.join(command)}\n{run.stdout}{run.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def made_graphs(config: Config, folder: Path) -> Path:
    """The graphs of a configuration, which the workflow builds in a folder where they are absent."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "config.json"
    write_json(settings, config.model_dump(mode="json"))
    where = "--snakefile", ROOT / "Snakefile", "--directory", folder, "--cores", 1
    words = *where, "results/graphs/manifest.json", "--configfile", settings
    call(*words, program=("-m", "snakemake"))
    return folder / "results" / "graphs"


def train(
    config: Config,
    seed: int,
    graphs: Path,
    split: Path,
    model: Path,
    program: Sequence[str] = PROGRAM,
) -> float:
    """Train a model into its folder; the CPU seconds of the verb. The settings stay beside the folder."""
    model.parent.mkdir(parents=True, exist_ok=True)
    settings = model.parent / "config.json"
    write_json(settings, config.model_dump(mode="json"))
    data = "--graphs", graphs, "--split", split
    words = "--config", settings, *data, "--seed", seed, "--device", "cpu", "--out", model
    return call("train", *words, program=program)


def judged(model: Path, graphs: Path, split: Path) -> dict[str, Any]:
    """Errors of a model's first target on each part of a split, and of gradient boosting on test."""
    return next(iter(judged_targets(model, graphs, split).values()))


def judged_targets(model: Path, graphs: Path, split: Path) -> dict[str, dict[str, Any]]:
    """``judged`` of every target of a model."""
    out = model.parent / "evaluation"
    data = "--graphs", graphs, "--split", split
    call("evaluate", *data, "--models", model, "--device", "cpu", "--out", out)
    return {
        target: {
            **{part: errors["splits"][part]["mae"] for part in ("train", "val", "test")},
            "boosting": errors["boosting_baseline"]["test_mae"],
            "unit": errors["unit"],
        }
        for target, errors in read_json(out / "metrics.json", "targets")["targets"].items()
    }
