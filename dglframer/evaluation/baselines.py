"""Three baselines: the training median, a linear model of the composition, and gradient boosting.

None sees a bond. The last is the one to beat.
"""

from typing import Any

import numpy as np

from dglframer.common.composition import PENALTIES
from dglframer.common.elements import MAX_Z
from dglframer.common.transforms import apply, undo
from dglframer.evaluation import boosting

WHAT = {
    "median_baseline": "the median of the training labels",
    "composition_baseline": "ridge regression on element fractions, penalty chosen on val",
    "boosting_baseline": boosting.WHAT,
}


def baseline_errors(
    features_GF: np.ndarray,
    target_G: np.ndarray,
    transform: str | None,
    parts: dict[str, np.ndarray],
) -> dict[str, dict[str, Any]]:
    """The test MAE of each baseline in the target's unit, by the baseline's key in metrics.json.

    They learn what the models learn, the transformed label. ``parts``: which crystals with a label are
    in train, val and test, each [G].
    """
    train, val, test = (parts[name] for name in ("train", "val", "test"))
    learned_G = apply(transform, target_G)
    fractions_G98 = features_GF[:, :MAX_Z]
    predictions = {
        "median_baseline": median_prediction(target_G[train], len(target_G)),
        "composition_baseline": undo(
            transform, composition_prediction(fractions_G98, learned_G, train, val)
        ),
        "boosting_baseline": undo(
            transform, boosting.boosting_prediction(features_GF, learned_G, train, val)
        ),
    }
    return {
        name: {
            "what": WHAT[name],
            "test_mae": float(np.abs(prediction_G - target_G)[test].mean()),
            "test_crystals": int(test.sum()),
        }
        for name, prediction_G in predictions.items()
    }


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
