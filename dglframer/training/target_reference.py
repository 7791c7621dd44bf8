"""A linear model of the composition for a target, whose rest the network learns.

A ridge regression of the target, as it is learned, on the elements of the crystals as the network pools
them: their fractions, or their numbers of atoms for a sum. Its slopes follow from the training crystals
that have a label, its penalty from those for validation. The slope of an element that no such training
crystal has is 0.
"""

from collections.abc import Sequence

import numpy as np

from dglframer.common.composition import PENALTIES, Slopes, linear_values, pooled_elements
from dglframer.common.elements import SYMBOLS
from dglframer.config.data import ReferenceName
from dglframer.graphs.dataset import GraphDataset
from dglframer.networks.model_directory import TrainedModel
from dglframer.training.distributed import Processes

# Of the sum of all squares: a direction along which the elements vary less has no slope.
LEAST_VARIANCE = 1e-12


def fitted_references(
    references: Sequence[ReferenceName | None],
    train_set: GraphDataset,
    val_set: GraphDataset,
    pooling: str,
    processes: Processes,
) -> tuple[Slopes | None, ...]:
    """The slopes of each target, None for one without a reference.

    ``processes``: those whose crystals are counted together, if each has the crystals of its own shards.
    """
    if not any(references):
        return tuple(None for _ in references)
    sets = (train_set, val_set)
    elements = [pooled_elements(one.compositions(), pooling) for one in sets]
    values = [one.targets[one.rows] for one in sets]
    fitted: list[Slopes | None] = []
    for t, reference in enumerate(references):
        if reference is None:
            fitted.append(None)
            continue
        known = [one.known()[:, t] for one in sets]
        train, val = (
            (x_G98[known_G], y_GT[known_G, t])
            for x_G98, y_GT, known_G in zip(elements, values, known, strict=True)
        )
        seen_98 = processes.sum_of((train[0] > 0).sum(0)) > 0
        slopes_98 = ridge(train, val, processes)
        fitted.append({SYMBOLS[z]: float(slopes_98[z]) for z in np.flatnonzero(seen_98)})
    return tuple(fitted)


def reference_values(
    dataset: GraphDataset, slopes_T: Sequence[Slopes | None], pooling: str
) -> np.ndarray | None:
    """[G, T]: the references of the crystals of a dataset; None if no target has one."""
    if all(slopes is None for slopes in slopes_T):  # compositions of many crystals take their time
        return None
    return linear_values(dataset.compositions(), slopes_T, pooling)


def without_references(
    dataset: GraphDataset, slopes_T: Sequence[Slopes | None], pooling: str
) -> GraphDataset:
    """The dataset with what the references leave of each target, in its place."""
    reference_GT = reference_values(dataset, slopes_T, pooling)
    return dataset if reference_GT is None else dataset.less(reference_GT)


def references_of(model: TrainedModel) -> list[str | None]:
    """The reference of each target, as ``dataset.target_references`` names it."""
    return [None if one.composition is None else "composition" for one in model.targets]


def ridge(
    train: tuple[np.ndarray, np.ndarray],
    val: tuple[np.ndarray, np.ndarray],
    processes: Processes,
) -> np.ndarray:
    """[98]: the slopes, with the penalty of the least mean absolute error on ``val``, which may be 0.

    ``train``, ``val``: elements [G, 98] and values [G]. Other than in the baseline of the evaluation, the
    intercept has no penalty: so an element that is not known counts like an average one, and values may
    grow with the cell.
    """
    count = processes.sum_of(len(train[1]))
    x_mean_98, y_mean = (processes.sum_of(one.sum(0)) / count for one in train)
    x_G98, y_G = train[0] - x_mean_98, train[1] - y_mean
    variances, directions = np.linalg.eigh(processes.sum_of(x_G98.T @ x_G98))
    products = directions.T @ processes.sum_of(x_G98.T @ y_G)
    kept = variances > LEAST_VARIANCE * processes.sum_of((train[0] ** 2).sum())
    found = []
    for penalty in (0.0, *PENALTIES):
        slopes_98 = directions[:, kept] @ (products[kept] / (variances[kept] + penalty))
        residual_G = (val[0] - x_mean_98) @ slopes_98 + y_mean - val[1]
        error = float(processes.sum_of(np.abs(residual_G).sum()))
        found.append((error, penalty, slopes_98))
    return min(found, key=lambda one: one[:2])[2]
