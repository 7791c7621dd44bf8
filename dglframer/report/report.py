"""The report: a self-contained HTML page about a run, made from the files of its stages."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from dglframer.common.errors import DamagedFile
from dglframer.common.files import hash_of, read_json, write_text
from dglframer.common.own_code import commit
from dglframer.common.parquet import read_parquet
from dglframer.common.version import __version__
from dglframer.config import hash_of_config, load_config, override
from dglframer.config.networks import ENCODERS
from dglframer.config.stages import WITHOUT_EFFECT
from dglframer.config.training import TrainingConfig
from dglframer.data.crystals import crystal_rows
from dglframer.data.label_limits import without_unit
from dglframer.data.split import SPLITS
from dglframer.evaluation.errors import summary
from dglframer.graphs.shards import read_manifest
from dglframer.networks.model_directory import read_description
from dglframer.report import plots
from dglframer.report.inspection import figures
from dglframer.report.pages import environment
from dglframer.report.tuning_plots import tuning_panels
from dglframer.structures.symmetry import SYSTEMS, reduced_formula, system_of
from dglframer.training.metrics import read_metrics

LISTED = 1000  # ids of one reason on the page
PACKAGES = "torch dgl numpy pyarrow spglib pymatgen optuna matplotlib".split()


@dataclass(frozen=True)
class Inputs:
    """Paths of the stages' files; ``tuned`` (best.json) is None if tuning is off."""

    config: Path
    download: Path
    crystals: Path
    rejected: Path
    checks: Path
    inspection: Path
    split: Path
    leakage: Path
    graphs: Path
    models: Sequence[Path]
    evaluation: Path
    tuned: Path | None = None


class ReportData:
    """The content of the stages' files. Raises DamagedFile if the evaluation has another split."""

    def __init__(self, inputs: Inputs):
        self.inputs = inputs
        self.config = load_config(inputs.config)
        self.download = read_json(
            inputs.download, "source", "licence", "citation", "notes", "files"
        )
        self.crystals = read_parquet(inputs.crystals)
        self.rejected = read_parquet(inputs.rejected)
        split = read_parquet(inputs.split)
        self.split = dict(zip(split["id"].to_pylist(), split["split"].to_pylist(), strict=True))
        self.left_out = split.filter(pc.invert(pc.is_in(split["split"], pa.array(SPLITS))))
        self.inspection = read_json(inputs.inspection, "crystals", "elements", "labels")
        self.leakage = read_json(inputs.leakage)
        self.manifest = read_manifest(inputs.graphs)
        self.best = read_json(inputs.tuned, "params") if inputs.tuned else None
        self.trials = read_json(inputs.tuned.parent / "trials.json") if inputs.tuned else []
        self.models = [read_description(folder).model_dump() for folder in inputs.models]
        self.epochs = {
            f"seed {model['history']['seed']}": read_metrics(folder)
            for model, folder in zip(self.models, inputs.models, strict=True)
        }
        self.metrics = read_json(inputs.evaluation / "metrics.json", "targets")
        self.predictions = plots.read_predictions(inputs.evaluation / "predictions.parquet")
        self.structures = {row[0]: row[1:] for row in crystal_rows(self.crystals)}
        used = {id: part for id, part in self.split.items() if part in SPLITS}
        evaluated = {
            id: part
            for one in self.predictions.values()  # each without the crystals that lack its label
            for id, part in zip(one.ids, one.split, strict=True)
        }
        if evaluated != used:
            raise DamagedFile(
                f"{inputs.evaluation}: made with another split than {inputs.split}; "
                "run evaluate again"
            )
        tests = [id for id, part in used.items() if part == "test"]
        checks = read_parquet(inputs.checks, columns=["id", "space_group"])
        groups = dict(zip(*(column.to_pylist() for column in checks.columns), strict=True))
        self.systems = {
            id: system_of(groups[id]) if self.has_lattice(id) else "molecule" for id in tests
        }

    def has_lattice(self, id: str) -> bool:
        """Whether it is a crystal, no molecule."""
        return self.structures[id][1] is not None


def write_report(inputs: Inputs, out: Path) -> str:
    """Write the page and return the test errors, a line for each target; equal inputs give equal bytes."""
    run = ReportData(inputs)
    panels = plots.learning_panels(run.epochs, run.manifest["targets"])
    context = {
        "run": run,
        **data(run),
        **settings(run),
        "tuning_svgs": tuning(run),
        "learning_svgs": [plots.svg([panel]) for panel in panels],
        "results": [results(run, name) for name in run.metrics["targets"]],
        **reproduction(run),
    }
    write_text(out, environment().get_template("report.html.j2").render(context))
    return "\n".join(summary(name, one) for name, one in run.metrics["targets"].items())


def data(run: ReportData) -> dict[str, Any]:
    """The inspection, the splits, and the ids in none of them with the reasons."""
    atoms = {id: len(structure[0]) for id, structure in run.structures.items()}
    parts = [(name, [id for id in atoms if run.split.get(id) == name]) for name in SPLITS]
    return {
        "inspection": run.inspection,
        **figures(run.inspection),
        "listed": LISTED,
        "without_unit": without_unit(run.config.dataset, run.manifest["targets"]),
        "rejected": ids_by_reason(run.rejected),
        "left_out": ids_by_reason(run.left_out),
        "leakage": run.leakage,
        "splits": [(name, len(ids), np.median([atoms[id] for id in ids])) for name, ids in parts],
    }


def ids_by_reason(table: pa.Table) -> list[tuple[str, list[str]]]:
    """The ids of each reason, frequent reasons first."""
    ids = defaultdict(list)
    for row in table.select(["id", "reason"]).to_pylist():
        ids[row["reason"]].append(row["id"])
    return sorted(ids.items(), key=lambda item: (-len(item[1]), item[0]))


def settings(run: ReportData) -> dict[str, Any]:
    """Settings of the models, and how they differ from the configuration with the tuned values."""
    tuned = run.best["params"] if run.best else {}
    expected = override(run.config, tuned).model_dump(mode="json")
    encoder = run.config.encoder
    recorded = [
        {encoder: one["settings"], "training": one["history"]["training"]} for one in run.models
    ]
    others = {one["encoder"] for one in run.models} - {encoder}
    if others:
        return {
            "settings": {},
            "misfits": [f"encoder: {encoder} was asked for, the models are {', '.join(others)}"],
        }
    tables: dict[str, list[Any]] = {encoder: [], "training": []}
    misfits = []
    for section, fields in ((encoder, ENCODERS[encoder]), ("training", TrainingConfig)):
        for key, field in fields.model_fields.items():
            name, wanted = f"{section}.{key}", expected[section][key]
            # A model of an older dglframer has no record of a key that came later.
            found = [one[section].get(key, "no record") for one in recorded]
            used = list({str(value): value for value in found}.values())
            values = ", ".join(map(str, used)) + " (tuned)" * (name in tuned and used == [wanted])
            tables[section].append((key, values, field.description))
            if used != [wanted] and key not in WITHOUT_EFFECT.get(section, ()):
                misfits.append(f"{name}: {wanted} was asked for, the models have {values}")
    for model, folder in zip(run.models, run.inputs.models, strict=True):
        if model["history"]["data_manifest_hash"] != hash_of(run.manifest):
            misfits.append(f"{Path(folder).name} was trained on other graphs than these")
    if run.metrics["seeds"] != [model["history"]["seed"] for model in run.models]:
        misfits.append(f"the evaluation is of other models: seeds {run.metrics['seeds']}")
    return {"settings": tables, "misfits": misfits}


def tuning(run: ReportData) -> dict[str, str]:
    """Figures of the study by name; empty if tuning was off."""
    if run.best is None:
        return {}
    search = run.config.tune.search
    panels = tuning_panels(run.trials, run.best["importance"], search)
    return {name: plots.svg([panel]) for name, panel in panels.items()}


def results(run: ReportData, name: str) -> dict[str, Any]:
    """Figures and tables of one property."""
    of = run.predictions[name]
    rows = np.flatnonzero(of.split == "test").tolist()
    absolute = np.abs(of.error)
    kinds = {i: len(np.unique(run.structures[of.ids[i]][0])) for i in rows}
    systems = {i: run.systems[of.ids[i]] for i in rows}
    groups = {
        "number of elements": grouped(absolute, kinds, sorted(set(kinds.values()))),
        "crystal system": grouped(absolute, systems, [*SYSTEMS.values(), "unknown", "molecule"]),
    }
    return {
        "name": name,
        **run.metrics["targets"][name],
        "test_mae_error": absolute[rows].std(ddof=min(1, len(rows) - 1)) / len(rows) ** 0.5,
        "labels": {part: of.target[of.split == part] for part in SPLITS},
        "labels_svg": plots.svg([plots.label_panel(of)]),
        "parity_svg": plots.svg([plots.parity_panel(of)], size=(4.4, 4.4)),
        "calibration_svg": plots.svg([plots.calibration_panel(of)], size=(4.4, 4.4)),
        "mae_by_seed": {
            seed: [np.abs(values - of.target)[of.split == part].mean() for part in SPLITS]
            for seed, values in of.by_seed.items()
        },
        "groups": [
            (title, errors, plots.svg([plots.group_panel(title, errors, of.unit)]))
            for title, errors in groups.items()
        ],
        "worst": [
            {
                "id": of.ids[i],
                "formula": formula(run.structures[of.ids[i]][0]),
                "system": systems[i],
                **{key: getattr(of, key)[i] for key in ("target", "prediction", "error", "spread")},
            }
            for i in sorted(rows, key=lambda i: (-absolute[i], of.ids[i]))[:10]
        ],
    }


def grouped(values: np.ndarray, names: Mapping[int, Any], order: Sequence[Any]) -> dict[str, Any]:
    """The values of each group in the given order, without empty groups."""
    members = {name: [row for row in names if names[row] == name] for name in order}
    return {str(name): values[rows] for name, rows in members.items() if rows}


def formula(numbers_N: np.ndarray) -> str:
    """Reduced formula with subscripts."""
    return reduced_formula(numbers_N).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def reproduction(run: ReportData) -> dict[str, Any]:
    """Configuration, versions and hashes that are needed to repeat the run."""
    plain = run.config.model_dump(mode="json")
    installed = {str(one.name).lower(): one.version for one in distributions()}
    versions = {name: installed[name] for name in PACKAGES if name in installed}
    return {
        "config_yaml": yaml.safe_dump(plain, sort_keys=False, allow_unicode=True),
        "hashes": {
            "configuration": hash_of_config(run.config),
            "data manifest": hash_of(run.manifest),
        },
        "versions": {"dglframer": f"{__version__} {commit()}".strip(), **versions},
    }
