"""The composition of crystals as numbers: how much of each element is in them."""

from collections.abc import Sequence

import numpy as np

from dglframer.common.elements import MAX_Z, SYMBOLS

Slopes = dict[str, float]  # of a linear model of the composition, by the element's symbol
PENALTIES = tuple(10.0**power for power in range(-4, 3))  # of ridge regressions


def atoms_of_elements(numbers: Sequence[np.ndarray]) -> np.ndarray:
    """[G, 98]: the atoms of each element in each crystal; ``numbers``: atomic numbers of each."""
    rows = [np.bincount(numbers_N, minlength=MAX_Z + 1) for numbers_N in numbers]
    return np.array(rows, dtype=np.float64).reshape(-1, MAX_Z + 1)[:, 1:]


def element_fractions(numbers: Sequence[np.ndarray]) -> np.ndarray:
    """[G, 98]: the fraction of each element in each crystal."""
    atoms_G98 = atoms_of_elements(numbers)
    return atoms_G98 / atoms_G98.sum(1, keepdims=True)


def pooled_elements(numbers: Sequence[np.ndarray], pooling: str) -> np.ndarray:
    """[G, 98]: the elements as a network sees them that pools its atoms so.

    Their fractions, or for ``sum``, with which a property grows with the cell, the atoms of each.
    """
    return atoms_of_elements(numbers) if pooling == "sum" else element_fractions(numbers)


def linear_values(
    numbers: Sequence[np.ndarray], slopes_T: Sequence[Slopes | None], pooling: str
) -> np.ndarray | None:
    """[G, T]: linear models of the composition without their intercepts; 0 where there is none.

    An element without a slope adds nothing. None if no target has a model.
    """
    if all(slopes is None for slopes in slopes_T):
        return None
    columns = [[(slopes or {}).get(symbol, 0.0) for symbol in SYMBOLS] for slopes in slopes_T]
    return pooled_elements(numbers, pooling) @ np.array(columns).T
