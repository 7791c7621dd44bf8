"""What a recipe of training is worth: one network, the same rows and epochs, several recipes and seeds.

    python benchmarks/recipe.py results --rows 2000 --seeds 0 1 [--only NAME ...] [--folder recipes]

RESULTS is a results folder of the workflow with graphs and a split; its train rows are cut down to --rows
drawn ones, val and test stay. Each recipe is trained by `dglframer train` and judged by `dglframer
evaluate`, on one thread. The workflow builds the graphs of a recipe that needs others. The recipe "second
target" learns --second-target beside the configured one; without that option it is left out. What is
done stays in --folder, and a second call goes on from there. Writes benchmarks/results/recipe.json and
the tables of docs/measured/recipe.md.
"""

import argparse
import statistics
from functools import partial
from pathlib import Path
from typing import Any

from default_run import machine
from pages import machines, publish
from trainings import OPTIONS, PROGRAM, ROOT, judged, kept, made_graphs, train

from dglframer.common.files import read_json
from dglframer.config import Config, load_config, override
from dglframer.data.subsets import write_subsets

RESULTS_FILE = ROOT / "benchmarks" / "results" / "recipe.json"
PAGE = ROOT / "docs" / "measured" / "recipe.md"
BEGIN, END = "<!-- tables: written by benchmarks/recipe.py -->", "<!-- end of tables -->"
BASE = {
    "encoder": "crystalframer",
    "crystalframer.frame": "none",
    "crystalframer.element_properties": False,
    "training.batch_size": 16,
}
EPOCHS = 30
ADAMW = {"training.optimizer": "adamw"}
PROPERTIES = {"crystalframer.element_properties": True}
FRAMES = {"crystalframer.frame": "max"}
EVEN = FRAMES | {"crystalframer.even_third_axis": True}
REFERENCE = {"dataset.target_references": "composition"}  # of every target
THEN = {"training.init_from": "plain", "training.epochs": 15}  # a recipe, of the same seed
THEN_DEFAULT = PROPERTIES | THEN | {"training.init_from": "default"}


def in_part(blocks: int, heads: int, start: str) -> dict[str, Any]:
    """Frames in the last blocks and first heads, their angle projections drawn or from zero."""
    return PROPERTIES | FRAMES | {"program": ["frames_in_part.py", blocks, heads, start]}


RECIPES: dict[str, dict[str, Any]] = {
    "default": PROPERTIES,
    "default, frames": PROPERTIES | FRAMES,
    "default, even third axis": PROPERTIES | EVEN,
    "default, frames from zero": in_part(4, 8, "zero"),
    "default, frames in the last two blocks": in_part(2, 8, "drawn"),
    "default, frames in the last block": in_part(1, 8, "drawn"),
    "default, frames in two of eight heads": in_part(4, 2, "drawn"),
    "default, static frames": PROPERTIES | {"crystalframer.frame": "max_static"},
    "default, weighted PCA frames": PROPERTIES | {"crystalframer.frame": "weighted_pca"},
    "default, then 15 epochs more": THEN_DEFAULT,
    "default, then 15 epochs with frames": THEN_DEFAULT | FRAMES,
    "default, composition reference": PROPERTIES | REFERENCE,
    "default, edges to 6 A": PROPERTIES | {"graphs.cutoff_angstrom": 6.0},
    "default, edges to 11 A": PROPERTIES | {"graphs.cutoff_angstrom": 11.0},
    "default, second target": PROPERTIES | {"dataset.targets": "second"},
    "default, stochastic depth 0.1": PROPERTIES | {"program": ["stochastic_depth.py", 0.1]},
    "plain": {},
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
    "then 30 epochs more": {"training.init_from": "plain"},
    "then 15 epochs with frames": THEN | FRAMES,
    "then 15 epochs with an even third axis": THEN | EVEN,
    "frames": FRAMES,
    "frames, decay 0.1": FRAMES | {"training.weight_decay": 0.1},
    "even third axis with frames": EVEN,
    "composition reference": REFERENCE,
}


def measure(args: argparse.Namespace) -> dict[str, Any]:
    args.folder.mkdir(parents=True, exist_ok=True)
    write_subsets(args.results / "split.parquet", [args.rows], 0, args.folder)
    found = args.folder / "found.json"
    for seed in args.seeds:
        for name in args.only or RECIPES:
            if args.second_target or not needs_second(name):
                kept(found, (name, str(seed)), partial(trained, args, name, seed))
    recipes = read_json(found)
    return {"rows": args.rows, "epochs": EPOCHS, "recipes": recipes}


def needs_second(name: str) -> bool:
    return "dataset.targets" in RECIPES[name]


def configured(config: Config, args: argparse.Namespace, name: str, seed: int) -> Config:
    """The configuration with the settings of a recipe."""
    values = BASE | {"training.epochs": EPOCHS} | RECIPES[name]
    values.pop("program", None)
    if start := values.get("training.init_from"):
        values["training.init_from"] = str(args.folder / start / f"seed-{seed}")
    if needs_second(name):
        values["dataset.targets"] = [*config.dataset.targets, args.second_target]
    if reference := values.get("dataset.target_references"):
        values["dataset.target_references"] = dict.fromkeys(config.dataset.targets, reference)
    return override(config, values)


def graphs_of(args: argparse.Namespace, name: str, config: Config) -> Path:
    """The graphs that a recipe reads: those of the results, or others that the workflow builds."""
    if not {"graphs.cutoff_angstrom", "dataset.targets"} & RECIPES[name].keys():
        return Path(args.results / "graphs")
    return made_graphs(config, args.folder / "graphs" / name)


def program_of(name: str) -> list[str]:
    """What the interpreter runs for a recipe: the package, or a script that changes its network."""
    if "program" not in RECIPES[name]:
        return list(PROGRAM)
    script, *words = RECIPES[name]["program"]
    return [str(ROOT / "benchmarks" / script), *map(str, words)]


def trained(args: argparse.Namespace, name: str, seed: int) -> dict[str, Any]:
    """Errors of one training, those of gradient boosting on the same rows, and the CPU seconds."""
    config = configured(load_config(args.config or args.results / "config.json"), args, name, seed)
    split, graphs = args.folder / str(args.rows) / "split.parquet", graphs_of(args, name, config)
    model = args.folder / name / f"seed-{seed}"
    seconds = train(config, seed, graphs, split, model, program_of(name))
    return {"cpu_seconds": seconds, "machine": machine(), **judged(model, graphs, split)}


def rendered(results: dict[str, Any]) -> str:
    """The table: errors of each recipe, the mean over seeds and each seed."""
    rows = [
        "| recipe | seeds | train | val | test | test of each seed | CPU seconds | on |",
        "|---|---|---|---|---|---|---|---|",
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
        errors = f"{train:.4f} | {val:.4f} | {test:.4f} | {each}"
        on = "; ".join(machines(every))
        rows.append(f"| {name} | {len(every)} | {errors} | {seconds:.0f} | {on} |")
    return "\n".join(
        [
            f"Mean absolute errors in {unit} after {results['epochs']} epochs over {results['rows']:,} "
            f"crystals, one thread. Gradient boosting on the same rows: {boosting:.4f} on test.",
            "",
            *rows,
        ]
    )


if __name__ == "__main__":
    publish(
        __doc__ or "",
        {
            **OPTIONS,
            "--rows": {"type": int, "default": 2000},
            "--seeds": {"type": int, "nargs": "+", "default": [0, 1]},
            "--only": {"nargs": "+", "choices": list(RECIPES), "help": "these recipes alone"},
            "--second-target": {"help": "a label of the same crystals, learned beside the first"},
            "--folder": {"type": Path, "default": Path("recipes")},
        },
        measure,
        RESULTS_FILE,
        (PAGE, BEGIN, END),
        rendered,
    )
