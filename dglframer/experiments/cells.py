"""Cells of the tables: means over seeds with their deviations."""

import math
from collections.abc import Sequence
from statistics import mean, stdev


def over_seeds(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and standard deviation; None if there is one value alone."""
    return mean(values), stdev(values) if len(values) > 1 else None


def with_error(value: float, error: float | None, digits: int) -> str:
    """The value with its error, like 0.0710 ± 0.0014; the value alone if there is no error."""
    text = f"{value:.{digits}f}"
    return text if error is None or math.isnan(error) else f"{text} ± {error:.{digits}f}"


def small(value: float) -> str:
    """A number with two digits."""
    return "0" if value == 0 else f"{value:.1e}"
