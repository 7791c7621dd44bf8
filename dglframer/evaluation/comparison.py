"""Several encoders on the same graphs, split and seeds: what is trained, and the table of errors.

Two budgets. ``epochs``: every variant trains for ``training.epochs``. ``time``: every variant but the
first trains for as many epochs as take the CPU time of the first one's.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from dglframer.common.errors import ConfigError, UserError
from dglframer.common.files import read_json, write_json, write_text
from dglframer.config import Config, override
from dglframer.report.plots import BLUE, FAINT, INK, ORANGE, Panel, read_metrics, svg

log = logging.getLogger(__name__)

BUDGETS = {"epochs": "epochs", "time": "CPU time"}


def seconds_per_epoch(models: Sequence[Path]) -> float:
    """The median over all epochs of some models of the CPU seconds of training."""
    lines = [line for folder in models for line in read_metrics(folder)]
    return float(np.median([line["cpu_seconds"] for line in lines]))


def write_plans(config: Config, budget: str, trained: Path, out: Path) -> None:
    """One file of settings for each variant, in the form of the tune stage's best.json.

    ``trained`` holds the models of the budget ``epochs``, by variant, from which the one of equal
    time takes how long an epoch lasts. Raises ConfigError if a variant is not possible.
    """
    plans = {name: settings_of(config, name) for name in config.compare.chosen}
    if budget == "time":
        seconds = {
            name: seconds_per_epoch(sorted((trained / name).glob("seed-*"))) for name in plans
        }
        first = seconds[next(iter(plans))]
        share = config.training.averaged_epochs / config.training.epochs
    for name in config.compare.trained_in(budget):
        params = plans[name]
        if budget == "time":
            this = seconds[name]
            epochs = max(1, round(override(config, params).training.epochs * first / this))
            params["training.epochs"] = epochs
            params["training.averaged_epochs"] = round(epochs * share)
            log.info("%s: %d epochs of %.1f s (%.1f s)", name, epochs, this, first)
        write_json(out / f"{name}.json", {"params": params})


def settings_of(config: Config, name: str) -> dict[str, Any]:
    """A variant's settings by dotted key, without a search, which may be over another encoder's."""
    params: dict[str, Any] = {**config.compare.chosen[name], "tune.search": {}}
    try:
        override(config, params)
    except ConfigError as error:
        raise ConfigError(f"compare.variants.{name}: {error}") from None
    return params


def write_comparison(config: Config, folder: Path) -> dict[str, Any]:
    """table.json, table.md and comparison.svg from the evaluations and metrics in ``folder``."""
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


def row_of(config: Config, folder: Path, budget: str, name: str) -> dict[str, Any]:
    """What is known of one variant in one budget."""
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
    """Mean ± spread as text; of a single value only that."""
    mean, spread = mean_and_spread(values)
    return f"{number(mean)} ± {number(spread)}" if len(values) > 1 else number(mean)


def markdown(table: Mapping[str, Any]) -> str:
    """The table for people: test MAE, mean and spread over the seeds."""
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
    return "\n".join(lines) + "\n"


def panel(table: Mapping[str, Any], target: str) -> Panel:
    """Test errors of the variants, both budgets beside each other, every seed a point."""

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
        baseline = table["rows"][0]["targets"][target]["composition_baseline"]
        axes.axvline(baseline, color=FAINT, lw=1, ls="--")
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set_xlabel(f"test MAE ({table['units'][target]}); dashed: composition alone")
        axes.set_title(target)
        for budget, color in colors.items():
            axes.plot([], [], "o", ms=5, color=color, label=f"equal {BUDGETS[budget]}")
        axes.legend(loc="best")

    return draw
