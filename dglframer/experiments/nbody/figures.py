"""Three figures: a turned system, learning curves, error against horizon."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from dglframer.experiments import names
from dglframer.experiments.nbody.simulation import FRAME_TIME, FRAMES
from dglframer.experiments.nbody.table import LABELS
from dglframer.report.plots import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    ORANGE,
    Panel,
    plain_labels,
    svg,
)

COLOURS = {**names.COLOURS, "linear": FAINT, "egnn": GREEN}
SHOWN = ("se3_transformer", "set_transformer")  # the paper's figure has these
CAPS = {"component": "cap on components", "norm": "cap on the length"}


def rotation_figure(evaluation: Mapping[str, Any]) -> str:
    """A system as given and rotated by 70° about the axis of sight, for the two models in SHOWN.

    If neither was trained, the first two models are drawn.
    """
    shown = evaluation["shown"]
    panels = []
    for name in [name for name in SHOWN if name in shown] or list(shown)[:2]:
        systems = shown[name]
        panels += [
            system_panel(f"{LABELS[name]}: as given", systems["as_given"]),
            system_panel(f"{LABELS[name]}: turned by 70°", systems["turned"], systems["as_given"]),
        ]
    return svg(panels, size=(4.2, 4.2), columns=2)


def system_panel(
    title: str, system: Mapping[str, Any], as_given: Mapping[str, Any] | None = None
) -> Panel:
    """Paths from frame 0 to target and prediction, seen along z.

    Crosses: the prediction for the system ``as_given``, rotated like the system.
    """

    def draw(axes: Axes) -> None:
        start = np.array(system["positions"])
        target, predicted = (
            start + np.array(system[key])[:, 0] for key in ("targets", "predictions")
        )
        for i, charge in enumerate(system["charges"]):
            sign = "+" if charge > 0 else "−"
            axes.plot(*start[i, :2], "o", color=INK, markersize=9, fillstyle="none")
            axes.text(start[i, 0], start[i, 1], sign, ha="center", va="center", fontsize=8)
            axes.plot(*np.array([start[i], target[i]]).T[:2], color=FAINT, linewidth=1.2)
        axes.plot(*target.T[:2], "o", color=FAINT, markersize=8, label="simulated")
        axes.plot(*predicted.T[:2], ".", color=BLUE, markersize=8, label="predicted")
        if as_given is not None:
            turned = turned_along(as_given, system)
            axes.plot(*turned.T[:2], "x", color=ORANGE, label="prediction as given, turned")
            distance = np.linalg.norm(turned - predicted, axis=1).max()
            text = f"largest distance {distance:.1e}"
            axes.text(0.02, 0.02, text, transform=axes.transAxes, fontsize=8)
        reach = 0.6 + np.linalg.norm(np.concatenate([start, target])[:, :2], axis=1).max()
        limits = (-reach, reach)  # of any orientation
        axes.set(title=title, xlabel="x", ylabel="y", aspect="equal", xlim=limits, ylim=limits)
        axes.legend(loc="upper right", fontsize=8)

    return draw


def turned_along(as_given: Mapping[str, Any], turned: Mapping[str, Any]) -> np.ndarray:
    """The predicted positions of the system as given, under the rotation between the two systems."""
    before, after = np.array(as_given["positions"]), np.array(turned["positions"])
    left, _, right = np.linalg.svd(after.T @ before)
    proper = np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = left @ proper @ right
    return (before + np.array(as_given["predictions"])[:, 0]) @ rotation.T


def learning_figure(evaluations: Sequence[Mapping[str, Any]]) -> str:
    """Validation errors against steps: a row of panels for each data set, a line for each seed."""
    panels = [curve_panel(one, of) for one in evaluations for of in "xv"]
    return svg(panels, columns=2)


def curve_panel(evaluation: Mapping[str, Any], of: str) -> Panel:
    """One data set, Δx or Δv."""

    def draw(axes: Axes) -> None:
        seen: set[str] = set()
        for row in evaluation["rows"]:
            if row["frames"] != FRAMES:
                continue
            name, colour = row["model"], COLOURS[row["model"]]
            label = None if name in seen else LABELS[name]
            seen.add(name)
            if name == "linear":
                axes.axhline(row[f"mse_{of}"], color=colour, linestyle="--", label=label)
                continue
            steps = [line["step"] for line in row["curve"]]
            values = [line[f"val_mse_{of}"] for line in row["curve"]]
            axes.plot(steps, values, color=colour, linewidth=0.9, label=label)
        axes.set(title=f"{CAPS[evaluation['cap']]}: Δ{of}", xlabel="step")
        axes.set(ylabel="validation MSE", xscale="log", yscale="log")
        plain_labels(axes.xaxis)
        plain_labels(axes.yaxis, at=(1.0, 2.0, 5.0))
        axes.legend(loc="lower left", fontsize=8)

    return draw


def horizon_figure(
    evaluations: Sequence[Mapping[str, Any]], bounds: Sequence[Mapping[str, Any]]
) -> str:
    """Error against horizon: constant velocity, a model trained for each horizon, the floor."""
    limits = {one["cap"]: one for one in bounds}
    panels = [horizon_panel(one, limits[one["cap"]], of) for one in evaluations for of in "xv"]
    return svg(panels, columns=2)


def horizon_panel(evaluation: Mapping[str, Any], bounds: Mapping[str, Any], of: str) -> Panel:
    """One data set, Δx or Δv; bars are standard errors over simulations."""

    def draw(axes: Axes) -> None:
        key = f"mse_{of}"
        times = FRAME_TIME * np.array(bounds["frames"])
        for name, colour, label in (
            ("linear", FAINT, "Linear"),
            ("floor", INK, "equivariant floor"),
        ):
            values, errors = np.array(bounds[name][key]), np.array(bounds[name][f"{key}_error"])
            if values.max() > 1e-12:  # with the norm cap the floor is rounding alone
                axes.errorbar(times, values, errors, color=colour, label=label, capsize=2)
        rows = [row for row in evaluation["rows"] if row["model"] == "se3_transformer"]
        points = sorted((row["frames"], row[key], row[f"{key}_error"]) for row in rows)
        if points:
            frames, values, errors = map(np.array, zip(*points, strict=True))
            style: dict[str, Any] = {"color": BLUE, "capsize": 2, "markersize": 5}
            label = "SE(3)-Transformer, one for each horizon"
            axes.errorbar(FRAME_TIME * frames, values, errors, fmt="o", label=label, **style)
        axes.set(title=f"{CAPS[evaluation['cap']]}: Δ{of}", yscale="log")
        axes.set(xlabel="time ahead", ylabel="test MSE")
        plain_labels(axes.yaxis)
        axes.legend(loc="lower right", fontsize=8)

    return draw
