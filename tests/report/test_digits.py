"""Numbers with the digits that their error allows."""

import numpy as np
import pytest

from dglframer.report.digits import decimals_of, fixed, interval_of_mean, with_error


@pytest.mark.parametrize(
    ("error", "decimals"),
    [(0.0123, 3), (0.00098, 5), (0.1, 2), (1.0, 1), (34.0, 0), (5000.0, 0), (None, 4), (0.0, 4)],
)
def test_two_digits_of_the_error_are_shown(error: float | None, decimals: int) -> None:
    assert decimals_of(error) == decimals


def test_a_mean_has_the_digits_of_its_error() -> None:
    assert with_error(np.array([0.08, 0.1, 0.12])) == "0.100 ± 0.012"
    assert with_error(np.array([0.123456])) == "0.123"


def test_a_value_that_rounds_to_zero_has_no_sign() -> None:
    shown = [fixed(value, 2) for value in (-0.001, -1.5, float("nan"), None)]
    assert shown == ["0.00", "−1.50", "–", "–"]


def test_the_interval_of_a_mean_holds_it_as_often_as_it_says() -> None:
    """Means of 40 exponential numbers, of which 95 % of the intervals should hold 1."""
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(60):
        low, high = interval_of_mean(rng.exponential(size=40))
        inside += low < 1 < high
    assert 50 <= inside <= 60


def test_many_values_have_the_normal_interval() -> None:
    values = np.random.default_rng(0).exponential(size=20_000)
    low, high = interval_of_mean(values)
    assert high - low == pytest.approx(2 * 1.96 / 20_000**0.5, rel=0.05)
    assert low < values.mean() < high
