"""Numbers with the digits that their error allows, and the interval of a mean error."""

import math

import numpy as np

RESAMPLES = 4000
MANY = 5000  # from here on the mean of the errors is normally distributed to all digits shown
INTERVAL = (0.025, 0.975)


def decimals_of(error: float | None, usual: int = 4) -> int:
    """The decimals that show two significant digits of an error; ``usual`` for none, zero and NaN."""
    if error is None or not math.isfinite(error) or error <= 0:
        return usual
    return max(0, min(8, 1 - math.floor(math.log10(error))))


def fixed(value: float | None, decimals: int) -> str:
    """A value with so many decimals and a true minus; a dash for None and NaN."""
    if value is None or value != value:
        return "–"
    text = f"{value:.{decimals}f}"
    return f"{0:.{decimals}f}" if float(text) == 0 else text.replace("-", "−")


def standard_error(values_G: np.ndarray) -> float | None:
    """Of the mean of some values; None for fewer than two."""
    return float(values_G.std(ddof=1) / len(values_G) ** 0.5) if len(values_G) > 1 else None


def with_error(values_G: np.ndarray) -> str:
    """Mean ± standard error, both with the digits of the error; a single value with three digits."""
    error, mean = standard_error(values_G), float(values_G.mean())
    if error is None:
        return fixed(mean, decimals_of(abs(mean) / 10))
    decimals = decimals_of(error)
    return f"{fixed(mean, decimals)} ± {fixed(error, decimals)}"


def interval_of_mean(values_G: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of the mean, from means of resampled values (bootstrap, percentiles).

    Mean absolute errors of few crystals are skewed, which a standard error hides. It is
    the same for equal values. Of many values it is the normal one.
    """
    mean, count = float(values_G.mean()), len(values_G)
    if count >= MANY:
        half = 1.96 * (standard_error(values_G) or 0.0)
        return mean - half, mean + half
    rng = np.random.default_rng(0)
    means = [values_G[rng.integers(0, count, count)].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, INTERVAL)
    return float(low), float(high)
