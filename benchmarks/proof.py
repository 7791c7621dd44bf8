"""What the encoders are worth: error against CPU time, and against the number of training crystals.

    python benchmarks/proof.py results --sizes 500 2000 --seconds 100 300 --seeds 0 1 2
        [--only METHOD ...] [--peers-python PEERS/bin/python] [--folder proof]

RESULTS is a results folder of the workflow with crystals, graphs and a split of one target. Each seed
draws --sizes of its train rows, the same for every method; val and test stay. Each method trains on one
thread for as many epochs as fit into --seconds, by a short training that is timed before. ALIGNN runs in
the environment that benchmarks/peers.py describes; without --peers-python it is left out. What is done
stays in --folder, and a second call goes on from there. Writes proof.json beside the other
results, the figure proof.svg and the part of docs/measured/proof.md between the markers.
"""

import argparse
import time
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from default_run import machine
from pages import publish
from proof_page import drawn, rendered
from trainings import OPTIONS, ROOT, judged, kept, train

from dglframer.common.files import read_json
from dglframer.common.parquet import read_parquet
from dglframer.common.transforms import apply, undo
from dglframer.config import Config, load_config, override
from dglframer.config.networks import SymmetryGroup
from dglframer.data.crystals import crystal_rows
from dglframer.data.split import SPLITS, read_split, write_split
from dglframer.data.subsets import write_subsets
from dglframer.evaluation.boosting import boosting_prediction
from dglframer.evaluation.comparison_plan import seconds_per_epoch
from dglframer.evaluation.crystal_features import crystal_features
from dglframer.graphs.dataset import GraphDataset
from dglframer.structures.crystal import Crystal
from dglframer.training.metrics import read_metrics

RESULTS_FILE = ROOT / "benchmarks" / "results" / "proof.json"
PAGE, PLOT = ROOT / "docs" / "measured" / "proof.md", ROOT / "docs" / "measured" / "proof.svg"
BEGIN, END = "<!-- results: written by benchmarks/proof.py -->", "<!-- end of results -->"

SETTINGS: dict[str, dict[str, Any]] = {
    "none": {"encoder": "crystalframer", "crystalframer.frame": "none"},
    "max": {"encoder": "crystalframer", "crystalframer.frame": "max"},
    "se3_transformer": {"encoder": "se3_transformer"},
    "tfn": {"encoder": "tfn"},
}
# The trainings of a method one after the other: the share of the budget, and a key of SETTINGS.
STAGES = {name: [(1.0, name)] for name in SETTINGS} | {"late": [(2 / 3, "none"), (1 / 3, "max")]}
PEERS: dict[str, float | None] = {"alignn": None, "alignn_0.001": 0.001}  # None: the package's rate
METHODS = ["boosting", *STAGES, *PEERS]
BATCH = 16  # the default, which examples and presets change
TIMED_EPOCHS = 3
GROUP: SymmetryGroup = "all"  # the graphs that the encoder without frames reads, too
WATCHED = (
    32  # validation crystals after each epoch, for the log alone: all of them would take longer
)


@dataclass
class Rows:
    """The crystals of one seed and size, with what is learned from them."""

    results: Path
    folder: Path  # with split.parquet
    transform: str | None

    @property
    def split(self) -> Path:
        """The train rows of the seed and size, and every val and test row."""
        return self.folder / "split.parquet"

    @cached_property
    def size(self) -> int:
        """How many train rows there are."""
        return len(read_split(self.split)["train"])

    @cached_property
    def watched(self) -> Path:
        """The same train rows with few of val, for the trainings: they choose nothing by val."""
        parts, path = read_split(self.split), self.folder / "watched" / "split.parquet"
        parts["val"] = parts["val"][:WATCHED]
        write_split({id: name for name in SPLITS for id in parts[name]}, path)
        return path

    @cached_property
    def labelled(self) -> tuple[list[str], np.ndarray, np.ndarray, GraphDataset]:
        """Ids, parts [G] and labels [G] in the target's unit of every crystal with a label."""
        parts = read_split(self.split)
        ids = [id for name in SPLITS for id in parts[name]]
        labels = GraphDataset(self.results / "graphs", ids, GROUP)
        known = labels.known()[:, 0]
        dataset = GraphDataset(labels.graphs, list(np.array(ids, dtype=object)[known]), GROUP)
        parts_G = np.array([name for name in SPLITS for _ in parts[name]])[known]
        return dataset.ids, parts_G, np.asarray(dataset.targets[dataset.rows])[:, 0], dataset

    def errors(self, prediction_G: np.ndarray) -> dict[str, float]:
        """The mean absolute errors of predictions of ``labelled``."""
        _, parts_G, labels_G, _ = self.labelled
        error_G = np.abs(prediction_G - labels_G)
        return {name: float(error_G[parts_G == name].mean()) for name in ("val", "test")}


def boosting(rows: Rows) -> dict[str, Any]:
    """The strong baseline, as `dglframer evaluate` trains it; val tells it when to stop."""
    _, parts_G, labels_G, dataset = rows.labelled
    features_GF = crystal_features(dataset.compositions(), dataset.lattices())
    learned_G = apply(rows.transform, labels_G)
    started = time.process_time()
    prediction_G = boosting_prediction(features_GF, learned_G, parts_G == "train", parts_G == "val")
    seconds = time.process_time() - started
    return {"cpu_seconds": seconds, **rows.errors(undo(rows.transform, prediction_G))}


def epochs_in(seconds: float, pace: float) -> int:
    return max(1, round(seconds / pace))


class Ours:
    """Trainings of our encoders."""

    def __init__(self, args: argparse.Namespace, config: Config, few: Rows):
        self.config, self.folder, self.found = config, args.folder, args.folder / "found.json"
        self.graphs, self.few = args.results / "graphs", few

    def settings(self, name: str, epochs: int, start: Path | None = None) -> Config:
        more = {"training.batch_size": BATCH, "training.epochs": epochs}
        return override(
            self.config, SETTINGS[name] | more | {"training.init_from": start and str(start)}
        )

    def pace(self, name: str, size: int) -> float:
        """CPU seconds of an epoch, by a short training with few crystals."""

        def timed() -> float:
            model = self.folder / "timed" / name / "seed-0"
            train(self.settings(name, TIMED_EPOCHS), 0, self.graphs, self.few.watched, model)
            return seconds_per_epoch([model]) / self.few.size

        return size * float(kept(self.found, ("pace", name), timed))

    def run(self, method: str, size: int, budget: float, seed: int, rows: Rows) -> dict[str, Any]:
        """Train the stages of a method; errors, epochs of each stage, and CPU seconds of its steps."""
        start, epochs, spent = None, [], 0.0
        for k, (share, name) in enumerate(STAGES[method]):
            epochs.append(epochs_in(share * budget, self.pace(name, size)))
            settings = self.settings(name, epochs[-1], start)
            start = self.folder / f"{method}-{size}-{budget:g}-{k}" / f"seed-{seed}"
            train(settings, seed, self.graphs, rows.watched, start)
            spent += sum(line["cpu_seconds"] for line in read_metrics(start))
        assert start is not None
        errors = judged(start, self.graphs, rows.split)
        return {"cpu_seconds": spent, "epochs": epochs} | {
            name: errors[name] for name in ("val", "test")
        }


class Theirs:
    """Trainings of ALIGNN, in a process of another interpreter that builds every graph once."""

    def __init__(self, args: argparse.Namespace, every: list[Rows], few: Rows):
        self.args, self.found, self.few = args, args.folder / "found.json", few
        self.every = sorted({id for rows in every for id in rows.labelled[0]})
        self.place = {id: k for k, id in enumerate(self.every)}

    @cached_property
    def process(self) -> Any:
        from speed_cases import PeerProcess, Sample

        table = read_parquet(self.args.results / "crystals.parquet")
        crystals = {id: Crystal(id, *structure, {}) for id, *structure in crystal_rows(table)}
        sample = Sample("rows", "", [crystals[id] for id in self.every])
        process = PeerProcess(self.args.peers_python, [sample], self.args.folder, 1)
        process.ask(do="build", peer="alignn", sample="rows")
        return process

    def fit(self, method: str, seed: int, epochs: int, rows: Rows, parts: tuple[str, ...]) -> Any:
        """The answer of the process after a training, with predictions of some parts."""
        ids, parts_G, labels_G, _ = rows.labelled
        places_G = np.array([self.place[id] for id in ids])
        of_train = parts_G == "train"
        return self.process.ask(
            do="fit", peer="alignn", sample="rows", seed=seed, epochs=epochs, rate=PEERS[method],
            train=places_G[of_train].tolist(), labels=labels_G[of_train].tolist(),
            predict=places_G[np.isin(parts_G, parts)].tolist(),
        )  # fmt: skip

    def pace(self, method: str, size: int) -> float:
        """CPU seconds of an epoch, by a short training with few crystals."""

        def timed() -> float:
            answer = self.fit(method, 0, TIMED_EPOCHS, self.few, ())
            return float(answer["cpu_seconds"]) / TIMED_EPOCHS / self.few.size

        return size * float(kept(self.found, ("pace", method), timed))

    def run(self, method: str, size: int, budget: float, seed: int, rows: Rows) -> dict[str, Any]:
        """Train with the package's defaults; errors, epochs, and CPU seconds of the steps."""
        epochs = epochs_in(budget, self.pace(method, size))
        answer = self.fit(method, seed, epochs, rows, SPLITS)
        errors = rows.errors(np.array(answer["predictions"]))
        return {"cpu_seconds": answer["cpu_seconds"], "epochs": [epochs], **errors}


def measure(args: argparse.Namespace) -> dict[str, Any]:
    config = load_config(args.config or args.results / "config.json")
    (target,) = config.dataset.targets
    transform = config.dataset.target_transforms.get(target)
    every: dict[tuple[int, int], Rows] = {}
    for seed in args.seeds:
        folder = args.folder / "rows" / str(seed)
        write_subsets(args.results / "split.parquet", args.sizes, seed, folder)
        for size in args.sizes:
            every[seed, size] = Rows(args.results, folder / str(size), transform)
    few = every[args.seeds[0], min(args.sizes)]
    ours, theirs = Ours(args, config, few), Theirs(args, list(every.values()), few)
    methods = args.only or [name for name in METHODS if args.peers_python or name not in PEERS]

    def run(method: str, size: int, budget: float, seed: int) -> dict[str, Any]:
        rows = every[seed, size]
        if method == "boosting":
            found = boosting(rows)
        else:
            side = theirs if method in PEERS else ours
            found = side.run(method, size, budget, seed, rows)
        return {"machine": machine(), **found}

    for seed, size in every:
        for method in methods:
            for budget in [0] if method == "boosting" else args.seconds:
                keys = "runs", method, str(size), f"{budget:g}", str(seed)
                kept(args.folder / "found.json", keys, partial(run, method, size, budget, seed))
    parts_G = every[args.seeds[0], args.sizes[0]].labelled[1]
    graphs = read_json(args.results / "graphs" / "manifest.json")
    return {
        "target": target,
        "unit": graphs["targets"][target],
        "val": int((parts_G == "val").sum()),
        "test": int((parts_G == "test").sum()),
        **read_json(args.folder / "found.json"),
    }


if __name__ == "__main__":
    publish(
        __doc__ or "",
        {
            **OPTIONS,
            "--sizes": {"type": int, "nargs": "+", "default": [500, 2000]},
            "--seconds": {
                "type": float,
                "nargs": "+",
                "default": [100, 300],
                "help": "CPU seconds",
            },
            "--seeds": {"type": int, "nargs": "+", "default": [0, 1, 2]},
            "--only": {"nargs": "+", "choices": METHODS, "help": "these methods alone"},
            "--peers-python": {"help": "interpreter of the environment of benchmarks/peers.py"},
            "--folder": {"type": Path, "default": Path("proof")},
        },
        measure,
        RESULTS_FILE,
        (PAGE, BEGIN, END),
        rendered,
        partial(drawn, PLOT),
    )
