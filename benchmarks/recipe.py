"""What a recipe of training is worth: one network, the same rows and epochs, several recipes and seeds.

    python benchmarks/recipe.py results --rows 2000 --seeds 0 1 [--only NAME ...] [--folder recipes]

RESULTS is a results folder of the workflow with graphs and a split; its train rows are cut down to --rows
drawn ones, val and test stay. Each recipe is trained by `dglframer train` and judged by `dglframer
evaluate`, on one thread. What is done stays in --folder, and a second call goes on from there. Writes
benchmarks/results/recipe.json and the tables of docs/measured/recipe.md.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from default_run import machine
from pages import publish

from dglframer.common.files import read_json, write_json
from dglframer.config import load_config, override
from dglframer.data.subsets import write_subsets

ROOT = Path(__file__).resolve().parents[1]
RESULTS_FILE = ROOT / "benchmarks" / "results" / "recipe.json"
PAGE = ROOT / "docs" / "measured" / "recipe.md"
PART = (PAGE, "<!-- tables: written by benchmarks/recipe.py -->", "<!-- end of tables -->")
BASE = {"encoder": "crystalframer", "crystalframer.frame": "none", "training.batch_size": 16}
EPOCHS = 30
ADAMW = {"training.optimizer": "adamw"}
RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": ADAMW
    | {
        "training.learning_rate": 0.0005,
        "training.schedule": "inverse_sqrt",
        "training.averaged_epochs": 8,
    },
    "AdamW, cosine, average": ADAMW,
    "no average": {"training.average_decay": None},
    "Muon at 0.0025": {"training.muon_learning_rate": 0.0025},
    "Muon at 0.01": {"training.muon_learning_rate": 0.01},
    "Muon at 0.02": {"training.muon_learning_rate": 0.02},
    "batches of 32": {"training.batch_size": 32},
    "decay 0.01": {"training.weight_decay": 0.01},
    "decay 0.1": {"training.weight_decay": 0.1},
    "decay 0.3": {"training.weight_decay": 0.3},
    "decay 1": {"training.weight_decay": 1.0},
    "60 epochs": {"training.epochs": 60},
    "then 30 epochs more": {"training.init_from": "default"},
    "then 15 epochs with frames": {
        "training.init_from": "default",
        "training.epochs": 15,
        "crystalframer.frame": "max",
    },
    "frames": {"crystalframer.frame": "max"},
    "frames, decay 0.1": {"crystalframer.frame": "max", "training.weight_decay": 0.1},
}


def call(*words: Any) -> float:
    """Run a verb on one thread; its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "dglframer", *map(str, words)]
    run = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    if run.returncode:
        raise SystemExit(f"{' '.join(command)}\n{run.stdout}{run.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(args: argparse.Namespace) -> dict[str, Any]:
    args.folder.mkdir(parents=True, exist_ok=True)
    write_subsets(args.results / "split.parquet", [args.rows], 0, args.folder)
    split, graphs = args.folder / str(args.rows) / "split.parquet", args.results / "graphs"
    found = read_json(args.folder / "found.json") if (args.folder / "found.json").exists() else {}
    config = load_config(args.config or args.results / "config.json")
    for seed in args.seeds:
        for name in args.only or RECIPES:
            runs = found.setdefault(name, {})
            if str(seed) not in runs:
                values = BASE | {"training.epochs": EPOCHS} | RECIPES[name]
                if start := values.get("training.init_from"):  # a recipe, of the same seed
                    values["training.init_from"] = str(args.folder / start / f"seed-{seed}")
                chosen = override(config, values)
                runs[str(seed)] = trained(chosen, seed, graphs, split, args.folder / name)
                write_json(args.folder / "found.json", found)
                print(f"{name}, seed {seed}: {runs[str(seed)]}", flush=True)
    return {"machine": machine(), "rows": args.rows, "epochs": EPOCHS, "recipes": found}


def trained(config: Any, seed: int, graphs: Path, split: Path, folder: Path) -> dict[str, Any]:
    """Errors of one training on val and test, those of gradient boosting there, and the CPU seconds."""
    folder.mkdir(exist_ok=True)
    settings, model = folder / "config.json", folder / f"seed-{seed}"
    write_json(settings, config.model_dump(mode="json"))
    data = "--graphs", graphs, "--split", split
    seconds = call(
        "train", "--config", settings, *data, "--seed", seed, "--device", "cpu", "--out", model
    )
    call("evaluate", *data, "--models", model, "--device", "cpu", "--out", folder / "evaluation")
    metrics = read_json(folder / "evaluation" / "metrics.json", "targets")
    (errors,) = metrics["targets"].values()
    return {
        "cpu_seconds": seconds,
        **{part: errors["splits"][part]["mae"] for part in ("train", "val", "test")},
        "boosting": errors["boosting_baseline"]["test_mae"],
        "unit": errors["unit"],
    }


def rendered(results: dict[str, Any]) -> str:
    """The table: errors of each recipe, the mean over seeds and each seed."""
    rows = [
        "| recipe | seeds | train | val | test | test of each seed | CPU seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    unit, boosting = "", 0.0
    for name, runs in results["recipes"].items():
        every = [runs[seed] for seed in sorted(runs, key=int)]
        unit, boosting = every[0]["unit"], every[0]["boosting"]
        train, val, test = (
            statistics.mean(run[key] for run in every) for key in ("train", "val", "test")
        )
        each = ", ".join(f"{run['test']:.4f}" for run in every)
        seconds = statistics.median(run["cpu_seconds"] for run in every)
        rows.append(
            f"| {name} | {len(every)} | {train:.4f} | {val:.4f} | {test:.4f} | {each} | {seconds:.0f} |"
        )
    return "\n".join(
        [
            f"Mean absolute errors in {unit} after {results['epochs']} epochs over {results['rows']:,} "
            f"crystals, on {results['machine']}, one thread. Gradient boosting on the same rows: "
            f"{boosting:.4f} on test.",
            "",
            *rows,
        ]
    )


if __name__ == "__main__":
    publish(
        __doc__ or "",
        {
            "results": {"type": Path, "help": "results folder of the workflow"},
            "--config": {
                "type": Path,
                "help": "configuration (default: config.json of the results)",
            },
            "--rows": {"type": int, "default": 2000},
            "--seeds": {"type": int, "nargs": "+", "default": [0, 1]},
            "--only": {"nargs": "+", "choices": list(RECIPES), "help": "these recipes alone"},
            "--folder": {"type": Path, "default": Path("recipes")},
        },
        measure,
        RESULTS_FILE,
        PART,
        rendered,
    )
