"""The stages of the pipeline one after the other in this process, for small data."""

import io
import logging
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from dglframer.cli.main import parser
from dglframer.common.device import pick_device, reproducible
from dglframer.common.errors import UserError
from dglframer.common.files import read_json, write_json
from dglframer.config import Config, override, parse_config
from dglframer.data.first_config import look
from dglframer.data.sources.file_ids import FRAMES, JSON, ending
from dglframer.graphs.shards import count_rows
from dglframer.interface.model import Model, load

log = logging.getLogger(__name__)

MAX_CRYSTALS = 20_000  # more are the workflow's: it uses all cores, and goes on stage by stage


@dataclass(frozen=True)
class Fitted:
    """What ``fit`` made.

    ``metrics``: evaluation/metrics.json, errors by target and split in the targets' units. ``paths``: the
    files and folders by stage: config, crystals, rejected, checks, split, graphs, models, evaluation, report.
    """

    model: Model
    metrics: dict[str, Any]
    paths: dict[str, Path]

    def __repr__(self) -> str:
        errors = (
            f"{name}: test MAE {result['splits']['test']['mae']:.4g} {result['unit']}"
            for name, result in self.metrics["targets"].items()
        )
        return f"<dglframer.Fitted {'; '.join(errors)}; report in {self.paths['report']}>"


def fit(
    data: str | PathLike[str],
    targets: Sequence[str] = (),
    *,
    units: Mapping[str, str] | None = None,
    out: str | PathLike[str] = "fitted",
    seeds: Sequence[int] = (0,),
    settings: Mapping[str, Any] | None = None,
    threads: int = 1,
    device: str = "auto",
) -> Fitted:
    """Train on structures and a table of their properties, and evaluate: the pipeline without Snakemake.

    ``data``: a folder of structure files with a table of targets in it (id_prop.csv or its only CSV file);
    such a table, beside the files or folders that its ids name; or one file of structures with their
    targets (.json, .jsonl, .extxyz, .db, ..., .parquet). ``targets``: the columns to learn; of a folder by
    default all columns of numbers. ``units``: by target. ``out``: the folder of all files, with the names
    that the workflow gives them. ``seeds``: a model is trained for each. ``settings``: keys of the
    configuration with dots (``{"training.epochs": 100, "split.method": "by_composition"}``); by default
    the split is random. ``threads``, ``device``: as in ``load``.

    The same call goes on with a training that was interrupted. Raises UserError for data that cannot be
    used, and above MAX_CRYSTALS structures, which are for the workflow.
    """
    folder = Path(out)
    config = configuration(Path(data), targets, dict(units or {}), seeds, settings or {})
    write_json(folder / "config.json", config.model_dump(mode="json"))
    stages = Stages(folder, threads, device)
    # What the verbs print, a summary of the data for a terminal, stands in the report.
    with reproducible(threads, pick_device(device)), redirect_stdout(io.StringIO()):
        stages.data()
        stages.train(config.seeds)
        stages.report(config.seeds)
    model = load(folder / "models", device=device, threads=threads)
    metrics = read_json(folder / "evaluation" / "metrics.json", "targets")
    return Fitted(model, metrics, stages.paths)


def configuration(
    data: Path,
    targets: Sequence[str],
    units: dict[str, str],
    seeds: Sequence[int],
    settings: Mapping[str, Any],
) -> Config:
    """The configuration for the data; raises UserError."""
    dataset: dict[str, Any] = {"path": str(data.resolve()), "targets": list(targets)}
    if data.is_dir() or data.suffix == ".csv":
        seen = look(*((data, None) if data.is_dir() else (data.parent, data)))
        dataset |= {"source": "folder", "path": str(seen.folder.resolve())}
        dataset |= {"targets_csv": str(seen.table.resolve())}
        dataset["targets"] = list(targets) or [target.name for target in seen.targets]
        units = {target.name: target.unit for target in seen.targets if target.unit} | units
    elif data.suffix == ".parquet" and data.is_file():
        dataset["source"] = "parquet"
    elif ending(data) in (*JSON, *FRAMES) and data.is_file():
        dataset["source"] = "json" if ending(data) in JSON else "ase"
    else:
        raise UserError(
            f"{data}: neither a folder, nor a .csv table, nor a file of structures with targets"
        )
    if not dataset["targets"]:
        raise UserError(f"fit: name the targets to learn from {data}: targets=[...]")
    dataset["target_units"] = {name: units[name] for name in dataset["targets"] if name in units}
    plain = {"dataset": dataset, "split": {"method": "random"}, "seeds": list(seeds)}
    return override(parse_config(plain), settings)


class Stages:
    """The verbs of the command line, with the paths that the workflow gives them."""

    def __init__(self, folder: Path, threads: int, device: str):
        self.threads, self.device = threads, device
        names = {"config": "config.json", "download": "download.json", "models": "models"}
        names |= {name: f"{name}.parquet" for name in ("crystals", "rejected", "checks", "split")}
        names |= {"inspection": "inspection.json", "leakage": "leakage.json", "graphs": "graphs"}
        names |= {"evaluation": "evaluation", "report": "report.html"}
        self.paths = {name: folder / path for name, path in names.items()}

    def run(self, verb: str, *words: Any, **options: Any) -> None:
        """Run a verb; an option that is True stands for the path of its name."""
        command = [verb, *map(str, words)]
        for name, value in options.items():
            given = self.paths[name] if value is True else value
            values = given if isinstance(given, list) else [given]
            command += [f"--{name}", *map(str, values)]
        log.info("dglframer %s", " ".join(command))
        args = parser().parse_args(command)
        args.run(args)

    def data(self) -> None:
        """From the files to graphs."""
        paths, threads = self.paths, self.threads
        self.run("download", config=True, out=paths["download"])
        self.run("crystals", config=True, download=True, rejected=True, out=paths["crystals"])
        self.check_size()
        self.run("clean", config=True, crystals=True, threads=threads, out=paths["checks"])
        self.run("inspect", paths["crystals"], rejected=True, checks=True, json=paths["inspection"])
        self.run(
            "split", config=True, crystals=True, rejected=True, checks=True, out=paths["split"]
        )
        self.run("leakage", checks=True, split=True, out=paths["leakage"])
        self.run("graphs", config=True, crystals=True, out=paths["graphs"])

    def check_size(self) -> None:
        """Raise UserError if there are too many crystals for one process."""
        n_crystals = count_rows(self.paths["crystals"])
        if n_crystals > MAX_CRYSTALS:
            raise UserError(
                f"{n_crystals} crystals are many for one process: give {self.paths['config']} to the "
                "workflow, snakemake --cores all --configfile FILE"
            )

    def train(self, seeds: Sequence[int]) -> None:
        """A model for each seed."""
        computing = {"threads": self.threads, "device": self.device}
        for seed in seeds:
            out = self.paths["models"] / f"seed-{seed}"
            checkpoints = self.paths["models"].parent / "checkpoints" / f"seed-{seed}"
            self.run(
                "train", config=True, graphs=True, split=True, seed=seed, out=out,
                checkpoints=checkpoints, **computing,
            )  # fmt: skip

    def report(self, seeds: Sequence[int]) -> None:
        """Errors on every split, and the page."""
        models = [self.paths["models"] / f"seed-{seed}" for seed in seeds]
        self.run(
            "evaluate", graphs=True, split=True, models=models, threads=self.threads,
            device=self.device, out=self.paths["evaluation"],
        )  # fmt: skip
        self.run(
            "report", config=True, download=True, crystals=True, rejected=True, checks=True,
            inspection=True, split=True, leakage=True, graphs=True, models=models, evaluation=True,
            out=self.paths["report"],
        )  # fmt: skip
