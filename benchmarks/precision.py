"""What bfloat16 does to the error of the default model: `python benchmarks/precision.py`.

Reads graphs and split of a finished run (--results), trains in both precisions and with another seed
in float32, for the scale of what chance does; writes benchmarks/results/precision.json and the table of
docs/measured/precision.md. `--page` only does the last.
"""

import time
from pathlib import Path
from typing import Any

from pages import publish

ROOT = Path(__file__).resolve().parents[1]
RESULTS_FILE = ROOT / "benchmarks" / "results" / "precision.json"
PAGE = ROOT / "docs" / "measured" / "precision.md"
BEGIN, END = "<!-- table: written by benchmarks/precision.py -->", "<!-- end of table -->"
RUNS = (("float32", 0), ("bfloat16", 0), ("float32", 1))


def measure(results: Path, epochs: int) -> dict[str, Any]:
    """Validation errors, and CPU seconds of the epochs, of each of RUNS."""
    import torch

    from dglframer.common.device import make_reproducible
    from dglframer.config import Config
    from dglframer.config.training import TrainingConfig
    from dglframer.data.split import read_split
    from dglframer.graphs.dataset import GraphDataset
    from dglframer.training.run import train_model

    device = torch.device("cpu")
    make_reproducible(1, device)
    parts = read_split(results / "split.parquet", allowed=("train", "val"))
    sets = [GraphDataset(results / "graphs", parts[name]) for name in ("train", "val")]
    rows = []
    for precision, seed in RUNS:
        training = TrainingConfig(epochs=epochs, averaged_epochs=epochs // 3, precision=precision)
        started = time.process_time()
        last = train_model(Config(training=training), *sets, seed, device).history["last_epoch"]
        row = {"precision": precision, "seed": seed, "val_mae": last["val_mae"]}
        rows.append(row | {"cpu_seconds": time.process_time() - started})
        print(rows[-1], flush=True)
    return {"epochs": epochs, "crystals": len(sets[0]), "torch": torch.__version__, "runs": rows}


def rendered(numbers: dict[str, Any]) -> str:
    """The table."""
    units = "validation MAE of " + ", ".join(numbers["runs"][0]["val_mae"])
    lines = [
        f"{numbers['epochs']} epochs of the default model on {numbers['crystals']} crystals, one CPU "
        f"thread, torch {numbers['torch']}:",
        "",
        f"| precision | seed | {units} | CPU seconds |",
        "|---|---|---|---|",
    ]
    for row in numbers["runs"]:
        errors = ", ".join(f"{value:.4f}" for value in row["val_mae"].values())
        seconds = f"{row['cpu_seconds']:.0f}"
        lines.append(f"| {row['precision']} | {row['seed']} | {errors} | {seconds} |")
    return "\n".join(lines)


def main() -> None:
    publish(
        __doc__ or "",
        {
            "--results": {"type": Path, "default": Path("results")},
            "--epochs": {"type": int, "default": 10},
        },
        lambda args: measure(args.results.resolve(), args.epochs),
        RESULTS_FILE,
        (PAGE, BEGIN, END),
        rendered,
    )


if __name__ == "__main__":
    main()
