"""Four encoders on formation energies of the Materials Project: `python benchmarks/compare.py`.

Draws 2,000 training, 200 validation and 500 test crystals (seed 0) from
../shared/data/mp_megnet.parquet, runs `snakemake compare` on them in a scratch folder (--folder
keeps it, and goes on where it was stopped), and writes benchmarks/results/compare.json,
docs/measured/compare.svg and the table of docs/measured/compare.md. Each training has one thread. `--page`
only writes the page anew.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pages import publish

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "mp_megnet.parquet"
RESULTS_FILE = ROOT / "benchmarks" / "results" / "compare.json"
MEASURED = ROOT / "docs" / "measured"
PAGE, PLOT = MEASURED / "compare.md", MEASURED / "compare.svg"
BEGIN, END = "<!-- table: written by benchmarks/compare.py -->", "<!-- end of table -->"
SIZES = {"train": 2000, "val": 200, "test": 500}
CONFIG: dict[str, Any] = {
    "dataset": {"source": "parquet", "targets": ["formation_energy_per_atom"]},
    "seeds": [0, 1],
    "training": {"epochs": 6, "batch_size": 16},
    "compare": {
        "variants": {
            "crystalframer": {},
            "crystalformer": {"crystalframer.frame": "none"},
            "se3_transformer": {"encoder": "se3_transformer"},
            "tfn": {"encoder": "tfn"},
        }
    },
}


def write_subset(path: Path, source: Path, sizes: Mapping[str, int]) -> None:
    """The drawn crystals; validation and test crystals come from the file's validation rows."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(source)
    split_G = np.array(table["split"].to_pylist())
    rng = np.random.default_rng(0)
    train, held = (rng.permutation(np.flatnonzero(split_G == name)) for name in ("train", "val"))
    rows = {"train": train[: sizes["train"]], "val": held[: sizes["val"]]}
    rows["test"] = held[sizes["val"] :][: sizes["test"]]
    parts = []
    for name, chosen in rows.items():
        part = table.take(np.sort(chosen))
        column = part.schema.get_field_index("split")
        parts.append(part.set_column(column, "split", pa.array([name] * len(part))))
    pq.write_table(pa.concat_tables(parts), path)


def measure(folder: Path, cores: int) -> dict[str, Any]:
    """The comparison's table, with what it ran on."""
    if not DATA.exists():
        sys.exit(f"no file {DATA}: this benchmark needs it")
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "subset.parquet"
    if not source.exists():
        write_subset(source, DATA, SIZES)
    table = run_target(
        folder, {**CONFIG, "dataset": {**CONFIG["dataset"], "path": str(source)}}, cores
    )
    shutil.copy(folder / "results" / "compare" / "comparison.svg", PLOT)
    return {**table, "crystals": SIZES}


WORKFLOW_OPTIONS: dict[str, dict[str, Any]] = {
    "--folder": {"type": Path, "help": "scratch folder (default: a temporary one)"},
    "--cores": {"type": int, "default": 2},
}


def in_folder(
    measure: Callable[[Path, int], dict[str, Any]],
) -> Callable[[argparse.Namespace], dict[str, Any]]:
    """A measurement in the folder that the options name, or in a temporary one."""

    def run(args: argparse.Namespace) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as scratch:
            return measure(args.folder or Path(scratch), args.cores)

    return run


def run_target(folder: Path, config: Mapping[str, Any], cores: int) -> dict[str, Any]:
    """Run `snakemake compare` with a configuration in a folder; returns the table it wrote."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["snakemake", "--snakefile", ROOT / "Snakefile", "--directory", folder, "compare"]
    command += ["--cores", str(cores), "--configfile", folder / "config.json", "--rerun-incomplete"]
    subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        check=True,
        cwd=folder,
        env={**os.environ, "PATH": path},
    )
    return dict(json.loads((folder / "results" / "compare" / "table.json").read_text()))


def rendered(numbers: dict[str, Any]) -> str:
    """The table of the workflow, with what it was trained on."""
    from dglframer.report.comparison import markdown

    return (
        f"{numbers['crystals']['train']:,} training and {numbers['crystals']['test']} test crystals, "
        f"{len(numbers['seeds'])} seeds, one thread each. Below the encoders: the baselines.\n\n"
        f"{markdown(numbers)}"
    )


def main() -> None:
    publish(
        __doc__ or "",
        WORKFLOW_OPTIONS,
        in_folder(measure),
        RESULTS_FILE,
        (PAGE, BEGIN, END),
        rendered,
    )


if __name__ == "__main__":
    main()
