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
from dglframer.common.progress import tracked
from dglframer.config.networks import symmetry_group
from dglframer.data.split import SPLITS, read_split
from dglframer.evaluation.crystal_features import crystal_features
from dglframer.evaluation.errors import target_metrics
from dglframer.evaluation.intervals import (
    Intervals,
    coverage_on,
    intervals_of,
    write_intervals,
)
from dglframer.evaluation.known_elements import (
    errors_by_elements,
    known_to,
    unknown_elements,
)
from dglframer.evaluation.nearest import nearest_table
from dglframer.evaluation.spread import spread
from dglframer.graphs.dataset import GraphDataset
from dglframer.networks.inference import predict_and_embed
from dglframer.networks.model_directory import INTERVALS, TrainedModel, load_model

log = logging.getLogger(__name__)


def evaluate(
    graphs: Path, split: Path, model_folders: Sequence[Path], folder: Path, device: torch.device
) -> dict[str, Any]:
    """Predict every crystal with every model, write the files to ``folder``, return the metrics.

    The files: predictions.parquet, nearest.parquet, metrics.json and intervals.json.

    Raises UserError if a model does not fit the graphs, or if a target has no label in a split.
    """
    models = [load_model(path, str(device)) for path in model_folders]
    parts = read_split(split)
    ids = [id for name in SPLITS for id in parts[name]]
    splits_G = np.array([name for name in SPLITS for _ in parts[name]])
    dataset = GraphDataset(graphs, ids, symmetry_group(models[0].network.settings))
    check_same_data(models, model_folders, dataset)
    check_labels(dataset, splits_G)
    compositions = dataset.compositions()
    parts_MGT, first_GW = [], None
    for model in tracked(models, "models", len(models)):
        output_GT, vectors_GW = predict_and_embed(
            model.network, dataset, device, embed=first_GW is None
        )
        first_GW = vectors_GW if first_GW is None else first_GW
        parts_MGT.append(model.denormalise(torch.from_numpy(output_GT), compositions).numpy())
    predictions_MGT = np.stack(parts_MGT)
    assert first_GW is not None
    write_parquet(folder / "nearest.parquet", nearest_table(ids, splits_G, first_GW))
    seeds: list[int | None] = [model.history.get("seed") for model in models]
    labels = seed_labels(seeds)
    targets_GT = np.asarray(dataset.targets[dataset.rows])
    units = dataset.manifest["targets"]
    val_G, test_G = splits_G == "val", splits_G == "test"
    intervals = intervals_of(predictions_MGT, targets_GT, val_G, models[0].targets)
    alone = [
        ([path], intervals_of(one_GT[None], targets_GT, val_G, models[0].targets))
        for path, one_GT in zip(model_folders, predictions_MGT, strict=True)
    ]
    write_intervals(folder / INTERVALS, [(model_folders, intervals), *alone])
    table = predictions_table(ids, splits_G, units, targets_GT, predictions_MGT, labels)
    write_parquet(folder / "predictions.parquet", with_intervals(table, intervals))
    features_GF = crystal_features(compositions, dataset.lattices())
    known = known_to(models)
    unknown_G = np.array([bool(unknown_elements(one, known)) for one in compositions])
    mean_GT, spread_GT = predictions_MGT.mean(0), spread(predictions_MGT)
    metrics = {
        "models": [str(path) for path in model_folders],
        "seeds": seeds,
        "training_elements": None if known is None else len(known),
        "parameters": models[0].network.parameter_count(),
        "targets": {
            target.name: target_metrics(
                targets_GT[:, t], predictions_MGT[:, :, t], splits_G, features_GF, target, labels
            )
            | {
                "by_elements": errors_by_elements(
                    targets_GT[test_G, t], mean_GT[test_G, t], unknown_G[test_G]
                ),
                "intervals": coverage_on(
                    intervals[target.name],
                    targets_GT[test_G, t],
                    mean_GT[test_G, t],
                    spread_GT[test_G, t],
                ),
            }
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


def seed_labels(seeds: list[int | None]) -> list[str]:
    """The seed of each model; of models of one seed, which differ in their settings, numbered: 1, 1_2."""
    labels = []
    for place, seed in enumerate(seeds):
        before = seeds[:place].count(seed)
        labels.append(f"{seed}_{before + 1}" if before else str(seed))
    return labels


def predictions_table(
    ids: list[str],
    splits_G: np.ndarray,
    units: dict[str, str],
    targets_GT: np.ndarray,
    predictions_MGT: np.ndarray,
    labels: list[str],
) -> pa.Table:
    """A row for each crystal and property: target, prediction of each seed, their mean and spread.

    The target is null where the crystal has no label (NaN in ``targets_GT``).

    ``predictions_MGT``: of M models for G crystals and T targets, in the targets' units; ``labels``: theirs.
    """
    n_targets = len(units)
    columns: dict[str, Any] = {
        "id": np.repeat(np.array(ids, dtype=object), n_targets),
        "split": np.repeat(splits_G.astype(object), n_targets),
        "property": list(units) * len(ids),
        "unit": list(units.values()) * len(ids),
        "target": pa.array(targets_GT.ravel(), from_pandas=True),
    }
    for label, predictions_GT in zip(labels, predictions_MGT, strict=True):
        columns[f"prediction_seed_{label}"] = predictions_GT.ravel()
    columns["prediction"] = predictions_MGT.mean(0).ravel()
    columns["spread"] = spread(predictions_MGT).ravel()
    return pa.table(columns)


def with_intervals(table: pa.Table, intervals: Intervals) -> pa.Table:
    """The table of predictions with the columns ``low`` and ``high`` of the usual coverage."""
    names = np.array(table["property"].to_pylist())
    prediction, spread = table["prediction"].to_numpy(), table["spread"].to_numpy()
    low, high = np.full(len(table), np.nan), np.full(len(table), np.nan)
    for name, interval in intervals.items():
        rows = names == name
        low[rows], high[rows] = interval.ends(prediction[rows], spread[rows])
    for name, values in (("low", low), ("high", high)):
        table = table.append_column(name, pa.array(values, from_pandas=True))
    return table
