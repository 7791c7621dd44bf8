"""Crystals with elements that no training crystal had: there a network has learned nothing of them."""

from collections.abc import Sequence

import numpy as np

from dglframer.common.elements import SYMBOLS
from dglframer.networks.model_directory import TrainedModel


def known_to(models: Sequence[TrainedModel]) -> frozenset[str] | None:
    """The elements that every model was trained on; None if none says which (formats before 4)."""
    stated = [set(model.training_elements) for model in models if model.training_elements]
    return frozenset.intersection(*map(frozenset, stated)) if stated else None


def unknown_elements(numbers_N: np.ndarray, known: frozenset[str] | None) -> list[str]:
    """The symbols in a crystal that are not known, by atomic number; none if nothing is stated."""
    if known is None:
        return []
    symbols = [SYMBOLS[z - 1] for z in np.unique(numbers_N)]
    return [symbol for symbol in symbols if symbol not in known]


def warning(symbols: Sequence[str]) -> str | None:
    """The words of the column ``warning``."""
    return f"not in the training crystals: {', '.join(symbols)}" if symbols else None


def errors_by_elements(
    target_G: np.ndarray, prediction_G: np.ndarray, unknown_G: np.ndarray
) -> dict[str, dict[str, float | int | None]]:
    """Count and MAE of crystals with elements of the training crystals alone, and of the others.

    Crystals without a label (NaN) do not count.
    """
    error_G = np.abs(prediction_G - target_G)
    labelled_G = ~np.isnan(target_G)
    parts = {"known": labelled_G & ~unknown_G, "unknown": labelled_G & unknown_G}
    return {
        name: {
            "crystals": int(rows.sum()),
            "mae": float(error_G[rows].mean()) if rows.any() else None,
        }
        for name, rows in parts.items()
    }
