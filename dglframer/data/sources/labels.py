"""Label values as files write them: numbers, texts of numbers, and the words for "no value"."""

from typing import Any

import numpy as np

# JARVIS writes "na"; pandas, spreadsheets and databases the others. In any case of letters.
MISSING = frozenset(("", "-", "na", "n/a", "#n/a", "<na>", "nan", "null", "none"))


def number(value: Any) -> Any:
    """None for a missing value, the number that a text holds, else the value for validation.

    NaN, as a number or as a text, is a missing value.
    """
    if isinstance(value, str):
        text = value.strip()
        if text.lower() in MISSING:
            return None
        try:
            value = float(text)
        except ValueError:
            return text
    return None if isinstance(value, float | np.floating) and np.isnan(value) else value
