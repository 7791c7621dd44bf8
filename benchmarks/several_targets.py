"""What it is worth to learn several targets together: one network for all, against one for each.

    python benchmarks/several_targets.py results [--seeds 0 1] [--folder several]

RESULTS is a results folder of the workflow with graphs and a split of several targets, whose labels may be
absent here and there. The network learns all of them together, and each alone on the crystals that have its
label; the parts of the split stay. Each training has one thread. What is done stays in --folder, and a second
call goes on from there. Writes benchmarks/results/several_targets.json and the table of
docs/measured/several_targets.md.
"""

import argparse
import statistics
from functools import partial
from pathlib import Path
from typing import Any

from default_run import machine
from pages import mean_and_each, publish
from trainings import OPTIONS, ROOT, judged_targets, kept, made_graphs, train

from dglframer.common.files import read_json
from dglframer.common.parquet import read_parquet
from dglframer.config import Config, load_config, override
from dglframer.data.split import SPLITS, read_split, write_split

RESULTS_FILE = ROOT / "benchmarks" / "results" / "several_targets.json"
PAGE = ROOT / "docs" / "measured" / "several_targets.md"
BEGIN, END = "<!-- table: written by benchmarks/several_targets.py -->", "<!-- end of table -->"
TOGETHER = "together"


def configured(config: Config, args: argparse.Namespace, name: str) -> Config:
    """The settings of one network: of all targets, or of the one that ``name`` names."""
    values: dict[str, Any] = {
        "encoder": "crystalframer",
        "crystalframer.frame": "none",
        "training.batch_size": 16,
        "training.epochs": args.epochs,
    }
    if name != TOGETHER:
        transforms = config.dataset.target_transforms
        values["dataset.targets"] = [name]
        values["dataset.target_transforms"] = {k: v for k, v in transforms.items() if k == name}
    return override(config, values)


def labelled_split(args: argparse.Namespace, graphs: Path, folder: Path) -> Path:
    """The split of the results without the crystals that have no label of one target alone."""
    known = set(read_parquet(graphs.parent / "crystals.parquet")["id"].to_pylist())
    parts = read_split(args.results / "split.parquet")
    path = folder / "split.parquet"
    write_split({id: part for part in SPLITS for id in parts[part] if id in known}, path)
    return path


def trained(args: argparse.Namespace, name: str, seed: int) -> dict[str, Any]:
    """The CPU seconds of a training, and each target's errors beside those of gradient boosting."""
    config = configured(load_config(args.config or args.results / "config.json"), args, name)
    graphs, split = args.results / "graphs", args.results / "split.parquet"
    if name != TOGETHER:
        graphs = made_graphs(config, args.folder / "graphs" / name)
        split = labelled_split(args, graphs, args.folder / "graphs" / name)
    model = args.folder / name / f"seed-{seed}"
    seconds = train(config, seed, graphs, split, model)
    crystals = len(read_split(split)["train"])
    errors = judged_targets(model, graphs, split)
    return {"cpu_seconds": seconds, "crystals": crystals, "errors": errors}


def measure(args: argparse.Namespace) -> dict[str, Any]:
    targets = load_config(args.config or args.results / "config.json").dataset.targets
    found = args.folder / "found.json"
    for seed in args.seeds:
        for name in [TOGETHER, *targets]:
            kept(found, (name, str(seed)), partial(trained, args, name, seed))
    return {"machine": machine(), "epochs": args.epochs, "runs": read_json(found)}


def rendered(results: dict[str, Any]) -> str:
    """The table: test errors of each target learned together and alone, the mean and each seed."""
    runs = results["runs"]
    together = [runs[TOGETHER][seed] for seed in sorted(runs[TOGETHER], key=int)]
    rows = [
        "| target | crystals | together | alone | together / alone | gradient boosting |",
        "|---|---|---|---|---|---|",
    ]
    for name in runs:
        if name == TOGETHER:
            continue
        alone = [runs[name][seed] for seed in sorted(runs[name], key=int)]
        first = alone[0]["errors"][name]
        errors = [[run["errors"][name]["test"] for run in every] for every in (together, alone)]
        ratio = statistics.mean(errors[0]) / statistics.mean(errors[1])
        both = " | ".join(mean_and_each(values, ".4g") for values in errors)
        cells = f"{both} | {ratio:.2f} | {first['boosting']:.4g}"
        rows.append(f"| {name} ({first['unit']}) | {alone[0]['crystals']:,} | {cells} |")
    seconds = [
        sum(statistics.mean(run["cpu_seconds"] for run in runs[name].values()) for name in names)
        for names in ([TOGETHER], [name for name in runs if name != TOGETHER])
    ]
    return (
        f"Mean absolute errors on test after {results['epochs']} epochs, the mean over seeds (each seed), on "
        f"{results['machine']}, one thread. All together took {seconds[0]:.0f} CPU seconds a seed, one after "
        f"the other {seconds[1]:.0f}. Crystals are those of the training with a label; the network that "
        f"learned together saw {together[0]['crystals']:,}.\n\n" + "\n".join(rows)
    )


if __name__ == "__main__":
    publish(
        __doc__ or "",
        {
            **OPTIONS,
            "--epochs": {"type": int, "default": 60},
            "--seeds": {"type": int, "nargs": "+", "default": [0, 1]},
            "--folder": {"type": Path, "default": Path("several")},
        },
        measure,
        RESULTS_FILE,
        (PAGE, BEGIN, END),
        rendered,
    )
