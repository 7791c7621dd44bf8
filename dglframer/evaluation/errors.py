"""The errors of a target: of the ensemble, its members and the baselines, as metrics.json has them."""

from typing import Any

import numpy as np

from dglframer.common.transforms import apply
from dglframer.data.split import SPLITS
from dglframer.evaluation.baselines import baseline_errors
from dglframer.evaluation.intervals import USUAL
from dglframer.networks.model_directory import Target


def summary(name: str, metrics: dict[str, Any]) -> str:
    """The line for a person: the test error of a target beside those of the baselines."""
    mae = metrics["splits"]["test"]["mae"]
    boosting, median = (metrics[f"{key}_baseline"]["test_mae"] for key in ("boosting", "median"))
    unit = f" {metrics['unit']}" if metrics["unit"] else ""
    line = f"{name}: test MAE {mae:.4f}{unit}, gradient boosting {boosting:.4f}"
    line += f", training median {median:.4f}"
    return line if mae < boosting else f"{line} (the network does not beat gradient boosting)"


def interval_summary(name: str, metrics: dict[str, Any]) -> str:
    """The line for a person: how many test labels the intervals of the usual coverage hold."""
    found = metrics["intervals"]
    if str(USUAL) not in found["coverage"]:
        return (
            f"{name}: no intervals, {found['validation_crystals']} validation crystals are too few"
        )
    unit = f" {metrics['unit']}" if metrics["unit"] else ""
    return (
        f"{name}: intervals of {USUAL:.0%} hold {found['coverage'][str(USUAL)]:.0%} of "
        f"{found['test_crystals']} test labels, median width {found['median_width'][str(USUAL)]:.4f}{unit}"
    )


def target_metrics(
    target_G: np.ndarray,
    predictions_MG: np.ndarray,
    splits_G: np.ndarray,
    features_GF: np.ndarray,
    target: Target,
    labels: list[str],
) -> dict[str, Any]:
    """Errors of the ensemble, of each seed (``labels``) and of the baselines over a target's known labels.

    They are in the target's unit.
    """
    parts = {name: (splits_G == name) & ~np.isnan(target_G) for name in SPLITS}
    test = parts["test"]
    ensemble_G = predictions_MG.mean(0)
    baselines = baseline_errors(features_GF, target_G, target.transform, parts)

    def test_mae(prediction_G: np.ndarray) -> float:
        return float(np.abs(prediction_G - target_G)[test].mean())

    return {
        "unit": target.unit,
        "transform": target.transform,
        "reference": "composition" if target.composition is not None else None,
        "splits": {
            name: errors(target_G[part_G], ensemble_G[part_G]) for name, part_G in parts.items()
        },
        "test_crystals": int(test.sum()),
        "test_mae_by_seed": {
            label: test_mae(row) for label, row in zip(labels, predictions_MG, strict=True)
        },
        **baselines,
        "test_mae_over_median": test_mae(ensemble_G) / baselines["median_baseline"]["test_mae"],
        **transformed_error(target.transform, target_G[test], ensemble_G[test]),
    }


def transformed_error(
    transform: str | None, target_G: np.ndarray, prediction_G: np.ndarray
) -> dict[str, float]:
    """The MAE of what is learned, which other programs state for moduli; empty without a transform."""
    if transform is None:
        return {}
    residual_G = apply(transform, prediction_G) - apply(transform, target_G)
    return {"transformed_test_mae": float(np.abs(residual_G).mean())}


def errors(target_G: np.ndarray, prediction_G: np.ndarray) -> dict[str, float | int]:
    """Count, MAE, RMSE (in the target's unit) and R^2."""
    residual_G = prediction_G - target_G
    variance = float(((target_G - target_G.mean()) ** 2).sum())
    return {
        "crystals": len(target_G),
        "mae": float(np.abs(residual_G).mean()),
        "rmse": float(np.sqrt((residual_G**2).mean())),
        "r2": 1 - float((residual_G**2).sum()) / variance if variance else 0.0,
    }
