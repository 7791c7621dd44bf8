"""Figures as SVG text, in one style and in colours that colour-blind readers can tell apart.

Equal data give equal bytes.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from dglframer.common.files import read_json, write_text
from dglframer.common.parquet import read_parquet
from dglframer.data.split import SPLITS
from dglframer.training.metrics import read_metrics

Panel = Callable[[Axes], None]

# The colours of Okabe and Ito. The training set is grey.
BLUE, ORANGE, GREEN, PURPLE, SKY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9"
CURVES = (BLUE, ORANGE, GREEN, PURPLE, SKY)
INK, FAINT = "#2b2f36", "#a3a9b4"
SPLIT_STYLE: dict[str, dict[str, Any]] = {
    "train": {"color": FAINT, "marker": "o", "s": 9, "alpha": 0.6, "zorder": 2},
    "val": {"color": ORANGE, "marker": "^", "s": 15, "alpha": 0.8, "zorder": 3},
    "test": {"color": BLUE, "marker": "o", "s": 15, "alpha": 0.8, "zorder": 4},
}
STYLE = {
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "font.size": 9,
    "grid.color": "#e8eaee",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "dglframer",
    "text.parse_math": False,  # a property may be called cost_$
}
MANY_POINTS = 400  # more points are drawn as pixels: the file stays small
SIZE = (4.6, 3.6)  # inches, of one panel


@dataclass(frozen=True)
class Predictions:
    """The rows of predictions.parquet with a target, for one property, as arrays of equal length."""

    name: str
    unit: str
    ids: np.ndarray
    split: np.ndarray
    target: np.ndarray
    prediction: np.ndarray
    spread: np.ndarray
    low: np.ndarray  # ends of the usual interval, NaN without one
    high: np.ndarray
    by_seed: dict[str, np.ndarray]

    @property
    def error(self) -> np.ndarray:
        """Prediction of the ensemble minus target."""
        return self.prediction - self.target


def read_predictions(path: Path) -> dict[str, Predictions]:
    """Every property of predictions.parquet, in the file's order."""
    table = read_parquet(path)
    columns = {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
    result = {}
    for name in dict.fromkeys(columns["property"].tolist()):
        rows = (columns["property"] == name) & ~np.isnan(columns["target"])
        one = {key: values[rows] for key, values in columns.items()}
        start = "prediction_seed_"
        seeds = {key[len(start) :]: one[key] for key in one if key.startswith(start)}
        ids, unit = one["id"], one["unit"][0]
        absent = np.full(int(rows.sum()), np.nan)  # of an older evaluation
        low, high = (one.get(key, absent) for key in ("low", "high"))
        values = (one["target"], one["prediction"], one["spread"], low, high)
        result[name] = Predictions(name, unit, ids, one["split"], *values, seeds)
    return result


def plain_labels(axis: Axis, at: Sequence[float] = (1.0,)) -> None:
    """Label a logarithmic axis with plain numbers, at ``at`` times powers of ten."""
    axis.set_major_locator(LogLocator(subs=at))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def svg(panels: Sequence[Panel], size: tuple[float, float] = SIZE, columns: int = 3) -> str:
    """One SVG document with the panels side by side, ``columns`` in a row."""
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    with matplotlib.style.context(["default", STYLE]):
        figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, panel in zip(grid, panels, strict=False):
            panel(axes)
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        buffer = io.StringIO()
        no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", dpi=200, metadata=no_metadata)
    return buffer.getvalue()


def parity_plot(predictions_path: Path, svg_path: Path) -> None:
    """Predictions against targets, one panel per property."""
    panels = [parity_panel(one) for one in read_predictions(predictions_path).values()]
    write_text(svg_path, svg(panels, size=(4.2, 4.2)))


def coverage_plot(metrics: Mapping[str, Any], svg_path: Path) -> None:
    """Coverage of the intervals on test against the nominal one, one panel per property.

    ``metrics``: the content of metrics.json.
    """
    panels = [coverage_panel(name, one["intervals"]) for name, one in metrics["targets"].items()]
    write_text(svg_path, svg(panels, size=(4.2, 4.2)))


def learning_curve_plot(model_folders: Sequence[Path], svg_path: Path) -> None:
    """Training loss and validation error of each model per epoch."""
    runs = {Path(folder).name: read_metrics(folder) for folder in model_folders}
    targets = read_json(Path(model_folders[0]) / "model.json", "targets")["targets"]
    units = {target["name"]: target["unit"] for target in targets}
    write_text(svg_path, svg(learning_panels(runs, units)))


def with_unit(text: str, unit: str) -> str:
    """``text (unit)``, or the text alone if there is no unit."""
    return f"{text} ({unit})" if unit else text


def parity_panel(data: Predictions) -> Panel:
    """Prediction against target, with the test errors as text and the seeds' spread as bars on test."""

    def draw(axes: Axes) -> None:
        both = np.concatenate([data.target, data.prediction])
        low, high = float(both.min()), float(both.max())
        margin = 0.04 * (high - low) or 1.0
        limits = (low - margin, high + margin)
        axes.plot(limits, limits, color=INK, linewidth=0.8, zorder=1)
        for name, style in SPLIT_STYLE.items():
            rows = data.split == name
            x, y = data.target[rows], data.prediction[rows]
            many = len(x) > MANY_POINTS
            label = f"{name} ({rows.sum()})"
            axes.scatter(x, y, linewidths=0, label=label, rasterized=many, **style)
        bars = (data.split == "test") & np.isfinite(data.spread)
        if 0 < bars.sum() <= MANY_POINTS:
            ends = data.prediction[bars] + np.outer((-1, 1), data.spread[bars])
            axes.vlines(data.target[bars], *ends, color=BLUE, linewidth=0.6, alpha=0.6, zorder=3)
        axes.text(0.04, 0.96, error_text(data), transform=axes.transAxes, va="top")
        axes.set(xlim=limits, ylim=limits, aspect="equal", title=data.name)
        axes.set(xlabel=with_unit("target", data.unit), ylabel=with_unit("prediction", data.unit))
        axes.legend(loc="lower right", handletextpad=0.1, borderpad=0)

    return draw


def error_panel(data: Predictions) -> Panel:
    """Prediction minus target against the target, with the intervals on test around zero error."""

    def draw(axes: Axes) -> None:
        for name, style in SPLIT_STYLE.items():
            rows = data.split == name
            many = rows.sum() > MANY_POINTS
            look: dict[str, Any] = {"linewidths": 0, "rasterized": many}
            look["label"] = f"{name} ({rows.sum()})"
            axes.scatter(data.target[rows], data.error[rows], **look, **style)
        axes.axhline(0, color=INK, linewidth=0.8, zorder=1)
        axes.set(title=data.name, xlabel=with_unit("target", data.unit))
        axes.set_ylabel(with_unit("prediction − target", data.unit))
        axes.legend(loc="best", handletextpad=0.1, borderpad=0)

    return draw


def coverage_panel(name: str, intervals: Mapping[str, Any]) -> Panel:
    """Share of the test labels inside the intervals against the nominal coverage, in percent.

    ``intervals``: those of a target in metrics.json. Bars are the standard deviation that the number
    of test crystals leaves to a true coverage of that size.
    """

    def draw(axes: Axes) -> None:
        axes.plot([0, 100], [0, 100], color=INK, linewidth=0.8, zorder=1)
        axes.set(title=name, xlim=(40, 102), ylim=(0, 104), xlabel="nominal coverage (%)")
        axes.set_ylabel("test labels inside (%)")
        found = intervals["coverage"]
        if not found:
            text = "Too few validation crystals\nfor intervals."
            axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center")
            return
        nominal, share = np.array([float(key) for key in found]), np.array([*found.values()])
        bars = 100 * np.sqrt(nominal * (1 - nominal) / intervals["test_crystals"])
        look: dict[str, Any] = {"color": BLUE, "capsize": 3, "markersize": 6, "zorder": 3}
        axes.errorbar(100 * nominal, 100 * share, yerr=bars, fmt="o", **look)

    return draw


def error_text(data: Predictions) -> str:
    """Two lines: MAE and R² of the test split."""
    rows = data.split == "test"
    error, target = data.error[rows], data.target[rows]
    variance = float(((target - target.mean()) ** 2).sum())
    r2 = 1 - float((error**2).sum()) / variance if variance else 0.0
    return f"test MAE {np.abs(error).mean():.4g} {data.unit}".rstrip() + f"\ntest R² {r2:.4f}"


def learning_panels(
    runs: Mapping[str, Sequence[Mapping[str, Any]]], units: Mapping[str, str]
) -> list[Panel]:
    """Training loss, then the validation MAE of each property; ``runs``: the metrics of each seed."""

    def panel(title: str, label: str, value: Callable[[Mapping[str, Any]], float]) -> Panel:
        def draw(axes: Axes) -> None:
            for k, (name, lines) in enumerate(runs.items()):
                epochs, values = [line["epoch"] for line in lines], [value(line) for line in lines]
                dash = ("-", "--", ":", "-.")[k // len(CURVES) % 4]
                colour = CURVES[k % len(CURVES)]
                axes.plot(epochs, values, dash, color=colour, marker=".", markersize=4, label=name)
            averaged = [line["epoch"] for line in lines if line["averaged"]]
            if averaged:
                span = (averaged[0] - 0.5, averaged[-1] + 0.5)
                axes.axvspan(*span, color="#eef1f5", zorder=0, label="weights averaged")
            axes.set(title=title, xlabel="epoch", ylabel=label)
            axes.set_ylim(bottom=0)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
            axes.legend(ncols=1 + len(runs) // 6)

        return draw

    def val_mae(name: str) -> Panel:
        label = with_unit("validation MAE", units[name])
        return panel(name, label, lambda line: line["val_mae"][name])

    loss = panel("training loss", "normalised L1 loss", lambda line: line["train_loss"])
    return [loss, *map(val_mae, units)]


def label_panel(data: Predictions) -> Panel:
    """Distribution of the labels in each split, as shares of the split."""

    def draw(axes: Axes) -> None:
        edges = np.histogram_bin_edges(data.target, bins=20)
        for name in SPLITS:
            values = data.target[data.split == name]
            share = np.histogram(values, edges)[0] / max(len(values), 1)
            fill, colour = name == "train", SPLIT_STYLE[name]["color"]
            alpha = 0.45 if fill else 1
            axes.stairs(share, edges, fill=fill, alpha=alpha, color=colour, lw=1.4, label=name)
        axes.set(title=data.name, ylabel="share of the split")
        axes.set_xlabel(with_unit("target", data.unit))
        axes.legend()

    return draw


def histogram_panel(title: str, one: Mapping[str, Any]) -> Panel:
    """The histogram in ``one``, which has a ``unit`` and a ``histogram`` (edges, counts)."""

    def draw(axes: Axes) -> None:
        edges, counts = one["histogram"]["edges"], one["histogram"]["counts"]
        axes.stairs(counts, edges, fill=True, color=BLUE, alpha=0.8)
        axes.set(title=title, ylabel="crystals", xlabel=with_unit(title, one["unit"]))

    return draw


def group_panel(title: str, groups: Mapping[str, np.ndarray], unit: str) -> Panel:
    """Absolute errors of each group: a dot for each crystal, a bar between the quartiles, the median."""

    def draw(axes: Axes) -> None:
        for y, values in enumerate(groups.values()):
            shift = (
                np.arange(len(values)) * 0.618034 % 1 - 0.5
            ) * 0.56  # spread evenly, not random
            dots: dict[str, Any] = {"s": 9, "lw": 0, "rasterized": len(values) > MANY_POINTS}
            low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
            axes.barh(y, high - low, 0.66, left=low, color=SKY, alpha=0.35, zorder=2)
            axes.scatter(values, y + shift, color=BLUE, alpha=0.6, zorder=3, **dots)
            axes.vlines(middle, y - 0.33, y + 0.33, color=INK, linewidth=1.6, zorder=4)
        labels = [f"{name}  (n = {len(values)})" for name, values in groups.items()]
        axes.set_yticks(range(len(groups)), labels)
        axes.set_ylim(len(groups) - 0.4, -0.6)
        axes.set_xlim(left=0)
        axes.tick_params(axis="y", length=0)
        axes.grid(False, axis="y")
        axes.set(title=title, xlabel=with_unit("absolute test error", unit))

    return draw
