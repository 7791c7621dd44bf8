"""Two baselines that see no structure: the training median, and a model of the composition."""

import numpy as np

from dglframer.common.elements import MAX_Z

PENALTIES = tuple(10.0**power for power in range(-4, 3))  # of the ridge regression


def element_fractions(numbers: list[np.ndarray]) -> np.ndarray:
    """[G, 98]: the fraction of each element in each crystal."""
    rows = [np.bincount(numbers_N, minlength=MAX_Z + 1) / len(numbers_N) for numbers_N in numbers]
    return np.array(rows)[:, 1:]


def median_prediction(train_G: np.ndarray, count: int) -> np.ndarray:
    """The training median, ``count`` times."""
    return np.full(count, np.median(train_G))


def composition_prediction(
    fractions_G98: np.ndarray, targets_G: np.ndarray, train: np.ndarray, val: np.ndarray
) -> np.ndarray:
    """[G]: ridge regression on element fractions, with the penalty of minimal validation MAE.

    ``train`` and ``val`` [G] tell the crystals of both that have a label.
    """
    mean = targets_G[train].mean()
    x_train = fractions_G98[train]
    best: tuple[float, np.ndarray] | None = None
    for penalty in PENALTIES:
        gram = x_train.T @ x_train + penalty * np.eye(MAX_Z)
        weights_98 = np.linalg.solve(gram, x_train.T @ (targets_G[train] - mean))
        prediction_G = fractions_G98 @ weights_98 + mean
        error = float(np.abs(prediction_G - targets_G)[val].mean())
        if best is None or error < best[0]:
            best = error, prediction_G
    assert best is not None
    return best[1]
