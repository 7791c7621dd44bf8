"""The strong baseline: gradient boosting on the features of ``crystal_features``, in seconds.

It sees the composition and the volume of the cell, no bond. A network that does not beat it is not worth
its time.
"""

from typing import Any

import numpy as np

MIN_ROWS = 20  # of training: below, a tree has no second leaf
# Squared error, histogram bins; the number of trees is that of the least error on val.
SETTINGS: dict[str, Any] = {
    "learning_rate": 0.1,
    "max_iter": 1500,
    "max_leaf_nodes": 63,
    "n_iter_no_change": 50,
    "random_state": 0,
}
WHAT = (
    "scikit-learn's HistGradientBoostingRegressor (squared error, one thread, stopped on val, "
    + ", ".join(f"{key} {value}" for key, value in SETTINGS.items())
    + ") on element fractions, means, deviations, minima and maxima of element properties, number of "
    "elements, atoms in the cell, volume per atom, and the share of it that covalent spheres fill"
)


def boosting_prediction(
    features_GF: np.ndarray, targets_G: np.ndarray, train: np.ndarray, val: np.ndarray
) -> np.ndarray:
    """[G]: predictions of the boosting trained on the rows ``train`` [G], stopped on ``val`` [G].

    Both tell crystals with a label. One thread: the sums, and with them the trees, are always the same.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    smallest = min(MIN_ROWS, max(1, int(train.sum()) // MIN_ROWS))
    model = HistGradientBoostingRegressor(
        loss="squared_error", early_stopping=True, min_samples_leaf=smallest, **SETTINGS
    )
    # A column without a value, as the volume of molecules, has no histogram.
    x_GF = features_GF[:, ~np.isnan(features_GF[train]).all(0)]
    with threadpool_limits(limits=1):
        model.fit(x_GF[train], targets_G[train], X_val=x_GF[val], y_val=targets_G[val])
        prediction_G: np.ndarray = model.predict(x_GF)
    return prediction_G
