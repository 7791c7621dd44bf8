"""Functions of a label that a network learns in its place: of moduli, for one, the logarithm.

Labels, predictions, errors and plots are in the user's unit; statistics and the loss are of ``apply(label)``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np

TransformName = Literal["log10"]
Values = TypeVar("Values")  # an array or a tensor


@dataclass(frozen=True)
class Transform:
    """A rising function of labels, its inverse, and where it is defined."""

    apply: Callable[[np.ndarray], np.ndarray]
    inverse: Callable[[Any], Any]
    defined: Callable[[np.ndarray], np.ndarray]  # whether a label has a value; also for NaN
    slope: Callable[[np.ndarray], np.ndarray]  # of ``apply``
    needs: str  # what a label must be, in words


TRANSFORMS: dict[str, Transform] = {
    "log10": Transform(
        np.log10,
        lambda x: 10.0**x,
        lambda x: x > 0,
        lambda x: 1 / (x * math.log(10)),
        "a positive number",
    ),
}


def apply(name: str | None, labels: np.ndarray) -> np.ndarray:
    """The labels as they are learned, NaN where the transform is not defined; None changes nothing."""
    if name is None:
        return labels
    transform = TRANSFORMS[name]
    values = np.full(labels.shape, np.nan)
    defined = transform.defined(labels)
    values[defined] = transform.apply(labels[defined])
    return values


def undo(name: str | None, values: Values) -> Values:
    """Labels, in the user's unit, of values as they are learned."""
    if name is None:
        return values
    labels: Values = TRANSFORMS[name].inverse(values)
    return labels


def slope(name: str | None, labels: np.ndarray) -> np.ndarray:
    """How much what is learned changes with a label, at some labels."""
    return np.ones_like(labels) if name is None else TRANSFORMS[name].slope(labels)
