"""The report: one self-contained HTML page about a run, made from the files its stages wrote."""

import re
import shlex
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from dglframer import __version__, plots
from dglframer.config import ModelConfig, TrainingConfig, load_config, override
from dglframer.crystals import crystal_rows
from dglframer.elements import SYMBOLS
from dglframer.errors import DamagedFile
from dglframer.files import hash_of, read_json, read_parquet, write_text
from dglframer.graphs import read_manifest
from dglframer.split import SPLITS

# The last space group of each crystal system.
SYSTEMS = {2: "triclinic", 15: "monoclinic", 74: "orthorhombic", 142: "tetragonal", 167: "trigonal"}
SYSTEMS |= {194: "hexagonal", 230: "cubic"}
# What ends a formula, in this order; metals stand before, by name.
FORMULA_ENDS = "B Si Ge C Sb As P N H Te Se S I Br Cl O F".split()
PACKAGES = "torch dgl numpy pyarrow spglib pymatgen optuna matplotlib".split()


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


class Run:
    """What the stages wrote, read once."""

    def __init__(self, inputs: Inputs):
        self.inputs = inputs
        self.config = load_config(inputs.config)
        self.download = read_json(inputs.download)
        self.crystals = read_parquet(inputs.crystals)
        self.rejected = read_parquet(inputs.rejected)
        split = read_parquet(inputs.split)
        self.split = dict(zip(split["id"].to_pylist(), split["split"].to_pylist(), strict=True))
        self.manifest = read_manifest(inputs.graphs)
        self.best = read_json(inputs.tuned) if inputs.tuned else None
        self.trials = read_json(inputs.tuned.parent / "trials.json") if inputs.tuned else []
        self.models = [read_json(Path(folder) / "model.json") for folder in inputs.models]
        self.epochs = {
            f"seed {model['history']['seed']}": plots.read_metrics(folder)
            for model, folder in zip(self.models, inputs.models, strict=True)
        }
        self.metrics = read_json(inputs.evaluation / "metrics.json")
        self.predictions = plots.read_predictions(inputs.evaluation / "predictions.parquet")
        self.structures = {row[0]: row[1:] for row in crystal_rows(self.crystals)}
        used = {id: part for id, part in self.split.items() if part in SPLITS}
        for one in self.predictions.values():
            if dict(zip(one.ids, one.split, strict=True)) != used:
                raise DamagedFile(f"{inputs.evaluation}: not of {inputs.split}; run evaluate again")
        tests = [id for id, part in used.items() if part == "test"]
        self.systems = {id: crystal_system(*self.structures[id]) for id in tests}


def write_report(inputs: Inputs, out: Path) -> str:
    """Write the page and return the test errors as one line; equal inputs give equal bytes."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    run = Run(inputs)
    templates = PackageLoader("dglframer")
    page = Environment(
        loader=templates, autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page.filters.update(number=number, embedded=embedded, quote=quoted, median=np.median)
    panels = plots.learning_panels(run.epochs, run.manifest["targets"])
    context = {
        "run": run,
        **data(run),
        **settings(run),
        "learning_svgs": [plots.svg([panel]) for panel in panels],
        "results": [results(run, name) for name in run.metrics["targets"]],
        **reproduction(run),
    }
    write_text(out, page.get_template("report.html.j2").render(context))
    return "; ".join(
        f"{name}: test MAE {one['splits']['test']['mae']:.4f} {one['unit']}, "
        f"training median {one['median_baseline']['test_mae']:.4f}"
        for name, one in run.metrics["targets"].items()
    )


def data(run: Run) -> dict[str, Any]:
    """Elements, cell sizes, splits, and every id that is in none of them, with the reason."""
    numbers = [structure[0] for structure in run.structures.values()]
    holding = Counter(z for numbers_N in numbers for z in np.unique(numbers_N).tolist())
    atoms = {id: len(structure[0]) for id, structure in run.structures.items()}
    sizes = np.array(list(atoms.values()))
    rejected = defaultdict(list)
    for row in run.rejected.to_pylist():
        rejected[row["reason"]].append(row["id"])
    parts = [(name, [id for id in atoms if run.split.get(id) == name]) for name in SPLITS]
    return {
        "atoms": sizes,
        "atoms_svg": plots.svg([plots.atoms_panel(sizes)]),
        "elements": {SYMBOLS[z - 1]: holding[z] for z in sorted(holding)},
        "rejected": sorted(rejected.items(), key=lambda item: (-len(item[1]), item[0])),
        "left_out": [id for id in atoms if run.split.get(id) not in SPLITS],
        "splits": [(name, len(ids), np.median([atoms[id] for id in ids])) for name, ids in parts],
    }


def settings(run: Run) -> dict[str, Any]:
    """Settings of the models, and where they are not those of the configuration and the tuning."""
    tuned = run.best["params"] if run.best else {}
    expected = override(run.config, tuned).model_dump(mode="json")
    recorded = [
        {"model": one["settings"], "training": one["history"]["training"]} for one in run.models
    ]
    tables: dict[str, list[Any]] = {"model": [], "training": []}
    misfits = []
    for section, fields in (("model", ModelConfig), ("training", TrainingConfig)):
        for key, field in fields.model_fields.items():
            name, wanted = f"{section}.{key}", expected[section][key]
            used = list(dict.fromkeys(model[section][key] for model in recorded))
            values = ", ".join(map(str, used)) + " (tuned)" * (name in tuned and used == [wanted])
            tables[section].append((key, values, field.description))
            if used != [wanted]:
                misfits.append(f"{name}: {wanted} was asked for, the models have {values}")
    for model, folder in zip(run.models, run.inputs.models, strict=True):
        if model["history"]["data_manifest_hash"] != hash_of(run.manifest):
            misfits.append(f"{Path(folder).name} was trained on other graphs than these")
    if run.metrics["seeds"] != [model["history"]["seed"] for model in run.models]:
        misfits.append(f"the evaluation is of other models: seeds {run.metrics['seeds']}")
    return {"settings": tables, "misfits": misfits}


def results(run: Run, name: str) -> dict[str, Any]:
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
    """The values of each group that is not empty, in the given order."""
    members = {name: [row for row in names if names[row] == name] for name in order}
    return {str(name): values[rows] for name, rows in members.items() if rows}


def crystal_system(
    numbers_N: np.ndarray, lattice_33: np.ndarray | None, frac_N3: np.ndarray
) -> str:
    """Crystal system by spglib at a tolerance of 0.01 Å; unknown if it finds no space group."""
    if lattice_33 is None:
        return "molecule"
    import spglib

    cell: Any = (lattice_33, frac_N3, numbers_N)
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        try:
            found = spglib.get_symmetry_dataset(cell, symprec=0.01)
        except getattr(spglib, "SpglibError", ValueError):  # newer versions; older return None
            found = None
    return SYSTEMS[min(n for n in SYSTEMS if n >= found.number)] if found else "unknown"


def formula(numbers_N: np.ndarray) -> str:
    """Reduced formula with subscripts."""
    counts = Counter(SYMBOLS[z - 1] for z in numbers_N)
    divisor = np.gcd.reduce(list(counts.values()))
    ends = {symbol: place for place, symbol in enumerate(FORMULA_ENDS)}
    order = sorted(counts, key=lambda symbol: (ends.get(symbol, -1), symbol))
    text = "".join(f"{symbol}{counts[symbol] // divisor}" for symbol in order)
    return re.sub(r"(?<=\D)1(?!\d)", "", text).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def reproduction(run: Run) -> dict[str, Any]:
    """Commands, versions and hashes with which the run can be repeated."""
    plain = run.config.model_dump(mode="json")
    installed = {str(one.name).lower(): one.version for one in distributions()}
    versions = {name: installed[name] for name in PACKAGES if name in installed}
    return {
        "config_yaml": yaml.safe_dump(plain, sort_keys=False, allow_unicode=True),
        "hashes": {"configuration": hash_of(plain), "data manifest": hash_of(run.manifest)},
        "versions": {"dglframer": __version__, **versions},
    }


def number(value: Any) -> str:
    """A value for a table: four decimals, fewer for large numbers, a dash for none or NaN."""
    if value is None or value != value:
        return "–"
    if isinstance(value, bool | str | int):
        return str(value)
    if 0 < abs(value) < 0.01:
        return f"{value:.3g}"
    return f"{value:.{4 if abs(value) < 100 else 1}f}".replace("-", "−")


def quoted(path: Any) -> str:
    """A path, or a list of them, as words of a command line."""
    return shlex.join(map(str, path if isinstance(path, list) else [path]))


def embedded(svg: str, key: str, label: str) -> Any:
    """An SVG document as an element of the page: ids made unique, a label for screen readers."""
    from markupsafe import Markup, escape

    unique = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{key}-", svg[svg.index("<svg") :])
    return Markup(unique.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1))
