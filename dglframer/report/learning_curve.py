"""The error against the number of training crystals, for people: table.json, table.md and a plot."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from dglframer.common.errors import UserError
from dglframer.common.files import read_json, write_json, write_text
from dglframer.config import Config
from dglframer.report.plots import BLUE, FAINT, GREEN, ORANGE, Panel, plain_labels, svg, with_unit

BASELINES = {
    "boosting_baseline": ("gradient boosting", ORANGE, "s--"),
    "composition_baseline": ("composition alone", GREEN, "^:"),
    "median_baseline": ("training median", FAINT, "v:"),
}


def write_learning_curve(config: Config, folder: Path) -> dict[str, Any]:
    """Write table.json, table.md and learning_curve.svg to ``folder``, which holds the evaluations.

    Returns the content of table.json. Raises UserError if an evaluation is incomplete.
    """
    rows = [row_of(folder, size) for size in sorted(config.learning_curve.sizes)]
    units = {name: one["unit"] for name, one in rows[0]["targets"].items()}
    table = {"encoder": config.encoder, "seeds": list(config.seeds), "units": units, "rows": rows}
    write_json(folder / "table.json", table)
    write_text(folder / "table.md", markdown(table))
    write_text(folder / "learning_curve.svg", svg([panel(table, target) for target in units]))
    return table


def row_of(folder: Path, size: int) -> dict[str, Any]:
    """The test errors with ``size`` training crystals."""
    path = folder / str(size) / "evaluation" / "metrics.json"
    try:
        targets = {
            name: {
                "unit": one["unit"],
                "ensemble": one["splits"]["test"]["mae"],
                "by_seed": list(one["test_mae_by_seed"].values()),
                "test_crystals": one["test_crystals"],
                **{key: one[key]["test_mae"] for key in BASELINES},
            }
            for name, one in read_json(path)["targets"].items()
        }
    except KeyError as error:
        raise UserError(f"{path}: no {error}") from None
    return {"training_crystals": size, "targets": targets}


def markdown(table: Mapping[str, Any]) -> str:
    """A table of test MAEs for each target."""
    parts = []
    for target, unit in table["units"].items():
        names = [name for name, _, _ in BASELINES.values()]
        heads = ["training crystals", f"{table['encoder']}, ensemble", "its members", *names]
        lines = [f"{with_unit(f'{target}: test MAE', unit)}", ""]
        lines += ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
        for row in table["rows"]:
            one = row["targets"][target]
            members = ", ".join(f"{error:.4f}" for error in one["by_seed"])
            errors = [f"{one[key]:.4f}" for key in BASELINES]
            cells = [f"{row['training_crystals']:,}", f"{one['ensemble']:.4f}", members, *errors]
            lines.append("| " + " | ".join(cells) + " |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def panel(table: Mapping[str, Any], target: str) -> Panel:
    """Both axes logarithmic: a power law is a straight line."""

    def draw(axes: Axes) -> None:
        sizes = [row["training_crystals"] for row in table["rows"]]
        found = [row["targets"][target] for row in table["rows"]]
        axes.plot(sizes, [one["ensemble"] for one in found], "o-", color=BLUE, zorder=4)
        axes.lines[-1].set_label(table["encoder"])
        for size, one in zip(sizes, found, strict=True):
            axes.plot([size] * len(one["by_seed"]), one["by_seed"], "_", color=BLUE, zorder=3)
        for key, (name, colour, style) in BASELINES.items():
            axes.plot(sizes, [one[key] for one in found], style, color=colour, label=name, ms=4)
        axes.set(xscale="log", yscale="log", title=target, xlabel="training crystals")
        axes.set_ylabel(with_unit("test MAE", table["units"][target]))
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.minorticks_off()
        plain_labels(axes.yaxis, at=(1.0, 2.0, 5.0))
        axes.legend(loc="best")

    return draw
