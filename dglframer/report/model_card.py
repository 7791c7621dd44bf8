"""Model cards: what a model predicts, how well, from what data, and what it is not for. In Markdown.

The report stage writes one for each trained model, tools/ship_model.py one for each shipped name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dglframer.common.files import write_text
from dglframer.common.version import __version__
from dglframer.data.split import SPLITS
from dglframer.evaluation.errors import errors
from dglframer.evaluation.intervals import USUAL
from dglframer.report.run_files import ReportData

CARD = "card.md"
BASELINES = (
    ("boosting_baseline", "gradient boosting on composition and cell"),
    ("composition_baseline", "a ridge regression on the composition"),
    ("median_baseline", "the training median"),
)
NOT_FOR = (
    "Crystals with other elements than these, structures far from those of the training data (relaxed "
    "bulk crystals), molecules, surfaces, defects, and forces."
)


@dataclass(frozen=True)
class Card:
    """The parts of a card. ``errors``: of each property its lines; ``training``: points of a list."""

    title: str
    intro: Sequence[str]
    errors: Mapping[str, Sequence[str]]
    training: Sequence[str]
    elements: Sequence[str]

    def markdown(self) -> str:
        """The whole text."""
        lines = [f"# {self.title}", "", *self.intro, ""]
        for name, found in self.errors.items():
            lines += ["## Errors" + (f" of {name}" if len(self.errors) > 1 else ""), "", *found, ""]
        lines += ["## Training", "", *(f"- {point}" for point in self.training)]
        known = (
            f"Elements of the training crystals ({len(self.elements)}): {' '.join(self.elements)}."
        )
        lines += [f"- {known}", "", "## Not for", "", NOT_FOR]
        return "\n".join(lines) + "\n"


def error_table(splits: Mapping[str, Mapping[str, float]]) -> list[str]:
    """A table of the errors of each split."""
    lines = ["| split | crystals | MAE | RMSE | R² |", "|---|---|---|---|---|"]
    for split, row in splits.items():
        numbers = f"{row['mae']:.4g} | {row['rmse']:.4g} | {row['r2']:.4f}"
        lines.append(f"| {split} | {row['crystals']:,} | {numbers} |")
    return lines


def baseline_lines(metrics: Mapping[str, Any]) -> list[str]:
    """A sentence for each baseline of a property that the evaluation has."""
    return [
        f"Test MAE of {label}: {metrics[key]['test_mae']:.4g}."
        for key, label in BASELINES
        if key in metrics
    ]


def evaluation_lines(metrics: Mapping[str, Any]) -> list[str]:
    """How well all members together predict a property; ``metrics``: its part of metrics.json."""
    alone = [f"{mae:.4g}" for mae in metrics["test_mae_by_seed"].values()]
    of_each = f"; of the members alone, test MAE {', '.join(alone)}" if len(alone) > 1 else ""
    return [
        *error_table(metrics["splits"]),
        "",
        f"In {metrics['unit'] or 'no unit'}{of_each}.",
        *coverage_line(metrics),
        *baseline_lines(metrics),
    ]


def origin_points(source: str, licence: str, citation: str) -> list[str]:
    """Where the data are from."""
    unstated = "not stated by the source"
    return [
        f"Data: {source}. Licence: {licence or unstated}.",
        f"Citation: {citation or unstated}",
    ]


def size_point(parameters: Sequence[int], encoder: str, cutoff: float) -> str:
    """How large the models are: the ``parameters`` of each member; ``cutoff`` in angstrom."""
    sizes = [f"{count:,}" for count in parameters]
    of = f"each of {sizes[0]}" if len(set(sizes)) == 1 else f"of {', '.join(sizes)}"
    return f"Members: {len(sizes)}, {of} parameters, {encoder}, cutoff {cutoff} Å."


def coverage_line(metrics: Mapping[str, Any]) -> list[str]:
    """What the usual intervals hold on test, and the error for elements never seen."""
    lines, found = [], metrics["intervals"]
    share = found["coverage"].get(str(USUAL))
    if share is not None:
        lines.append(
            f"The ensemble's intervals of {USUAL:.0%} hold {share:.0%} of the test labels."
        )
    unknown = metrics["by_elements"]["unknown"]
    if unknown["crystals"]:
        who = "test crystal has" if unknown["crystals"] == 1 else "test crystals have"
        lines.append(
            f"{unknown['crystals']:,} {who} an element that no training crystal has: there "
            f"the ensemble's MAE is {unknown['mae']:.4g}."
        )
    return lines


def write_cards(run: ReportData, out: Path) -> list[Path]:
    """Write card.md of the ensemble to ``out``, and of each model into a folder of the model's name.

    Returns the paths. Equal inputs give equal bytes.
    """
    paths = []
    for place, folder in enumerate(run.inputs.models):
        paths.append(out / Path(folder).name / CARD)
        write_text(paths[-1], card_of_model(run, place, Path(folder)).markdown())
    if len(run.models) > 1:
        paths.append(out / CARD)
        folder = Path(run.inputs.models[0]).parent
        write_text(paths[-1], card_of_ensemble(run, folder).markdown())
    return paths


def card_of_model(run: ReportData, place: int, folder: Path) -> Card:
    """The card of one seed, with its own errors."""
    seed = run.models[place]["history"]["seed"]
    names = list(run.predictions)
    found = {}
    for name, of in run.predictions.items():
        values = list(of.by_seed.values())[place]  # two models may have one seed
        splits = {s: errors(of.target[of.split == s], values[of.split == s]) for s in SPLITS}
        metrics = run.metrics["targets"][name]
        found[name] = [
            *error_table(splits),
            "",
            f"In {of.unit or 'no unit'}.",
            *ensemble_line(run, metrics),
            *baseline_lines(metrics),
        ]
    return Card(
        f"{', '.join(names)}: seed {seed}",
        intro(run, folder),
        found,
        [*data_points(run), *training_points(run, [place])],
        list(run.training_elements),
    )


def card_of_ensemble(run: ReportData, folder: Path) -> Card:
    """The card of all seeds together."""
    return Card(
        f"{', '.join(run.predictions)}: ensemble of {len(run.models)}",
        intro(run, folder),
        {name: evaluation_lines(run.metrics["targets"][name]) for name in run.predictions},
        [*data_points(run), *training_points(run, range(len(run.models)))],
        list(run.training_elements),
    )


def intro(run: ReportData, folder: Path) -> list[str]:
    """How the model is used, and who wrote the card."""
    targets = ", ".join(
        f"`{name}` in {of.unit or 'no unit'}" for name, of in run.predictions.items()
    )
    return [
        f'`dglframer predict {folder} *.cif`, or in Python `dglframer.load("{folder}")`.',
        f"It predicts {targets}.",
        f"Written by `dglframer report`, dglframer {__version__}, from the stored results.",
    ]


def ensemble_line(run: ReportData, metrics: Mapping[str, Any]) -> list[str]:
    """The error of the ensemble that the model belongs to."""
    if len(run.models) < 2:
        return coverage_line(metrics)
    mae = metrics["splits"]["test"]["mae"]
    return [
        f"The ensemble of {len(run.models)} seeds that it belongs to has a test MAE of {mae:.4g}."
    ]


def data_points(run: ReportData) -> list[str]:
    """Source, licence and citation of the data, and its split."""
    parts = list(run.split.values())
    counts = ", ".join(f"{parts.count(name):,} {name}" for name in SPLITS)
    return [
        *origin_points(*(run.download[key] for key in ("source", "licence", "citation"))),
        f"Split: {run.leakage['method']}; {counts} crystals.",
    ]


def training_points(run: ReportData, places: Sequence[int]) -> list[str]:
    """Encoder, size, epochs, time and machine of some of the models."""
    models = [run.models[place] for place in places]
    first, history = models[0], models[0]["history"]
    lines = [list(run.epochs.values())[place] for place in places]
    minutes = [sum(x["train_seconds"] + x["val_seconds"] for x in one) / 60 for one in lines]
    made = [run.trained_on[place] for place in places]
    machines = sorted({one.get("machine", "a machine that is not recorded") for one in made})
    written = zip(made, models, strict=True)
    codes = sorted({one.get("code", model["written_by"]) for one, model in written})
    return [
        size_point(
            [run.metrics["parameters"]] * len(models), first["encoder"], first["cutoff_angstrom"]
        ),
        f"Epochs: {history['training'].get('epochs', 'not stated')}. "
        f"Minutes: {', '.join(f'{one:.1f}' for one in minutes)}, on {'; '.join(machines)}.",
        f"Code: {'; '.join(codes)}.",
    ]
