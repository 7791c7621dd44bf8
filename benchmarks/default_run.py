"""Numbers of the default run, for the README: run `make run`, then `python benchmarks/default_run.py`.

Reads results/ (stage times, errors, model size), measures graph building, training steps and
prediction on the data set of that run, writes benchmarks/results/default_run.json, and puts the
numbers between the markers in README.md. `--readme` only does the last.
"""

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pages import fill

from dglframer.common.machine import machine

ROOT = Path(__file__).resolve().parents[1]
RESULTS_FILE = ROOT / "benchmarks" / "results" / "default_run.json"
PAGE = ROOT / "README.md"
BEGIN, END = "<!-- numbers: written by benchmarks/default_run.py -->", "<!-- end of numbers -->"
STAGES = "download crystals clean inspect split leakage graphs tune train evaluate report".split()
ROUNDS = 5


def measure(results: Path) -> dict[str, Any]:
    """Everything the README states about the default run."""
    metrics = json.loads((results / "evaluation" / "metrics.json").read_text())
    weights = results / "models" / "seed-0" / "model.safetensors"
    return {
        "machine": machine(),
        "stage_seconds": stage_seconds(results / "benchmarks"),
        "targets": metrics["targets"],
        "parameters": metrics["parameters"],
        "model_megabytes": round(weights.stat().st_size / 1e6, 1),
        "crystals_per_second": throughput(results),
    }


def stage_seconds(folder: Path) -> dict[str, float]:
    """Wall seconds of each stage from Snakemake's benchmark files; train: the slowest seed."""
    seconds = {}
    for stage in STAGES:
        files = sorted(folder.glob(f"{stage}.tsv")) or sorted(folder.glob(f"{stage}-seed-*.tsv"))
        seconds[stage] = max(float(path.read_text().splitlines()[1].split()[0]) for path in files)
    return seconds


def throughput(results: Path) -> dict[str, float]:
    """Crystals per second and thread: median of ROUNDS, after one round that compiles and caches."""
    import torch

    from dglframer.common.device import settle_mkl
    from dglframer.config import Config
    from dglframer.config.data import GraphsConfig
    from dglframer.data.split import read_split
    from dglframer.graphs.dataset import GraphDataset
    from dglframer.graphs.loading import batches
    from dglframer.graphs.shards import write_graphs
    from dglframer.networks.inference import predict
    from dglframer.networks.model_directory import load_model
    from dglframer.training.distributed import Processes
    from dglframer.training.prepare import prepare
    from dglframer.training.trainer import Trainer

    torch.set_num_threads(1)
    settle_mkl()
    device, config = torch.device("cpu"), Config()
    parts = read_split(results / "split.parquet")
    ids = [id for part in parts.values() for id in part]
    graphs = results / "graphs"
    dataset = GraphDataset(graphs, ids)
    sample = GraphDataset(graphs, ids[::4])
    trainer = Trainer(
        prepare(config, sample, sample, 0, device), config.training, Processes(device)
    )
    network = load_model(results / "models" / "seed-0").network

    def build() -> None:
        with tempfile.TemporaryDirectory() as folder:
            cutoff = dataset.manifest["cutoff_angstrom"]
            write_graphs(
                results / "crystals.parquet",
                Path(folder),
                GraphsConfig(cutoff_angstrom=cutoff, crystals_per_shard=1024),
            )

    def train() -> None:
        for batch in batches(sample, 16):
            trainer.train_step(batch, averaging=False)

    return {
        "graphs to shards": len(ids) / median_seconds(build),
        "training": len(sample) / median_seconds(train),
        "prediction from shards": len(sample)
        / median_seconds(lambda: predict(network, sample, device)),
    }


def median_seconds(work: Callable[[], object]) -> float:
    """Median wall time of ROUNDS calls, one uncounted call before them."""
    times = []
    for _ in range(ROUNDS + 1):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def rendered(numbers: dict[str, Any]) -> str:
    """The README's block of numbers."""
    stages = numbers["stage_seconds"]
    lines = [
        f"Measured by that script on {numbers['machine']}: {sum(stages.values()):.0f} s, of which tuning "
        f"{stages['tune']:.0f} and training {stages['train']:.0f}.",
        "",
    ]
    for name, target in numbers["targets"].items():
        test, seeds = target["splits"]["test"], target["test_mae_by_seed"]
        error, of_error = with_error(test)
        digits = max(0, -math.floor(math.log10(of_error)))
        others = ", ".join(
            f"{words} {target[key]['test_mae']:.{digits}f}"
            for key, words in BASELINES.items()
            if key in target
        )
        lines += [
            f"- `{name}`, {target['splits']['train']['crystals']} training crystals; test MAE on "
            f"{test['crystals']} others, an ensemble of {len(seeds)}: "
            f"**{error:.{digits}f} ± {of_error:.{digits}f} {target['unit']}**, the standard error over the "
            f"crystals. Without a network: {others}.",
        ]
    speed = ", ".join(f"{k} {rounded(v)}" for k, v in numbers["crystals_per_second"].items())
    lines += [
        "- Results differ by the type of CPU; on one machine they repeat to the bit.",
        f"- {numbers['parameters']:,} parameters, {numbers['model_megabytes']} MB on disk. Crystals per "
        f"second on one thread: {speed}.",
    ]
    return "\n".join(lines)


BASELINES = {
    "boosting_baseline": "gradient boosting on composition and cell volume",
    "composition_baseline": "ridge regression on element fractions",
    "median_baseline": "the training median",
}


def with_error(split: dict[str, Any]) -> tuple[float, float]:
    """The MAE of a split and its standard error over the crystals, from MAE and RMSE."""
    spread = math.sqrt(max(split["rmse"] ** 2 - split["mae"] ** 2, 0.0))
    return split["mae"], spread / math.sqrt(split["crystals"] - 1)


def rounded(value: float) -> str:
    """A rate to two digits: a second run on the same machine changes the third."""
    return f"{float(f'{value:.2g}'):,.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--readme", action="store_true", help="only write README.md again")
    args = parser.parse_args()
    if not args.readme:
        RESULTS_FILE.parent.mkdir(parents=True, exist_ok=True)
        RESULTS_FILE.write_text(json.dumps(measure(args.results), indent=1) + "\n")
    numbers = json.loads(RESULTS_FILE.read_text())
    fill(PAGE, BEGIN, END, rendered(numbers))
    print(rendered(numbers))


if __name__ == "__main__":
    main()
