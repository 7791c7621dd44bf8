"""The results of one property for the report: errors, intervals, groups, the worst predictions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dglframer.common.elements import SYMBOLS
from dglframer.data.split import SPLITS
from dglframer.report import plots
from dglframer.report.digits import decimals_of, interval_of_mean, standard_error, with_error
from dglframer.report.run_files import ReportData
from dglframer.structures.symmetry import SYSTEMS, reduced_formula

WORST = 10


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
    metrics = run.metrics["targets"][name]
    error = standard_error(absolute[rows])
    return {
        "name": name,
        **metrics,
        "test_mae_error": error,
        "interval": interval_of_mean(absolute[rows]),
        "decimals": decimals_of(error),
        "label_decimals": decimals_of(float(absolute[rows].mean())),
        "labels": {part: of.target[of.split == part] for part in SPLITS},
        "labels_svg": plots.svg([plots.label_panel(of)]),
        "parity_svg": plots.svg([plots.parity_panel(of)], size=(4.4, 4.4)),
        "error_svg": plots.svg([plots.error_panel(of)], size=(4.4, 4.4)),
        "coverage_svg": plots.svg([plots.coverage_panel(name, metrics["intervals"])])
        if metrics["intervals"]["coverage"]
        else None,
        "splits_maes": {part: with_error(absolute[of.split == part]) for part in SPLITS},
        "mae_by_seed": {
            seed: [with_error(np.abs(values - of.target)[of.split == part]) for part in SPLITS]
            for seed, values in of.by_seed.items()
        },
        "groups": [
            (title, errors, plots.svg([plots.group_panel(title, errors, of.unit)]))
            for title, errors in groups.items()
        ],
        "elements": errors_by_element(run, rows, of.ids, absolute),
        "worst": [
            {
                "id": of.ids[i],
                "formula": formula(run.structures[of.ids[i]][0]),
                "system": systems[i],
                "unknown": run.strange.get(of.ids[i], []),
                **{key: getattr(of, key)[i] for key in ("target", "prediction", "error", "spread")},
                "low": of.low[i],
                "high": of.high[i],
                "nearest": neighbours(run, of, of.ids[i]),
            }
            for i in sorted(rows, key=lambda i: (-absolute[i], of.ids[i]))[:WORST]
        ],
    }


def neighbours(run: ReportData, of: plots.Predictions, id: str) -> list[dict[str, Any]]:
    """The nearest training crystals of a test crystal: id, formula, target (or None), distance."""
    found = []
    for near, distance in run.nearest.get(id, []):
        target = of.target[of.ids == near]
        found.append(
            {
                "id": near,
                "formula": formula(run.structures[near][0]),
                "target": float(target[0]) if len(target) else None,
                "distance": distance,
            }
        )
    return found


def grouped(values: np.ndarray, names: Mapping[int, Any], order: Sequence[Any]) -> dict[str, Any]:
    """The values of each group in the given order, without empty groups."""
    members = {name: [row for row in names if names[row] == name] for name in order}
    return {str(name): values[rows] for name, rows in members.items() if rows}


def errors_by_element(
    run: ReportData, rows: Sequence[int], ids: np.ndarray, absolute: np.ndarray
) -> dict[str, dict[str, Any]]:
    """Of each element: test crystals that hold it, their MAE, its shade, training crystals.

    The shades (1 to 5) are fifths of the elements in order of their MAE.
    """
    errors: dict[str, list[float]] = {}
    for i in rows:
        for z in np.unique(run.structures[ids[i]][0]).tolist():
            errors.setdefault(SYMBOLS[z - 1], []).append(float(absolute[i]))
    order = sorted(errors, key=lambda symbol: (float(np.mean(errors[symbol])), symbol))
    place = {symbol: 1 + 5 * k // len(order) for k, symbol in enumerate(order)}
    return {
        symbol: {
            "test": len(errors.get(symbol, ())),
            "text": with_error(np.array(errors[symbol])) if symbol in errors else None,
            "mae": float(np.mean(errors[symbol])) if symbol in errors else None,
            "shade": place.get(symbol, 0),
            "train": run.training_elements.get(symbol, 0),
        }
        for symbol in sorted({*errors, *run.training_elements})
    }


def formula(numbers_N: np.ndarray) -> str:
    """Reduced formula with subscripts."""
    return reduced_formula(numbers_N).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))
