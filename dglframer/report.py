"""The report: one self-contained HTML page about a run, made from the files its stages wrote."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pyarrow as pa

from dglframer import plots
from dglframer.config import Config, load_config
from dglframer.crystals import crystal_rows
from dglframer.files import read_json, read_parquet, write_text
from dglframer.graphs import read_manifest

SYSTEMS = (
    "triclinic",
    "monoclinic",
    "orthorhombic",
    "tetragonal",
    "trigonal",
    "hexagonal",
    "cubic",
)
LAST_SPACE_GROUPS = (2, 15, 74, 142, 167, 194, 230)  # of each crystal system
# Nonmetals and metalloids close a formula, in this order; metals stand before them by name.
CLOSING = (
    "B",
    "Si",
    "Ge",
    "C",
    "Sb",
    "As",
    "P",
    "N",
    "H",
    "Te",
    "Se",
    "S",
    "I",
    "Br",
    "Cl",
    "O",
    "F",
)
PACKAGES = (
    "dglframer",
    "torch",
    "dgl",
    "numpy",
    "pyarrow",
    "spglib",
    "pymatgen",
    "optuna",
    "snakemake",
)


@dataclass(frozen=True)
class Inputs:
    """Where the stages' files are; ``tuned`` (best.json) is None if tuning is off."""

    config: Path
    download: Path
    crystals: Path
    rejected: Path
    split: Path
    graphs: Path
    models: Sequence[Path]
    evaluation: Path
    tuned: Path | None = None


@dataclass(frozen=True)
class Run:
    """The stages' files, read."""

    inputs: Inputs
    config: Config
    crystals: pa.Table
    split: dict[str, str]
    manifest: dict[str, Any]
    best: dict[str, Any] | None
    models: list[dict[str, Any]]
    metrics: dict[str, Any]
    predictions: dict[str, plots.Predictions]

    @cached_property
    def structures(self) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Atomic numbers, lattice and fractional coordinates of each id."""
        return {id: structure for id, *structure in crystal_rows(self.crystals)}

    @cached_property
    def systems(self) -> dict[str, str]:
        """Crystal system of each test crystal."""
        return {
            id: crystal_system(*self.structures[id])
            for id, part in self.split.items()
            if part == "test"
        }


def write_report(inputs: Inputs, out: Path) -> str:
    """Write the page and return the test errors as one line; equal inputs give equal bytes."""
    run = read_run(inputs)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dglframer"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"num": number, "plural": plural}
    sections = (data, splits, graphs, tuning, model, training, results, reproduction)
    context: dict[str, Any] = reduce(lambda so_far, section: so_far | section(run), sections, {})
    write_text(out, environment.get_template("report.html.j2").render(context))
    return "; ".join(
        f"{name}: test MAE {one['splits']['test']['mae']:.4f} {one['unit']}, "
        f"training median {one['median_baseline']['test_mae']:.4f}"
        for name, one in run.metrics["targets"].items()
    )


def read_run(inputs: Inputs) -> Run:
    """Read everything but the small files that one section shows as they are."""
    split = read_parquet(inputs.split)
    return Run(
        inputs=inputs,
        config=load_config(inputs.config),
        crystals=read_parquet(inputs.crystals),
        split=dict(zip(split["id"].to_pylist(), split["split"].to_pylist(), strict=True)),
        manifest=read_manifest(inputs.graphs),
        best=read_json(inputs.tuned) if inputs.tuned else None,
        models=[read_json(Path(folder) / "model.json") for folder in inputs.models],
        metrics=read_json(inputs.evaluation / "metrics.json"),
        predictions=plots.read_predictions(inputs.evaluation / "predictions.parquet"),
    )
