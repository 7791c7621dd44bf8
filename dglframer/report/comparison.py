"""The comparison of encoders for people: table.json, table.md and a plot of the test errors."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from dglframer.common.errors import UserError
from dglframer.common.files import read_json, write_json, write_text
from dglframer.config import Config
from dglframer.evaluation.comparison_plan import Budget, seconds_per_epoch
from dglframer.report.plots import BLUE, FAINT, INK, ORANGE, Panel, svg
from dglframer.training.metrics import read_metrics

BUDGETS: dict[Budget, str] = {
    "epochs": "epochs",
    "time": "CPU time",
}  # with their names in the table

BASELINES = {
    "boosting_baseline": "gradient boosting",
    "composition_baseline": "composition alone",
    "median_baseline": "training median",
}


def write_comparison(config: Config, folder: Path) -> dict[str, Any]:
    """Write table.json, table.md and comparison.svg to ``folder``, which holds the evaluated models.

    Returns the content of table.json. Raises UserError if an evaluation is incomplete.
    """
    rows = [
        row_of(config, folder, budget, name) for budget in BUDGETS for name in config.compare.chosen
    ]
    units = {name: target["unit"] for name, target in rows[0]["targets"].items()}
    table = {"seeds": list(config.seeds), "units": units, "rows": rows}
    write_json(folder / "table.json", table)
    write_text(folder / "table.md", markdown(table))
    panels = [panel(table, target) for target in units]
    write_text(folder / "comparison.svg", svg(panels))
    return table


def row_of(config: Config, folder: Path, budget: Budget, name: str) -> dict[str, Any]:
    """The row of a variant in a budget: its size, times and errors."""
    trained = budget if name in config.compare.trained_in(budget) else "epochs"
    where = folder / trained / name
    metrics = read_json(where / "evaluation" / "metrics.json")
    models = [where / f"seed-{seed}" for seed in config.seeds]
    try:
        targets = {
            target: {
                "unit": one["unit"],
                "test_mae_by_seed": list(one["test_mae_by_seed"].values()),
                "ensemble_test_mae": one["splits"]["test"]["mae"],
                "median_baseline": one["median_baseline"]["test_mae"],
                "composition_baseline": one["composition_baseline"]["test_mae"],
                "boosting_baseline": one["boosting_baseline"]["test_mae"],
            }
            for target, one in metrics["targets"].items()
        }
    except KeyError as error:
        raise UserError(f"{where}/evaluation/metrics.json: no {error}") from None
    return {
        "budget": budget,
        "variant": name,
        "settings": config.compare.chosen[name],
        "parameters": metrics["parameters"],
        "epochs": read_metrics(models[0])[-1]["epoch"],
        "seconds_per_epoch": seconds_per_epoch(models),
        "targets": targets,
    }


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation, 0 for a single value."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def shown(values: Sequence[float], number: Callable[[float], str]) -> str:
    """Mean ± spread as text, or a single value alone."""
    mean, spread = mean_and_spread(values)
    return f"{number(mean)} ± {number(spread)}" if len(values) > 1 else number(mean)


def markdown(table: Mapping[str, Any]) -> str:
    """The table in Markdown: test MAE, mean and spread over the seeds."""
    targets = list(table["units"])
    heads = [f"{target} ({table['units'][target]})" for target in targets]
    lines = [
        "| budget | encoder | parameters | epochs | CPU s/epoch | " + " | ".join(heads) + " |",
        "|---|---|---|---|---|" + "---|" * len(heads),
    ]
    for row in table["rows"]:
        errors = [
            shown(row["targets"][target]["test_mae_by_seed"], "{:.4f}".format) for target in targets
        ]
        cells = [
            f"equal {BUDGETS[row['budget']]}",
            row["variant"],
            f"{row['parameters']:,}",
            str(row["epochs"]),
            f"{row['seconds_per_epoch']:.1f}",
            *errors,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    for key, name in BASELINES.items():
        errors = [f"{of[key]:.4f}" for of in table["rows"][0]["targets"].values() if key in of]
        if errors:  # a table of an older dglframer lacks one
            lines.append(f"| | {name} | | | | " + " | ".join(errors) + " |")
    return "\n".join(lines) + "\n"


def panel(table: Mapping[str, Any], target: str) -> Panel:
    """Test errors of the variants in both budgets, with a mark for each seed."""

    def draw(axes: Axes) -> None:
        names = list(dict.fromkeys(row["variant"] for row in table["rows"]))
        colors = dict(zip(BUDGETS, (BLUE, ORANGE), strict=True))
        for row in table["rows"]:
            late = row["budget"] == "time"
            y = names.index(row["variant"]) + (0.14 if late else -0.14)
            values = row["targets"][target]["test_mae_by_seed"]
            mean, spread = mean_and_spread(values)
            color = colors[row["budget"]]
            axes.errorbar(mean, y, xerr=spread, fmt="o", ms=5, capsize=3, color=color, zorder=3)
            axes.plot(values, [y] * len(values), "|", color=INK, ms=7, zorder=4)
        baseline = table["rows"][0]["targets"][target]["boosting_baseline"]
        axes.axvline(baseline, color=FAINT, lw=1, ls="--")
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set_xlabel(f"test MAE ({table['units'][target]}); dashed: gradient boosting")
        axes.set_title(target)
        for budget, color in colors.items():
            axes.plot([], [], "o", ms=5, color=color, label=f"equal {BUDGETS[budget]}")
        axes.legend(loc="best")

    return draw
