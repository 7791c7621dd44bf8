"""The training crystals that a model sees as most like each test crystal: nearest.parquet."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from dglframer.common.parquet import read_parquet

NEIGHBOURS = 3
BLOCK_VALUES = 2**24  # of a matrix of distances at a time: 128 MiB


def nearest_table(ids: Sequence[str], splits_G: np.ndarray, vectors_GW: np.ndarray) -> pa.Table:
    """A row for each test crystal: its ``NEIGHBOURS`` nearest training crystals and their distances.

    ``vectors_GW``: what the head of the first model sees of each crystal. Distances are Euclidean, in
    units of the median distance of a validation crystal to its nearest training crystal: 1 is usual.
    """
    train, val, test = (np.flatnonzero(splits_G == name) for name in ("train", "val", "test"))
    usual = float(np.median(closest(vectors_GW[val], vectors_GW[train], 1)[1])) or 1.0
    place_GK, distance_GK = closest(vectors_GW[test], vectors_GW[train], NEIGHBOURS)
    names = np.array(ids, dtype=object)
    return pa.table(
        {
            "id": names[test].tolist(),
            "nearest": [names[train[row]].tolist() for row in place_GK],
            "distance": (distance_GK / usual).tolist(),
        }
    )


def closest(from_GW: np.ndarray, to_TW: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Places [G, K] of the nearest of ``to_TW`` and the distances [G, K], the nearest first."""
    to_TW = to_TW.astype(np.float64)
    square_T = np.square(to_TW).sum(1)
    count = min(count, len(to_TW))
    places, distances = [], []
    step = max(1, BLOCK_VALUES // len(to_TW))
    for start in range(0, len(from_GW), step):
        one_SW = from_GW[start : start + step].astype(np.float64)
        square_ST = np.square(one_SW).sum(1)[:, None] + square_T - 2 * one_SW @ to_TW.T
        square_ST = square_ST.clip(min=0)
        order_SK = np.argsort(square_ST, axis=1, kind="stable")[:, :count]
        places.append(order_SK)
        distances.append(np.sqrt(np.take_along_axis(square_ST, order_SK, 1)))
    empty = np.empty((0, count))
    return (
        np.concatenate([*places, empty.astype(np.int64)]).astype(np.int64),
        np.concatenate([*distances, empty]),
    )


def read_nearest(path: Path) -> dict[str, list[tuple[str, float]]]:
    """The nearest training crystals of each test crystal with their distances; empty without the file.

    Evaluations of an older dglframer have none.
    """
    if not path.is_file():
        return {}
    rows = read_parquet(path, columns=["id", "nearest", "distance"]).to_pylist()
    return {row["id"]: list(zip(row["nearest"], row["distance"], strict=True)) for row in rows}
