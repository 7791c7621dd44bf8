"""What a start from a model of another property is worth.

    python benchmarks/pretraining.py results --start band_gap [--seeds 0 1] [--folder pretraining]

RESULTS is a results folder of the workflow with graphs and a split. The same network learns its targets
from random weights, with one and with twice as many epochs, and from --start, a shipped model's name or a
model directory. Each training has one thread. What is done stays in --folder, and a second call goes on
from there. Writes benchmarks/results/pretraining.json and the table of docs/measured/pretraining.md.
"""

import argparse
import statistics
from functools import partial
from pathlib import Path
from typing import Any

from default_run import machine
from pages import mean_and_each, publish
from trainings import OPTIONS, ROOT, judged_targets, kept, train

from dglframer.common.files import read_json
from dglframer.config import load_config, override

RESULTS_FILE = ROOT / "benchmarks" / "results" / "pretraining.json"
PAGE = ROOT / "docs" / "measured" / "pretraining.md"
BEGIN, END = "<!-- table: written by benchmarks/pretraining.py -->", "<!-- end of table -->"
STARTS = {  # times --epochs, and whether from --start
    "start": (1, True),
    "start, longer": (2, True),
    "random": (1, False),
    "random, longer": (2, False),
}


def trained(args: argparse.Namespace, name: str, seed: int) -> dict[str, Any]:
    """The CPU seconds of a training, and each target's errors beside those of gradient boosting."""
    times, begins = STARTS[name]
    values = {
        "encoder": "crystalframer",
        "crystalframer.frame": "none",
        "crystalframer.element_properties": False,
        "training.epochs": times * args.epochs,
        "training.init_from": args.start if begins else None,
    }
    config = override(load_config(args.config or args.results / "config.json"), values)
    model = args.folder / name / f"seed-{seed}"
    graphs, split = args.results / "graphs", args.results / "split.parquet"
    seconds = train(config, seed, graphs, split, model)
    errors = judged_targets(model, graphs, split)
    return {"cpu_seconds": seconds, "epochs": times * args.epochs, "errors": errors}


def measure(args: argparse.Namespace) -> dict[str, Any]:
    found = args.folder / "found.json"
    for seed in args.seeds:
        for name in STARTS:
            kept(found, (name, str(seed)), partial(trained, args, name, seed))
    return {"machine": machine(), "start": args.start, "runs": read_json(found)}


def rendered(results: dict[str, Any]) -> str:
    """The table: test errors of each target, the mean and each seed."""
    first = next(iter(next(iter(results["runs"].values())).values()))["errors"]
    heads = [f"{target} ({one['unit']})" for target, one in first.items()]
    rows = [
        f"| start | epochs | CPU seconds | {' | '.join(heads)} |",
        "|---|---|---|" + "---|" * len(heads),
    ]
    for name in STARTS:
        runs = results["runs"][name]
        every = [runs[seed] for seed in sorted(runs, key=int)]
        seconds = statistics.median(run["cpu_seconds"] for run in every)
        cells = [
            mean_and_each([run["errors"][target]["test"] for run in every], ".2f")
            for target in first
        ]
        start = results["start"] if STARTS[name][1] else "random weights"
        rows.append(f"| {start} | {every[0]['epochs']} | {seconds:.0f} | {' | '.join(cells)} |")
    boosting = " | ".join(f"{one['boosting']:.2f}" for one in first.values())
    rows.append(f"| gradient boosting | | | {boosting} |")
    return (
        f"Mean absolute errors on test, the mean over seeds (each seed), on {results['machine']}, one thread."
        "\n\n" + "\n".join(rows)
    )


if __name__ == "__main__":
    publish(
        __doc__ or "",
        {
            **OPTIONS,
            "--start": {"default": "band_gap", "help": "a shipped model's name or a directory"},
            "--epochs": {"type": int, "default": 20},
            "--seeds": {"type": int, "nargs": "+", "default": [0]},
            "--folder": {"type": Path, "default": Path("pretraining")},
        },
        measure,
        RESULTS_FILE,
        (PAGE, BEGIN, END),
        rendered,
    )
