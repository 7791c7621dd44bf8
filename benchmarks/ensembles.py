"""What each member brings to an ensemble: the errors of every combination of some trained models.

    python benchmarks/ensembles.py results --models a/seed-1 b/seed-1 c/seed-2 [--names A B C]

RESULTS is a results folder of the workflow with graphs and a split of one target. All models predict it.
Writes benchmarks/results/ensembles.json and the tables of docs/measured/ensembles.md.
"""

import argparse
import statistics
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pages import publish

from dglframer.common.files import read_json
from dglframer.data.split import read_split
from dglframer.graphs.dataset import GraphDataset
from dglframer.networks.inference import predict
from dglframer.networks.model_directory import TrainedModel, load_model

ROOT = Path(__file__).resolve().parents[1]
RESULTS_FILE = ROOT / "benchmarks" / "results" / "ensembles.json"
PAGE = ROOT / "docs" / "measured" / "ensembles.md"
BEGIN, END = "<!-- tables: written by benchmarks/ensembles.py -->", "<!-- end of tables -->"
PARTS = ("val", "test")


def prediction(model: TrainedModel, dataset: GraphDataset, numbers: list[np.ndarray]) -> np.ndarray:
    """[G] predictions in the target's unit; ``numbers``: the dataset's compositions."""
    output_GT = torch.from_numpy(predict(model.network, dataset, torch.device("cpu")))
    return model.denormalise(output_GT, numbers).numpy()[:, 0]


def measure(args: argparse.Namespace) -> dict[str, Any]:
    names = args.names or [str(path) for path in args.models]
    models = {name: load_model(path) for name, path in zip(names, args.models, strict=True)}
    parts = read_split(args.results / "split.parquet")
    errors: dict[str, dict[str, np.ndarray]] = {}
    for part in PARTS:
        dataset = GraphDataset(args.results / "graphs", parts[part])
        labels_G, numbers = np.asarray(dataset.targets[dataset.rows])[:, 0], dataset.compositions()
        errors[part] = {
            name: prediction(one, dataset, numbers) - labels_G for name, one in models.items()
        }
    (unit,) = read_json(args.results / "graphs" / "manifest.json")["targets"].values()
    return {
        "unit": unit,
        "crystals": {part: len(parts[part]) for part in PARTS},
        "correlations": correlations(names, errors),
        "ensembles": [
            {"members": chosen, **{part: mae(errors[part], chosen) for part in PARTS}}
            for count in range(1, len(names) + 1)
            for chosen in combinations(names, count)
        ],
    }


def mae(errors: dict[str, np.ndarray], chosen: tuple[str, ...]) -> float:
    """Of the mean of some members."""
    return float(np.abs(np.mean([errors[name] for name in chosen], 0)).mean())


def correlations(
    names: list[str], errors: dict[str, dict[str, np.ndarray]]
) -> list[dict[str, Any]]:
    """Spearman's, of the errors with their signs of each two models on all crystals."""
    of = {name: np.concatenate([errors[part][name] for part in PARTS]) for name in names}
    ranks = {name: values.argsort().argsort() for name, values in of.items()}
    return [
        {"pair": pair, "spearman": float(np.corrcoef(ranks[pair[0]], ranks[pair[1]])[0, 1])}
        for pair in combinations(names, 2)
    ]


def rendered(numbers: dict[str, Any]) -> str:
    """A table of the combinations by size and validation error, and one of the pairs."""
    many = numbers["crystals"]
    rows = sorted(numbers["ensembles"], key=lambda row: (len(row["members"]), row["val"]))
    of_size: dict[int, list[float]] = {}
    for row in rows:
        of_size.setdefault(len(row["members"]), []).append(row["test"])
    means = ", ".join(f"{size}: {statistics.mean(of):.4f}" for size, of in of_size.items())
    return "\n".join(
        [
            f"Mean absolute errors in {numbers['unit']} on {many['val']:,} validation and "
            f"{many['test']:,} test crystals. Mean test error by the number of members: {means}.",
            "",
            "| members | validation | test |",
            "|---|---|---|",
            *(
                f"| {' + '.join(row['members'])} | {row['val']:.4f} | {row['test']:.4f} |"
                for row in rows
            ),
            "",
            "How alike the errors of two members are:",
            "",
            "| pair | rank correlation of the errors |",
            "|---|---|",
            *(
                f"| {' and '.join(row['pair'])} | {row['spearman']:.3f} |"
                for row in numbers["correlations"]
            ),
        ]
    )


if __name__ == "__main__":
    publish(
        __doc__ or "",
        {
            "results": {"type": Path, "nargs": "?", "help": "results folder of the workflow"},
            "--models": {"type": Path, "nargs": "+", "default": [], "help": "model directories"},
            "--names": {"nargs": "+", "help": "what the tables call them"},
        },
        measure,
        RESULTS_FILE,
        (PAGE, BEGIN, END),
        rendered,
    )
