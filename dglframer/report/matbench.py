"""Results as a contribution to matbench: a record that its loader reads, and what goes with it.

The record is ``results.json.gz``, which matbench reads and writes as plain text despite its name. Its hash
is of the JSON with sorted keys; matbench refuses a record that was changed.
"""

import hashlib
import json
import logging
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from dglframer.common.errors import UserError
from dglframer.common.files import atomic_folder, read_json, write_json, write_text
from dglframer.common.own_code import commit
from dglframer.common.version import __version__
from dglframer.config.reading import without_folders
from dglframer.data.matbench import N_FOLDS, fold_rows, matbench_id, place, task_of
from dglframer.networks.model_directory import members
from dglframer.report.leaderboard import Rows, test_rows

log = logging.getLogger(__name__)

BENCHMARK, FORMAT = "matbench_v0.1", "0.6"  # the version of matbench whose loader was read
ZERO_LABEL = 1e-5  # labels below it have no relative error

RUN = '''"""{task}, five folds with dglframer: python run.py CHECKOUT, the task's file beside this."""

import json
import subprocess
import sys
from pathlib import Path

here = Path(__file__).resolve().parent
for fold in range({folds}):
    split = json.dumps({{"method": "matbench", "fold": fold}})
    command = ["snakemake", "--cores", "all", "--snakefile", f"{{sys.argv[1]}}/Snakefile"]
    command += ["--directory", str(here / f"fold-{{fold}}"), "--configfile", str(here / "config.json")]
    subprocess.run([*command, "--config", f"split={{split}}"], check=True)
'''


def export_matbench(
    runs: Sequence[Path], out: Path, target: str | None, about: Mapping[str, str]
) -> list[float]:
    """Write the contribution of five runs, one a fold, into the new folder ``out``.

    ``target``: the property, if the runs have several; ``about``: authors, algorithm, bibtex_refs. Returns
    the MAE of each fold. Raises UserError if the runs' test crystals are not the folds of one task.
    """
    if out.exists():
        raise UserError(f"{out} is there already")
    rows = [test_rows(run, target) for run in runs]
    task = task_of(id for run in rows for id in run)
    folds = [fold_of(task, one, run) for one, run in zip(rows, runs, strict=True)]
    if sorted(folds) != list(range(N_FOLDS)):
        raise UserError(f"{task} has the folds 0 to {N_FOLDS - 1}; the runs have {sorted(folds)}")
    results = {
        f"fold_{fold}": fold_result(task, one, run)
        for fold, one, run in sorted(
            zip(folds, rows, runs, strict=True), key=lambda parts: parts[0]
        )
    }
    with atomic_folder(out) as folder:
        text = json.dumps(record(task, results), sort_keys=True, allow_nan=False)
        write_text(folder / "results.json.gz", text)
        write_json(folder / "info.json", information(about))
        write_json(folder / "config.json", configuration(runs[0]))
        write_text(folder / "run.py", RUN.format(task=task, folds=N_FOLDS))
    return [result["scores"]["mae"] for result in results.values()]


def fold_of(task: str, rows: Rows, run: Path) -> int:
    """The fold whose test structures are those of the run; raises UserError."""
    found = {place(id)[1] for id in rows}
    wanted = [set(fold_rows(task, fold).tolist()) for fold in range(N_FOLDS)]
    fold = max(range(N_FOLDS), key=lambda k: len(found & wanted[k]))
    missing, more = wanted[fold] - found, found - wanted[fold]
    if missing or more:
        raise UserError(
            f"{run}: {len(found)} test structures, {len(wanted[fold])} in fold {fold} of {task}: "
            f"{len(missing)} are missing, {len(more)} are of other folds; the record needs every one "
            f"(split: {{method: matbench, fold: {fold}}}; rejected.parquet says what was not read)"
        )
    return fold


def fold_result(task: str, rows: Rows, run: Path) -> dict[str, Any]:
    """The predictions of a fold by matbench's ids, its scores, and the settings of the run."""
    ordered = sorted((place(id)[1], id) for id in rows)
    label_N, prediction_N = np.array([rows[id] for _, id in ordered]).T
    if not np.isfinite(prediction_N).all():
        raise UserError(f"{run}: a prediction is not a finite number")
    return {
        "data": {matbench_id(task, k): rows[id][1] for k, id in ordered},
        "parameters": parameters(run),
        "scores": scores(label_N, prediction_N),
    }


def scores(label_N: np.ndarray, prediction_N: np.ndarray) -> dict[str, float]:
    """The four errors that matbench states, by its definitions."""
    error_N = np.abs(prediction_N - label_N)
    relative = np.abs(label_N) > ZERO_LABEL
    mape = float((error_N[relative] / np.abs(label_N[relative])).mean()) if relative.any() else 0.0
    return {
        "mae": float(error_N.mean()),
        "rmse": math.sqrt(float((error_N**2).mean())),
        "mape": mape,
        "max_error": float(error_N.max()),
    }


def parameters(run: Path) -> dict[str, Any]:
    """Encoder, settings and training of the run's models, without paths."""
    folders = members(run / "models")
    models = [read_json(folder / "model.json", "settings", "history") for folder in folders]
    first = models[0]
    training = {k: v for k, v in first["history"].get("training", {}).items() if k != "init_from"}
    return {
        "encoder": first.get("encoder", "crystalframer"),
        "cutoff_angstrom": first["cutoff_angstrom"],
        "settings": first["settings"],
        "training": training,
        "seeds": [model["history"].get("seed") for model in models],
    }


def record(task: str, results: Mapping[str, Any]) -> dict[str, Any]:
    """What matbench's loader takes, with its hash."""
    one = {
        "@module": "matbench.task",
        "@class": "MatbenchTask",
        "benchmark_name": BENCHMARK,
        "dataset_name": task,
        "results": dict(results),
    }
    whole = {
        "@module": "matbench.bench",
        "@class": "MatbenchBenchmark",
        "version": FORMAT,
        "benchmark_name": BENCHMARK,
        "tasks": {task: one},
        "user_metadata": {"software": f"dglframer {__version__} {commit()}".strip()},
        "datestamp": datetime.now(UTC).strftime("%Y.%m.%d %H:%M.%S"),
    }
    text = json.dumps(whole, sort_keys=True, allow_nan=False)
    return {**whole, "hash": hashlib.sha256(text.encode()).hexdigest()}


def information(about: Mapping[str, str]) -> dict[str, Any]:
    """info.json: who and what; texts that nobody gave are empty."""
    if empty := [key for key in ("authors", "bibtex_refs") if not about.get(key)]:
        log.warning("info.json: fill in %s", ", ".join(empty))
    return {
        "authors": about.get("authors", ""),
        "algorithm": about.get("algorithm", "dglframer"),
        "algorithm_long": "CrystalFramer or the SE(3)-Transformer on periodic graphs; results.json.gz "
        "states encoder and settings under parameters.",
        "bibtex_refs": about.get("bibtex_refs", ""),
        "notes": "",
        "requirements": {"python": [f"dglframer=={__version__}"]},
    }


def configuration(run: Path) -> dict[str, Any]:
    """The run's configuration for any fold; the task's file lies beside it."""
    config = without_folders(read_json(run / "config.json", "dataset"))
    split = {"method": "matbench"} | {
        key: value
        for key, value in config.get("split", {}).items()
        if key in ("seed", "val_fraction")
    }
    return config | {"split": split}
