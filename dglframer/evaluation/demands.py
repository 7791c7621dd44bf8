"""What the user demands of predictions: a coverage of intervals, a limit of their width, known elements."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from dglframer.common.errors import UserError
from dglframer.evaluation.ensemble import Ensemble
from dglframer.evaluation.intervals import COVERAGES, USUAL, Intervals
from dglframer.evaluation.prediction_rows import Row


class Demands(NamedTuple):
    """Settings of the command line and of the Python interface."""

    abstain_above: float | None = None  # no prediction where the interval is wider (target's unit)
    strict: bool = False  # what has a warning is an error
    coverage: float = USUAL  # of the intervals


NO_DEMANDS = Demands()


def check_demands(demands: Demands, ensemble: Ensemble, intervals: Intervals) -> None:
    """Raise UserError for another coverage, if there is nothing to abstain by, or not one unit for it."""
    if demands.coverage not in COVERAGES:
        raise UserError(
            f"coverage: one of {', '.join(map(str, COVERAGES))}, not {demands.coverage}"
        )
    if demands.abstain_above is None:
        return
    if len(ensemble.targets) > 1:
        raise UserError("abstain_above: it takes models of one property, these predict several")
    if not intervals and len(ensemble.models) < 2:
        raise UserError(
            "abstain_above: a single model has no spread, and there is no intervals.json beside it; "
            "give several models, or evaluate this one"
        )


def finished(
    rows: Iterable[Row], demands: Demands, intervals: Intervals, counts: Counter[str]
) -> Iterator[Row]:
    """The rows with ``low``, ``high`` and ``abstained``; ``counts`` errors, warnings and the like.

    A row abstains if its interval is wider than ``abstain_above``, or where there are no intervals if its
    spread is larger. It has no prediction then.
    """
    for row in rows:
        if demands.strict and row["warning"] and not row["error"]:
            row |= {"error": row["warning"], "prediction": None, "spread": None}
        row["low"], row["high"] = ends(row, intervals, demands.coverage)
        width = row["spread"]
        if intervals:
            width = None if row["low"] is None else row["high"] - row["low"]
        limit = demands.abstain_above
        row["abstained"] = limit is not None and width is not None and width > limit
        if row["abstained"]:
            row["prediction"] = None
        counts["rows"] += 1
        counts["errors"] += row["error"] is not None
        counts["abstained"] += row["abstained"]
        counts["warnings"] += row["warning"] is not None
        yield row


def ends(row: Row, intervals: Intervals, coverage: float) -> tuple[float | None, float | None]:
    """The interval of a row; None without a prediction or without intervals."""
    interval = intervals.get(row["property"])
    if row["prediction"] is None or interval is None:
        return None, None
    spread = math.nan if row["spread"] is None else row["spread"]
    low, high = interval.ends(np.array(row["prediction"]), np.array(spread), coverage)
    return (None, None) if np.isnan(low) else (float(low), float(high))
