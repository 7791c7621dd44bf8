"""Figures of a study: its history, the importance of keys, the values of each trial."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.ticker import MaxNLocator

from dglframer.config.tuning import SearchChoices, SearchRange
from dglframer.report.plots import BLUE, FAINT, INK, ORANGE, Panel

LOSSES = LinearSegmentedColormap.from_list("losses", [BLUE, "#dfe5ea"])

Trial = Mapping[str, Any]  # an entry of trials.json


def tuning_panels(
    trials: Sequence[Trial],
    importance: Mapping[str, float],
    search: Mapping[str, SearchRange | SearchChoices],
) -> dict[str, Panel]:
    """The figures by name, without those that need more trials."""
    done = completed(trials)
    panels: dict[str, Panel] = {}
    if len(done) > 1:
        panels["history"] = history_panel(trials)
    if importance:
        panels["importance"] = importance_panel(importance)
    if len(done) > 1 and search and all(set(trial["params"]) == set(search) for trial in done):
        panels["parallel"] = parallel_panel(trials, search)
    return panels


def completed(trials: Sequence[Trial]) -> list[Trial]:
    """The trials that ran to their end; their validation losses can be compared."""
    return [trial for trial in trials if trial["state"] == "complete"]


def history_panel(trials: Sequence[Trial]) -> Panel:
    """Validation loss of each trial in order, and the minimum so far."""

    def draw(axes: Axes) -> None:
        done = completed(trials)
        numbers, losses = [t["number"] for t in done], [t["val_loss"] for t in done]
        axes.scatter(numbers, losses, s=18, lw=0, color=BLUE, label="complete", zorder=3)
        stopped = [t for t in trials if t["state"] != "complete" and t["val_loss"] is not None]
        if stopped:
            x, y = [t["number"] for t in stopped], [t["val_loss"] for t in stopped]
            axes.scatter(x, y, s=18, marker="x", lw=1, color=FAINT, label="pruned, last", zorder=2)
        if done:
            best = np.minimum.accumulate(losses)
            axes.step(numbers, best, where="post", color=ORANGE, lw=1.2, label="best so far")
        axes.set(title="history", xlabel="trial", ylabel="validation loss")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        axes.legend(loc="upper left", bbox_to_anchor=(-0.1, -0.16), ncols=3, columnspacing=1)

    return draw


def importance_panel(importance: Mapping[str, float]) -> Panel:
    """Share of each key in the spread of the loss, in falling order from the top."""

    def draw(axes: Axes) -> None:
        keys = sorted(importance, key=lambda key: importance[key])
        axes.barh(range(len(keys)), [importance[key] for key in keys], 0.6, color=BLUE)
        axes.set_yticks(range(len(keys)), keys)
        axes.set_xlim(0, 1)
        axes.tick_params(axis="y", length=0)
        axes.grid(False, axis="y")
        axes.set(title="importance", xlabel="share of the spread")

    return draw


def parallel_panel(
    trials: Sequence[Trial], search: Mapping[str, SearchRange | SearchChoices]
) -> Panel:
    """A line for each completed trial through its values; lower losses are darker."""

    def draw(axes: Axes) -> None:
        done = sorted(completed(trials), key=lambda trial: -trial["val_loss"])
        losses = np.array([trial["val_loss"] for trial in done])
        keys = list(search)
        # The worse half of the trials shares the light end, so the best can be told apart.
        shade = Normalize(losses.min(), max(np.median(losses), losses.min() + 1e-12), clip=True)
        for trial, loss in zip(done, losses, strict=True):
            heights = [height(search[key], trial["params"][key]) for key in keys]
            best = trial is done[-1]
            colour = ORANGE if best else LOSSES(float(shade(loss)))
            axes.plot(
                heights, color=colour, lw=2 if best else 1, alpha=0.9, zorder=4 if best else 3
            )
        paper = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5}
        for x, key in enumerate(keys):
            axes.axvline(x, color=INK, lw=0.8, zorder=2)
            for y, text in ticks(search[key]):
                axes.text(x + 0.03, y, text, va="center", fontsize=7.5, zorder=5, bbox=paper)
        axes.set_xticks(range(len(keys)), [key.replace(".", ".\n") for key in keys])
        axes.set_yticks([])
        axes.set_xlim(-0.15, max(len(keys) - 1, 0.5) + 0.35)
        axes.set_ylim(-0.06, 1.06)
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
        axes.grid(False)
        axes.set(title="values of the completed trials")
        bar = ScalarMappable(shade, LOSSES)
        figure = axes.get_figure()
        assert figure is not None
        figure.colorbar(bar, ax=axes, label="validation loss", extend="max", aspect=30)

    return draw


def height(space: SearchRange | SearchChoices, value: Any) -> float:
    """The position of a value on its axis, from 0 to 1."""
    if isinstance(space, SearchChoices):
        return place(space.choices.index(value), len(space.choices))
    low, high, value = (np.log([v])[0] if space.log else v for v in (space.low, space.high, value))
    return float((value - low) / (high - low)) if high > low else 0.5


def place(index: int, count: int) -> float:
    """The height of one of ``count`` choices."""
    return index / (count - 1) if count > 1 else 0.5


def ticks(space: SearchRange | SearchChoices) -> list[tuple[float, str]]:
    """Heights and labels of an axis: every choice, or both ends of a range."""
    if isinstance(space, SearchChoices):
        count = len(space.choices)
        texts = ["null" if value is None else str(value) for value in space.choices]
        return [(place(index, count), text) for index, text in enumerate(texts)]
    if space.low == space.high:
        return [(0.5, f"{space.low:g}")]
    return [(0.0, f"{space.low:g}"), (1.0, f"{space.high:g}")]
