"""The data of the report's interactive plots: points, structures and neighbours, bounded in size."""

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dglframer.common.elements import SYMBOLS
from dglframer.data.split import SPLITS
from dglframer.report.results import formula
from dglframer.report.run_files import ReportData
from dglframer.report.scenes import scene

SHOWN = {"train": 500, "val": 500, "test": 1000}  # points of each split
STRUCTURE_BYTES = 500_000  # of the structures on the page


def interactive(run: ReportData, every: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What report.js reads; ``every``: the results of each property.

    Of more crystals than SHOWN the page has some: of test the larger half by error,
    the others evenly by id. Structures: the worst predictions and their neighbours first, then test
    crystals by error until STRUCTURE_BYTES are full.
    """
    by_error = test_by_error(run)
    ids = [id for split in SPLITS for id in some_of(run, split, by_error)]
    points = len(ids)
    worst = [row["id"] for one in every for row in one["worst"]]
    near = [id for row in worst for id, _ in run.nearest.get(row, [])]
    ids += [id for id in dict.fromkeys([*worst, *near]) if id not in set(ids)]
    structures, left = {}, STRUCTURE_BYTES
    shown = set(ids)
    for k, id in enumerate(dict.fromkeys([*worst, *near, *(id for id in by_error if id in shown)])):
        one = scene(*run.structures[id])
        left -= len(json.dumps(one, separators=(",", ":")))
        if left < 0 and k >= len(worst):
            break
        structures[id] = one
    kinds = [np.unique(run.structures[id][0]).tolist() for id in ids]
    places = {id: k for k, id in enumerate(ids)}
    return {
        "crystals": {
            "points": points,
            "id": ids,
            "formula": [formula(run.structures[id][0]) for id in ids],
            "elements": [" ".join(SYMBOLS[z - 1] for z in one) for one in kinds],
            "split": [run.split[id] for id in ids],
            "atoms": [len(run.structures[id][0]) for id in ids],
        },
        "targets": [values(run, one, ids) for one in every],
        "structures": structures,
        "nearest": {
            places[id]: [(n, formula(run.structures[n][0]), round(d, 2)) for n, d in found]
            for id, found in run.nearest.items()
            if id in places
        },
    }


def test_by_error(run: ReportData) -> list[str]:
    """The ids of the test crystals, the largest error first (of any property, in units of its MAE)."""
    largest: dict[str, float] = {}
    for of in run.predictions.values():
        test = of.split == "test"
        scaled = np.abs(of.error[test]) / (np.abs(of.error[test]).mean() or 1.0)
        for id, value in zip(of.ids[test].tolist(), scaled.tolist(), strict=True):
            largest[id] = max(value, largest.get(id, 0.0))
    return sorted(largest, key=lambda id: (-largest[id], id))


def some_of(run: ReportData, split: str, by_error: Sequence[str]) -> list[str]:
    """At most SHOWN ids of a split, in order."""
    ids = sorted(id for id, part in run.split.items() if part == split)
    limit = SHOWN[split]
    if len(ids) <= limit:
        return ids
    first = set(by_error[: limit // 2]) if split == "test" else set()
    rest = [id for id in ids if id not in first]
    evenly = np.linspace(0, len(rest) - 1, limit - len(first)).round().astype(int)
    return sorted([*first, *(rest[k] for k in evenly)])


def values(run: ReportData, one: dict[str, Any], ids: Sequence[str]) -> dict[str, Any]:
    """The numbers of one property for some ids, with a digit more than their error allows."""
    of = run.predictions[one["name"]]
    row_of = {id: row for row, id in enumerate(of.ids.tolist())}
    rows = [row_of.get(id) for id in ids]
    decimals = one["label_decimals"]

    def column(values_G: np.ndarray) -> list[float | None]:
        found = (None if row is None else float(values_G[row]) for row in rows)
        return [
            None if x is None or not math.isfinite(x) else round(x, decimals + 1) for x in found
        ]

    numbers = {key: column(getattr(of, key)) for key in ("target", "prediction", "low", "high")}
    return {"name": one["name"], "unit": one["unit"], "decimals": decimals, **numbers}
