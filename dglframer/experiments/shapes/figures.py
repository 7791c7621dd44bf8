"""Two figures: accuracy against the largest tilt (the paper's Figure 4), and an object of each class."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from dglframer.experiments import names
from dglframer.experiments.shapes.budgets import INVARIANT
from dglframer.experiments.shapes.table import LABELS
from dglframer.report.plots import GREEN, Panel, svg

COLOURS = {**names.COLOURS, "pointnet": GREEN}
TITLES = {"as_given": "trained on upright objects", "rotated": "trained on rotated objects"}


def tilt_figure(results: Mapping[str, Any]) -> str:
    """Accuracy against the largest tilt, a panel for each way of training; ``results``: table.json.

    The networks that do not change with rotations stand in both.
    """
    return svg([tilt_panel(results, orientation) for orientation in TITLES], columns=2)


def tilt_panel(results: Mapping[str, Any], orientation: str) -> Panel:
    """One way of training; bars are deviations over seeds, dashed lines networks with +z."""

    def draw(axes: Axes) -> None:
        rows = [
            row
            for row in results["rows"]
            if row["orientation"] == orientation or row["model"] in INVARIANT
        ]
        for row in rows:
            kind = row["model"].removesuffix("_z")
            look: dict[str, Any] = {"color": COLOURS[kind], "marker": "o", "markersize": 4}
            look["linestyle"] = "-" if kind == row["model"] else "--"
            errors = [error or 0.0 for error in row["accuracy_std"]]
            label = LABELS[row["model"]]
            axes.errorbar(results["tilts"], row["accuracy"], errors, capsize=2, label=label, **look)
        axes.set(title=TITLES[orientation], xlabel="largest tilt of the test objects (°)")
        axes.set(ylabel="test accuracy (%)", ylim=(0, 100), xticks=results["tilts"])
        if rows:
            axes.legend(loc="best", fontsize=7, ncols=2, handlelength=3)

    return draw


def object_figure(shown: Mapping[str, Sequence[Sequence[float]]]) -> str:
    """The points of an object of each class, seen from the side; ``shown``: of evaluation.json."""
    panels = [object_panel(name, np.array(points)) for name, points in shown.items()]
    return svg(panels, size=(1.9, 1.9), columns=5)


def object_panel(name: str, points_P3: np.ndarray) -> Panel:
    """One object; what is far away is pale."""

    def draw(axes: Axes) -> None:
        x, depth, z = points_P3[np.argsort(-points_P3[:, 1])].T
        look: dict[str, Any] = {"cmap": "Blues_r", "vmin": -1, "vmax": 1.6, "linewidths": 0}
        axes.scatter(x, z, c=depth, s=9, rasterized=True, **look)
        axes.set(title=name, aspect="equal", xlim=(-1.05, 1.05), ylim=(-1.05, 1.05))
        axes.set(xticks=[], yticks=[])

    return draw
