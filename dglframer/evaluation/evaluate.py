"""Evaluation of an ensemble on every split: predictions.parquet and metrics.json."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from dglframer.common.errors import UserError
from dglframer.common.files import write_json
from dglframer.common.parquet import write_parquet
from dglframer.common.transforms import apply, undo
from dglframer.data.split import SPLITS, read_split
from dglframer.evaluation.baselines import (
    composition_prediction,
    element_fractions,
    median_prediction,
)
from dglframer.evaluation.spread import spread
from dglframer.graphs.dataset import GraphDataset
from dglframer.networks.inference import predict
from dglframer.networks.model_directory import Target, TrainedModel, load_model

log = logging.getLogger(__name__)


def evaluate(
    graphs: Path, split: Path, model_folders: Sequence[Path], folder: Path, device: torch.device
) -> dict[str, Any]:
    """Predict every crystal with every model, write both files to ``folder``, return the metrics.

    Raises UserError if a model does not fit the graphs, or if a target has no label in a split.
    """
    models = [load_model(path, str(device)) for path in model_folders]
    parts = read_split(split)
    ids = [id for name in SPLITS for id in parts[name]]
    splits_G = np.array([name for name in SPLITS for _ in parts[name]])
    dataset = GraphDataset(graphs, ids)
    check_same_data(models, model_folders, dataset)
    check_labels(dataset, splits_G)
    predictions_MGT = np.stack(
        [
            model.denormalise(torch.from_numpy(predict(model.network, dataset, device))).numpy()
            for model in models
        ]
    )
    seeds: list[int | None] = [model.history.get("seed") for model in models]
    targets_GT = np.asarray(dataset.targets[dataset.rows])
    units = dataset.manifest["targets"]
    write_parquet(
        folder / "predictions.parquet",
        predictions_table(ids, splits_G, units, targets_GT, predictions_MGT, seeds),
    )
    fractions_G98 = element_fractions(dataset.compositions())
    metrics = {
        "models": [str(path) for path in model_folders],
        "seeds": seeds,
        "parameters": models[0].network.parameter_count(),
        "targets": {
            target.name: target_metrics(
                targets_GT[:, t], predictions_MGT[:, :, t], splits_G, fractions_G98, target, seeds
            )
            for t, target in enumerate(models[0].targets)
        },
    }
    write_json(folder / "metrics.json", metrics)
    return metrics


def check_same_data(
    models: Sequence[TrainedModel], folders: Sequence[Path], dataset: GraphDataset
) -> None:
    """Raise UserError if a model has other targets or another cutoff than the graphs."""
    names = list(dataset.manifest["targets"])
    cutoff = dataset.manifest["cutoff_angstrom"]
    for model, folder in zip(models, folders, strict=True):
        if [target.name for target in model.targets] != names or model.cutoff != cutoff:
            raise UserError(
                f"{folder} predicts {[target.name for target in model.targets]} at a cutoff of "
                f"{model.cutoff}; the graphs hold {names} at {cutoff}"
            )


def check_labels(dataset: GraphDataset, splits_G: np.ndarray) -> None:
    """Raise UserError if a target has no label in one of the splits."""
    for name, known_G in zip(dataset.manifest["targets"], dataset.known().T, strict=True):
        for split in SPLITS:
            if not known_G[splits_G == split].any():
                raise UserError(f"no crystal of the {split} split has a label {name}")


def predictions_table(
    ids: list[str],
    splits_G: np.ndarray,
    units: dict[str, str],
    targets_GT: np.ndarray,
    predictions_MGT: np.ndarray,
    seeds: list[int | None],
) -> pa.Table:
    """A row for each crystal and property: target, prediction of each seed, their mean and spread.

    The target is null where the crystal has no label (NaN in ``targets_GT``).

    ``predictions_MGT``: of M models for G crystals and T targets, in the targets' units.
    """
    n_targets = len(units)
    columns: dict[str, Any] = {
        "id": np.repeat(np.array(ids, dtype=object), n_targets),
        "split": np.repeat(splits_G.astype(object), n_targets),
        "property": list(units) * len(ids),
        "unit": list(units.values()) * len(ids),
        "target": pa.array(targets_GT.ravel(), from_pandas=True),
    }
    for seed, predictions_GT in zip(seeds, predictions_MGT, strict=True):
        columns[f"prediction_seed_{seed}"] = predictions_GT.ravel()
    columns["prediction"] = predictions_MGT.mean(0).ravel()
    columns["spread"] = spread(predictions_MGT).ravel()
    return pa.table(columns)


def target_metrics(
    target_G: np.ndarray,
    predictions_MG: np.ndarray,
    splits_G: np.ndarray,
    fractions_G98: np.ndarray,
    target: Target,
    seeds: list[int | None],
) -> dict[str, Any]:
    """Errors of the ensemble, of each seed and of the two baselines over the known labels of a target.

    They are in the target's unit; baselines learn what the models learn, the transformed labels.
    """
    parts = {name: (splits_G == name) & ~np.isnan(target_G) for name in SPLITS}
    train, val, test = parts.values()
    count = int(test.sum())
    ensemble_G = predictions_MG.mean(0)
    learned_G = apply(target.transform, target_G)
    composition_G = composition_prediction(fractions_G98, learned_G, train, val)
    composition_G = undo(target.transform, composition_G)
    median_G = median_prediction(target_G[train], len(target_G))

    def test_mae(prediction_G: np.ndarray) -> float:
        return float(np.abs(prediction_G - target_G)[test].mean())

    return {
        "unit": target.unit,
        "transform": target.transform,
        "splits": {
            name: errors(target_G[part_G], ensemble_G[part_G]) for name, part_G in parts.items()
        },
        "test_crystals": count,
        "test_mae_by_seed": {
            str(seed): test_mae(row) for seed, row in zip(seeds, predictions_MG, strict=True)
        },
        "median_baseline": {"test_mae": test_mae(median_G), "test_crystals": count},
        "composition_baseline": {
            "what": "ridge regression on element fractions, penalty chosen on val",
            "test_mae": test_mae(composition_G),
            "test_crystals": count,
        },
        "test_mae_over_median": test_mae(ensemble_G) / test_mae(median_G),
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
