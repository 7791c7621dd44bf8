"""The table: accuracies of the networks over the seeds beside the published ones, and what they say."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from dglframer.common.files import read_json
from dglframer.experiments import cells, names
from dglframer.experiments.shapes.budgets import BATCH, INVARIANT, MODELS
from dglframer.experiments.shapes.models import CLASSES

POINTNET = {"pointnet": "PointNet, reduced"}
LABELS: dict[str, str] = {
    model: ({**names.LABELS, **POINTNET}[model.removesuffix("_z")])
    + (" +z" if model.endswith("_z") else "")
    for model in MODELS
}
# Accuracies in percent of the paper's Table 2, on ScanObjectNN, as we remember them.
PUBLISHED = {
    "tfn": 63.1,
    "deepset": 71.4,
    "se3_transformer": 72.8,
    "set_transformer": 74.1,
    "tfn_z": 81.0,
    "se3_transformer_z": 85.0,
}
LEARNED = 3 * 100 / CLASSES  # percent; what is below says nothing of the networks
SOURCES = {"generated": "Generated objects", "scanobjectnn": "ScanObjectNN, object only"}


def read_results(evaluation: Path) -> dict[str, Any]:
    """The content of table.json."""
    values = read_json(evaluation)
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in values["rows"]:
        groups.setdefault((row["model"], row["orientation"]), []).append(row)
    order = sorted(groups, key=lambda one: (MODELS.index(one[0]), one[1]))
    rows = [over_seeds(groups[key]) for key in order]
    return {key: values[key] for key in ("source", "objects", "tilts")} | {"rows": rows}


def over_seeds(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A row: for each tilt mean and deviation of the accuracy in percent, and the largest changes."""
    by_tilt = zip(*(row["accuracy"] for row in rows), strict=True)
    found = [cells.over_seeds([100 * one for one in values]) for values in by_tilt]
    first = rows[0]
    return {
        **{key: first[key] for key in ("model", "orientation", "steps", "size", "parameters")},
        "seeds": [row["seed"] for row in rows],
        "accuracy": [value for value, _ in found],
        "accuracy_std": [error for _, error in found],
        "change_any": max(row["change_any"] for row in rows),
        "change_about_z": max(row["change_about_z"] for row in rows),
        "ms_per_step": 1000 * mean(row["seconds_per_step"] for row in rows),
        "clock": first["clock"],
    }


def markdown(results: Mapping[str, Any]) -> str:
    """What was computed, the table, and a paragraph on what it says."""
    lines = [setting_line(results), "", *table_lines(results), "", *notes(results)]
    return "\n".join([*lines, "", conclusion(results), ""])


def setting_line(results: Mapping[str, Any]) -> str:
    """The data and the size of the networks."""
    count, size = results["objects"], results["rows"][0]["size"]
    seeds = max(len(row["seeds"]) for row in results["rows"])
    return (
        f"{SOURCES[results['source']]}: {count['train']:,} to train, {count['val']:,} to validate, "
        f"{count['test']:,} to test; {seeds} seed(s). SE(3)-Transformer and TFN have "
        f"{size['layers']} layer(s) and the last, degrees 0 to {size['degrees'] - 1}, "
        f"{size['channels']} channels, {size['neighbours']} neighbours of a point."
    )


def row_of(results: Mapping[str, Any], model: str, orientation: str) -> Mapping[str, Any] | None:
    """The row of a model and how its training objects stood; None if it was not trained."""
    for row in results["rows"]:
        if (row["model"], row["orientation"]) == (model, orientation):
            return row
    return None


def table_lines(results: Mapping[str, Any]) -> list[str]:
    """A line for each network; test objects are upright, or tilted by up to the largest angle."""
    tilted = f"tilted ≤ {results['tilts'][-1]}°"
    lines = [
        f"| network | upright | {tilted} | rotated training: upright | {tilted} | changed by a rotation "
        "| about z | parameters | steps | ms per step | published |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for model in MODELS:
        given = row_of(results, model, "as_given")
        if given is None:
            continue
        rotated = row_of(results, model, "rotated")
        lines.append(
            "| "
            + " | ".join(
                [
                    LABELS[model],
                    *accuracies(given),
                    *(accuracies(rotated) if rotated else ("the same", "the same")),
                    cells.small(given["change_any"]),
                    cells.small(given["change_about_z"]),
                    f"{given['parameters']:,}",
                    f"{given['steps']:,}",
                    f"{given['ms_per_step']:.1f}",
                    str(PUBLISHED.get(model, "–")),
                ]
            )
            + " |"
        )
    return lines


def accuracies(row: Mapping[str, Any]) -> list[str]:
    """Accuracy in percent of upright objects and at the largest tilt."""
    return [cells.with_error(row["accuracy"][k], row["accuracy_std"][k], 1) for k in (0, -1)]


def notes(results: Mapping[str, Any]) -> list[str]:
    """What the columns are, and what in the published one is not comparable."""
    tests = results["objects"]["test"]
    clocks = sorted({row["clock"] for row in results["rows"]})
    generated = results["source"] == "generated"
    other = "scans, not on these objects, with" if generated else "the same scans, with"
    return [
        f"Accuracy in percent; ± is the deviation over seeds. {tests:,} test objects alone leave a standard "
        f"error of up to {50 / tests**0.5:.1f} points. *Changed*: by how much the probability of a class "
        "changes at most, in float64, of up to 60 test objects, in the networks trained on upright ones. A "
        f"step is a batch of {BATCH} objects; its time: {', '.join(clocks)}.",
        "",
        "Published: accuracies of the paper's Table 2 as we remember them: check these before you cite them. "
        f"They are of {other} other network sizes, more neighbours of a point and a longer training, without "
        "rotations; the paper has no reduced PointNet.",
    ]


def conclusion(results: Mapping[str, Any]) -> str:
    """A paragraph with the numbers of the SE(3)-Transformer; empty if it was not trained both ways.

    Where nothing was learned it says so.
    """
    plain = row_of(results, "se3_transformer", "as_given")
    given = row_of(results, "se3_transformer_z", "as_given")
    rotated = row_of(results, "se3_transformer_z", "rotated")
    if not (plain and given and rotated):
        return ""
    if max(plain["accuracy"][0], given["accuracy"][0]) < LEARNED:
        return (
            f"**What it says.** Nothing yet: no SE(3)-Transformer is right for {LEARNED:.0f} % of the "
            "upright objects, three times what guessing gives. A training so short shows that the experiment "
            "runs."
        )
    without, upright, tilted = plain["accuracy"][0], given["accuracy"][0], given["accuracy"][-1]
    best = max(
        (row for row in results["rows"] if row["model"].removesuffix("_z") not in INVARIANT),
        key=lambda row: row["accuracy"][0],
        default=None,
    )
    text = (
        f"**What it says.** Without the height the SE(3)-Transformer is right for {without:.1f} % of the "
        f"upright test objects and for {plain['accuracy'][-1]:.1f} % of the tilted ones. With it, trained on "
        f"upright objects, it is right for {upright:.1f} % of the upright ones: here the direction of "
        f"gravity is worth {upright - without:+.1f} points (in the paper +12.2). On objects tilted by up to "
        f"{results['tilts'][-1]}° the same networks are right for {tilted:.1f} %, {tilted - without:+.1f} "
        "points against those that never knew the vertical. Trained on rotated objects, for which the height "
        f"is no hint, they are right for {rotated['accuracy'][0]:.1f} % and {rotated['accuracy'][-1]:.1f} %."
    )
    if best:
        text += (
            f" The best network without symmetry is {LABELS[best['model']]} with {best['accuracy'][0]:.1f} % "
            f"of the upright and {best['accuracy'][-1]:.1f} % of the tilted objects."
        )
    return text
