"""Intervals around predictions by split conformal prediction, from the errors on the validation crystals.

The score of a validation crystal is its absolute error in units of a scale. The interval of coverage c is
the prediction ± q times the scale, q the ceil((n + 1) c)-th smallest of n scores (Lei et al., JASA 2018). It
holds the label with probability c or more if the crystal is drawn as the validation crystals were, and if
these chose nothing. For an ensemble the scale is ``floor`` + the spread: intervals are wide where its members
disagree. For one model it is 1. Of transformed targets all this is of what is learned.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dglframer.common.errors import DamagedFile
from dglframer.common.files import read_json, write_json
from dglframer.common.transforms import apply, slope, undo
from dglframer.evaluation.spread import spread
from dglframer.networks.model_directory import Target, interval_files

COVERAGES = (0.5, 0.68, 0.8, 0.9, 0.95, 0.99)
USUAL = 0.9
FLOORS = (0.5, 1.0, 2.0, 4.0, 8.0)  # tried, in medians of the spread


@dataclass(frozen=True)
class Interval:
    """How wide the intervals of one target are. ``floor`` is None if they do not follow the spread."""

    transform: str | None
    floor: float | None
    quantiles: dict[str, float | None]  # by coverage; None: too few validation crystals
    validation_crystals: int

    def scale(self, prediction_G: np.ndarray, spread_G: np.ndarray) -> np.ndarray:
        """[G], of what is learned."""
        if self.floor is None:
            return np.ones_like(prediction_G)
        return self.floor + slope(self.transform, prediction_G) * spread_G

    def ends(
        self, prediction_G: np.ndarray, spread_G: np.ndarray, coverage: float = USUAL
    ) -> tuple[np.ndarray, np.ndarray]:
        """Both ends in the target's unit, [G] each; NaN if there were too few validation crystals."""
        quantile = self.quantiles[str(coverage)]
        half_G = self.scale(prediction_G, spread_G) * (math.nan if quantile is None else quantile)
        learned_G = apply(self.transform, prediction_G)
        return undo(self.transform, learned_G - half_G), undo(self.transform, learned_G + half_G)


def calibrated(
    target_G: np.ndarray, prediction_G: np.ndarray, spread_G: np.ndarray, transform: str | None
) -> Interval:
    """The intervals from validation crystals with a label; ``spread_G`` is NaN for one model.

    The floor is that of the least mean width.
    """
    error_G = np.abs(apply(transform, target_G) - apply(transform, prediction_G))
    median = float(np.median(slope(transform, prediction_G) * spread_G))
    floors = [factor * median for factor in FLOORS] if median > 0 else [None]  # also for NaN
    tried = []
    for floor in floors:
        scale_G = Interval(transform, floor, {}, 0).scale(prediction_G, spread_G)
        score_G = np.sort(error_G / scale_G)
        tried.append((float(np.quantile(score_G, USUAL) * scale_G.mean()), floor, score_G))
    _, floor, score_G = min(tried, key=lambda one: one[0])
    quantiles = {str(coverage): quantile(score_G, coverage) for coverage in COVERAGES}
    return Interval(transform, floor, quantiles, len(target_G))


def quantile(sorted_scores: np.ndarray, coverage: float) -> float | None:
    """The ceil((n + 1) c)-th smallest score; None if there is none."""
    place = math.ceil((len(sorted_scores) + 1) * coverage)
    return float(sorted_scores[place - 1]) if place <= len(sorted_scores) else None


def coverage_on(
    interval: Interval, target_G: np.ndarray, prediction_G: np.ndarray, spread_G: np.ndarray
) -> dict[str, Any]:
    """What metrics.json states: the share of some labels inside, by nominal coverage, and widths.

    Crystals without a label (NaN) do not count.
    """
    rows = ~np.isnan(target_G)
    target_G, prediction_G, spread_G = target_G[rows], prediction_G[rows], spread_G[rows]
    inside, width = {}, {}
    for coverage in COVERAGES:
        if interval.quantiles[str(coverage)] is not None:
            low_G, high_G = interval.ends(prediction_G, spread_G, coverage)
            inside[str(coverage)] = float(((low_G <= target_G) & (target_G <= high_G)).mean())
            width[str(coverage)] = float(np.median(high_G - low_G))
    return {
        "validation_crystals": interval.validation_crystals,
        "test_crystals": len(target_G),
        "follow_the_spread": interval.floor is not None,
        "coverage": inside,
        "median_width": width,
    }


Intervals = dict[str, Interval]  # by target


def intervals_of(
    predictions_MGT: np.ndarray,
    targets_GT: np.ndarray,
    val_G: np.ndarray,
    targets: Sequence[Target],
) -> Intervals:
    """The intervals of M models from the validation crystals ``val_G`` [G] with a label."""
    mean_GT, spread_GT = predictions_MGT.mean(0), spread(predictions_MGT)
    found = {}
    for t, target in enumerate(targets):
        rows = val_G & ~np.isnan(targets_GT[:, t])
        values = (targets_GT[rows, t], mean_GT[rows, t], spread_GT[rows, t])
        found[target.name] = calibrated(*values, target.transform)
    return found


def weights_of(folders: Sequence[Path]) -> list[str]:
    """The sorted hashes of the weights of some model directories."""
    models = [read_json(folder / "model.json", "weights_sha256") for folder in folders]
    return sorted(model["weights_sha256"] for model in models)


def write_intervals(path: Path, sets: Sequence[tuple[Sequence[Path], Intervals]]) -> None:
    """Write the intervals of some sets of models."""
    entries = [
        {
            "weights_sha256": weights_of(folders),
            "targets": {name: asdict(interval) for name, interval in intervals.items()},
        }
        for folders, intervals in sets
    ]
    write_json(path, {"format_version": 1, "sets": entries})


def find_intervals(folders: Sequence[Path]) -> Intervals:
    """The intervals of just these models, from ``intervals.json``; empty if there is none.

    ``interval_files`` says where it is looked for. Raises DamagedFile.
    """
    weights = weights_of(folders)
    for path in interval_files(folders[0]):
        try:
            for entry in read_json(path, "sets")["sets"]:
                if entry["weights_sha256"] == weights:
                    return {name: Interval(**one) for name, one in entry["targets"].items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise DamagedFile(f"{path}: not what evaluate wrote ({error})") from None
    return {}
