"""The report: a self-contained HTML page about a run, made from the files of its stages."""

from collections import defaultdict
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from dglframer.common.errors import DamagedFile
from dglframer.common.files import hash_of, write_text
from dglframer.common.machine import machine
from dglframer.common.own_code import commit
from dglframer.common.version import __version__
from dglframer.config import hash_of_config, override
from dglframer.config.networks import ENCODERS
from dglframer.config.stages import WITHOUT_EFFECT
from dglframer.config.training import TrainingConfig
from dglframer.data.label_limits import without_unit
from dglframer.data.split import SPLITS
from dglframer.evaluation.errors import summary
from dglframer.networks.model_directory import load_model
from dglframer.report import plots
from dglframer.report.frames import frames_content
from dglframer.report.inspection import EXAMPLES
from dglframer.report.inspection_view import figures
from dglframer.report.learning_curve import panel as curve_panel
from dglframer.report.model_card import write_cards
from dglframer.report.pages import environment
from dglframer.report.points import SHOWN, interactive
from dglframer.report.results import results
from dglframer.report.run_files import Inputs, ReportData
from dglframer.report.tuning_figures import study_figures
from dglframer.report.tuning_plots import tuning_panels
from dglframer.structures.crystal import Crystal
from dglframer.structures.periodic_graph import build_graph

CONTENTS = [
    ("results", "Results"),
    ("trust", "Trust"),
    ("worst", "Worst predictions"),
    ("frames", "Frames"),
    ("curve", "Learning curve"),
    ("training", "Training"),
    ("tuning", "Tuning"),
    ("model", "Model"),
    ("data", "Data"),
    ("rejected", "Rejected and left out"),
    ("splits", "Splits"),
    ("graphs", "Graphs"),
    ("reproduce", "How to reproduce"),
]
FRAME_ATOMS = 12  # of the crystal whose frames are shown
LISTED = 1000  # ids of one reason on the page
PACKAGES = "torch dgl numpy pyarrow spglib pymatgen optuna matplotlib".split()


def write_report(inputs: Inputs, out: Path, cards: Path | None = None) -> str:
    """Write the page and return the test errors, a line for each target; equal inputs give equal bytes.

    ``cards``: a folder for card.md of the ensemble, with a folder for the card of each model.
    """
    run = ReportData(inputs)
    panels = plots.learning_panels(run.epochs, run.manifest["targets"])
    every = [results(run, name) for name in run.metrics["targets"]]
    context = {
        "run": run,
        **data(run),
        **settings(run),
        "tuning_svgs": tuning(run),
        "learning_svgs": [plots.svg([panel]) for panel in panels],
        "curve_svgs": curve(run),
        "results": every,
        "interactive": interactive(run, every) | {"tuning": optuna_figures(run)},
        "shown_points": shown_points(run),
        "frames": shown_frames(run),
        **reproduction(run),
    }
    absent = {
        key for key, found in (("curve", run.curve), ("frames", context["frames"])) if not found
    }
    context["contents"] = [(key, title) for key, title in CONTENTS if key not in absent]
    write_text(out, environment().get_template("report.html.j2").render(context))
    if cards:
        write_cards(run, cards)
    return "\n".join(summary(name, one) for name, one in run.metrics["targets"].items())


def data(run: ReportData) -> dict[str, Any]:
    """The inspection, the splits, and the ids in none of them with the reasons."""
    atoms = {id: len(structure[0]) for id, structure in run.structures.items()}
    parts = [(name, [id for id in atoms if run.split.get(id) == name]) for name in SPLITS]
    return {
        "inspection": run.inspection,
        **figures(run.inspection),
        "listed": LISTED,
        "examples": EXAMPLES,
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


def shown_points(run: ReportData) -> str:
    """How many crystals of each split the plots show, in words."""
    parts = list(run.split.values())
    counts = {name: parts.count(name) for name in SPLITS}
    if all(counts[name] <= SHOWN[name] for name in SPLITS):
        return "every crystal"
    words = [f"{min(counts[name], SHOWN[name])} of {counts[name]} {name}" for name in SPLITS]
    return ", ".join(words) + " crystals, of test the worst among them"


def optuna_figures(run: ReportData) -> dict[str, Any]:
    """Optuna's own figures of the study, for plotly.js; empty if tuning was off."""
    return study_figures(run.trials, run.config.tune.search) if run.best else {}


def shown_frames(run: ReportData) -> dict[str, Any] | None:
    """The frames that the first model sees in one test crystal; None for an encoder without such.

    It is the crystal of median error among those of two elements or more and at most FRAME_ATOMS atoms.
    """
    if run.models[0]["encoder"] != "crystalframer":
        return None
    of = next(iter(run.predictions.values()))
    rows = [
        k
        for k in np.flatnonzero(of.split == "test").tolist()
        if len(np.unique(run.structures[of.ids[k]][0])) > 1
        and len(run.structures[of.ids[k]][0]) <= FRAME_ATOMS
    ]
    if not rows:
        return None
    rows.sort(key=lambda k: (abs(of.error[k]), of.ids[k]))
    id = of.ids[rows[len(rows) // 2]]
    model = load_model(run.inputs.models[0])
    graph = build_graph(Crystal(id, *run.structures[id], {}), model.cutoff)
    about = f"A test crystal of median error, seen by the model of {next(iter(run.epochs))}."
    return frames_content(model, graph, about)


def curve(run: ReportData) -> dict[str, str]:
    """Test error against the number of training crystals, by property; empty if it was not made."""
    if run.curve is None:
        return {}
    names = [name for name in run.curve["units"] if name in run.metrics["targets"]]
    return {name: plots.svg([curve_panel(run.curve, name)]) for name in names}


def stage_times(folder: Path | None) -> list[tuple[str, float, float | None]]:
    """Job, seconds and largest memory (MB, None if not measured) of Snakemake's benchmark files."""
    found = []
    for path in sorted(folder.glob("*.tsv")) if folder and folder.is_dir() else ():
        lines = path.read_text(encoding="utf-8").splitlines()
        row = dict(zip(lines[0].split("\t"), lines[-1].split("\t"), strict=False))
        try:
            memory = float(row["max_rss"]) if row["max_rss"] not in ("-", "NA") else None
            found.append((path.stem, float(row["s"]), memory))
        except (KeyError, ValueError):
            raise DamagedFile(f"{path}: not a benchmark of Snakemake") from None
    return found


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
        "trained_on": sorted({one["machine"] for one in run.trained_on if one}),
        "trained_with": sorted({one["code"] for one in run.trained_on if one}),
        "machine": machine(),
        "times": stage_times(run.inputs.benchmarks),
    }
