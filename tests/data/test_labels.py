"""One set of words for a missing value, in every source."""

import numpy as np
import pytest

from dglframer.data.sources.labels import number


@pytest.mark.parametrize(
    "value",
    [None, "", "  ", "na", "NA", "N/A", "n/a", "nan", "NaN", "null", "None", "-", "<NA>", "#N/A"]
    + [float("nan"), np.float32("nan")],
)
def test_missing_values(value):
    assert number(value) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [(" 1.5 ", 1.5), ("-3e-2", -0.03), ("0", 0.0), (2, 2), (0, 0), (1.5, 1.5), (True, True)]
    + [("inf", float("inf")), (" wide ", "wide"), ("1,5", "1,5"), ("--", "--"), ([1], [1])],
)
def test_other_values_are_numbers_or_themselves(value, expected):
    found = number(value)
    assert found == expected and type(found) is type(expected)
