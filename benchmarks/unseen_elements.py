"""How wrong a model is where it has never seen an element, and what its interval says of that.

    python benchmarks/unseen_elements.py results --elements F Fe Te Cs [--rows 2000] [--folder unseen]

RESULTS is a results folder of the workflow with graphs and a split of one target. For each element the
model learns --rows drawn train crystals without it, and val loses the crystals with it. It is judged on
the test crystals without the element, and on every crystal with it outside of train. Writes
benchmarks/results/unseen_elements.json and the table of docs/measured/unseen_elements.md.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from default_run import machine
from pages import publish
from proof import GROUP, Rows
from trainings import OPTIONS, judged, kept, train

from dglframer.common.elements import atomic_number
from dglframer.common.files import read_json
from dglframer.common.parquet import read_parquet
from dglframer.config import Config, load_config, override
from dglframer.data.split import read_split, write_split
from dglframer.evaluation.boosting import boosting_prediction
from dglframer.evaluation.crystal_features import crystal_features
from dglframer.graphs.dataset import GraphDataset

ROOT = Path(__file__).resolve().parents[1]
RESULTS_FILE = ROOT / "benchmarks" / "results" / "unseen_elements.json"
PAGE = ROOT / "docs" / "measured" / "unseen_elements.md"
BEGIN, END = "<!-- table: written by benchmarks/unseen_elements.py -->", "<!-- end of table -->"
SEED, EPOCHS, BATCH = 0, 30, 16
VARIANTS = {"properties": True, "learned": False}  # crystalframer.element_properties
STATED = 0.9  # the coverage of low and high in predictions.parquet


def holding(results: Path, element: str) -> set[str]:
    """Ids of the crystals of the split that hold an element."""
    ids = [id for part in read_split(results / "split.parquet").values() for id in part]
    numbers = GraphDataset(results / "graphs", ids, GROUP).compositions()
    z = atomic_number(element)
    return {id for id, numbers_N in zip(ids, numbers, strict=True) if z in numbers_N}


def write_parts(results: Path, with_it: set[str], rows: int, path: Path) -> None:
    """A split whose train and val crystals are without the element."""
    parts = read_split(results / "split.parquet")
    train = [id for id in parts["train"] if id not in with_it]
    drawn = np.random.default_rng(SEED).permutation(len(train))[:rows]
    chosen = {train[k]: "train" for k in drawn}
    chosen |= {id: "test" if id in with_it else "val" for id in parts["val"]}
    write_split(chosen | dict.fromkeys(parts["test"], "test"), path)


def result(
    config: Config, results: Path, element: str, rows: int, folder: Path
) -> dict[str, dict[str, float]]:
    """Errors and coverage on the test crystals without the element, and on those with it."""
    with_it, split, graphs = holding(results, element), folder / "split.parquet", results / "graphs"
    folder.mkdir(parents=True, exist_ok=True)
    write_parts(results, with_it, rows, split)
    boosting = boosting_errors(results, folder, config)
    found: dict[str, dict[str, float]] = {"seen": {}, "unseen": {}}
    for name, known in VARIANTS.items():
        model = folder / name / f"seed-{SEED}"
        chosen = override(config, {"crystalframer.element_properties": known})
        train(chosen, SEED, graphs, split, model)
        judged(model, graphs, split)
        table = read_parquet(folder / name / "evaluation" / "predictions.parquet").to_pandas()
        table = table[table["split"] == "test"].set_index("id")
        for part, wanted in (("seen", False), ("unseen", True)):
            some = table[[(id in with_it) == wanted for id in table.index]]
            inside = (some["target"] >= some["low"]) & (some["target"] <= some["high"])
            found[part] |= {
                "crystals": len(some),
                "boosting_mae": float(np.mean([boosting[id] for id in some.index])),
                f"{name}_mae": float((some["prediction"] - some["target"]).abs().mean()),
                f"{name}_coverage": float(inside.mean()),
            }
    return found


def boosting_errors(results: Path, folder: Path, config: Config) -> dict[str, float]:
    """The absolute error of gradient boosting for each crystal; val tells it when to stop."""
    (target,) = config.dataset.targets
    if config.dataset.target_transforms.get(target):
        raise SystemExit("this script knows no transformed targets")
    ids, parts_G, labels_G, dataset = Rows(results, folder, None).labelled
    features_GF = crystal_features(dataset.compositions(), dataset.lattices())
    prediction_G = boosting_prediction(features_GF, labels_G, parts_G == "train", parts_G == "val")
    return dict(zip(ids, np.abs(prediction_G - labels_G).tolist(), strict=True))


def measure(args: argparse.Namespace) -> dict[str, Any]:
    args.folder.mkdir(parents=True, exist_ok=True)
    config = override(
        load_config(args.config or args.results / "config.json"),
        {
            "encoder": "crystalframer",
            "crystalframer.frame": "none",
            "training.batch_size": BATCH,
            "training.epochs": EPOCHS,
        },
    )
    (target,) = config.dataset.targets
    found = args.folder / "found.json"
    for element in args.elements:
        make = partial(result, config, args.results, element, args.rows, args.folder / element)
        kept(found, (element,), make)
    unit = read_json(args.results / "graphs" / "manifest.json")["targets"][target]
    head = {"machine": machine(), "target": target, "unit": unit, "rows": args.rows}
    return head | {"elements": read_json(found)}


def rendered(results: dict[str, Any]) -> str:
    """The table, and what it says."""
    rows = [
        "| element left out | crystals with it | network: without it | with it | network without properties: "
        "without it | with it | boosting: without it | with it | coverage: without it | with it |",
        "|" + "---|" * 10,
    ]
    for element, one in results["elements"].items():
        errors = [
            f"{one[part][name]:.3f}"
            for name in ("properties_mae", "learned_mae", "boosting_mae")
            for part in ("seen", "unseen")
        ]
        coverages = [
            f"{100 * one[part]['properties_coverage']:.0f} %" for part in ("seen", "unseen")
        ]
        row = [element, f"{one['unseen']['crystals']}", *errors, *coverages]
        rows.append(f"| {' | '.join(row)} |")
    every = results["elements"].values()
    factors, learned = (
        [one["unseen"][f"{name}_mae"] / one["seen"][f"{name}_mae"] for one in every]
        for name in VARIANTS
    )
    shares = [100 * one["unseen"]["properties_coverage"] for one in every]
    wins = sum(one["unseen"]["properties_mae"] < one["unseen"]["boosting_mae"] for one in every)
    return "\n".join(
        [
            f"`{results['target']}` in {results['unit']}, {results['rows']:,} training crystals, "
            f"{EPOCHS} epochs, one seed; on {results['machine']}.",
            "",
            *rows,
            "",
            "**What it says.** With an element that it has not seen the network errs "
            f"{min(factors):.1f} to {max(factors):.1f} times as much; without properties of elements it "
            f"would be {min(learned):.1f} to {max(learned):.1f} times. Its intervals, which should hold "
            f"{100 * STATED:.0f} % of the labels, hold {min(shares):.0f} to {max(shares):.0f} %. There it is "
            f"better than gradient boosting for {wins} of {len(factors)} elements.",
        ]
    )


if __name__ == "__main__":
    publish(
        __doc__ or "",
        {
            **OPTIONS,
            "--elements": {"nargs": "+", "default": ["F", "Fe", "Te", "Cs"]},
            "--rows": {"type": int, "default": 2000},
            "--folder": {"type": Path, "default": Path("unseen")},
        },
        measure,
        RESULTS_FILE,
        (PAGE, BEGIN, END),
        rendered,
    )
