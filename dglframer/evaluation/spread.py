"""How far the members of an ensemble are apart."""

import numpy as np


def spread(predictions_MGT: np.ndarray) -> np.ndarray:
    """Sample standard deviation over the models, [G, T]; NaN for a single model."""
    if len(predictions_MGT) == 1:
        return np.full(predictions_MGT.shape[1:], np.nan)
    return predictions_MGT.std(0, ddof=1)
