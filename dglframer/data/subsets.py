"""Nested parts of the training crystals, for the curve of the error against their number."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dglframer.common.errors import UserError
from dglframer.common.parquet import read_parquet
from dglframer.data.split import write_split


def write_subsets(split: Path, sizes: Sequence[int], seed: int, out: Path) -> None:
    """Write ``out``/SIZE/split.parquet for each size; val and test stay whole.

    The training crystals are the first ``size`` of one drawn order, so that smaller sets are parts of
    larger ones. Raises UserError if there are fewer.
    """
    table = read_parquet(split)
    ids, names, reasons = (table[key].to_pylist() for key in ("id", "split", "reason"))
    train = sorted(id for id, name in zip(ids, names, strict=True) if name == "train")
    if max(sizes) > len(train):
        raise UserError(
            f"learning_curve.sizes: {max(sizes)} is more than the {len(train)} training crystals"
        )
    order = np.random.default_rng(seed).permutation(len(train))
    place = {train[index]: k for k, index in enumerate(order)}
    method = (table.schema.metadata or {}).get(b"method", b"").decode()
    for size in sizes:
        parts = {
            id: f"not in the subset of {size}" if place.get(id, -1) >= size else reason or name
            for id, name, reason in zip(ids, names, reasons, strict=True)
        }
        write_split(parts, out / str(size) / "split.parquet", method)
