"""Splits: which crystals train, validate and test. split.parquet holds id and split."""

import logging
import random
from collections import Counter
from pathlib import Path

import pyarrow as pa

from dglframer.config import SplitConfig
from dglframer.errors import DamagedFile, UserError
from dglframer.files import read_parquet, write_parquet

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
LEFT_OUT = "left out"  # crystals that no model sees, e.g. because the source lists them twice


def split_crystals(crystals: pa.Table, config: SplitConfig) -> dict[str, str]:
    """Map each id of crystals.parquet to train, val, test or LEFT_OUT."""
    ids = crystals["id"].to_pylist()
    if config.method == "random":
        return random_split(ids, config)
    return canonical_split(dict(zip(ids, crystals["split"].to_pylist(), strict=True)))


def canonical_split(given: dict[str, str]) -> dict[str, str]:
    """The source's own split. An id listed in several parts (``val+test``) is left out, aloud."""
    if not any(given.values()):
        raise UserError("split.method canonical: the source has no split; use random")
    splits = {}
    for id, name in given.items():
        splits[id] = name if name in SPLITS else LEFT_OUT
        if "+" in name:
            log.warning("%s is listed in %s: left out of all", id, name.replace("+", " and "))
        elif name not in SPLITS:
            log.warning("%s has no split (%r): left out", id, name)
    return splits


def random_split(ids: list[str], config: SplitConfig) -> dict[str, str]:
    """A seeded shuffle of the sorted ids: first val, then test, the rest train."""
    order = sorted(ids)
    random.Random(config.seed).shuffle(order)
    n_val = max(1, round(config.val_fraction * len(order)))
    n_test = max(1, round(config.test_fraction * len(order)))
    names = ["val"] * n_val + ["test"] * n_test
    names += ["train"] * (len(order) - len(names))
    return dict(zip(order, names, strict=False))


def write_split(splits: dict[str, str], path: Path) -> Counter[str]:
    """Write split.parquet, sorted by id; raises UserError if a part is empty. Returns the counts."""
    counts = Counter(splits.values())
    for name in SPLITS:
        if not counts[name]:
            raise UserError(f"the {name} split is empty ({dict(counts)})")
    ids = sorted(splits)
    write_parquet(path, pa.table({"id": ids, "split": [splits[id] for id in ids]}))
    return counts


def read_split(path: Path, allowed: tuple[str, ...] = SPLITS) -> dict[str, list[str]]:
    """Ids of each allowed part. Parts that are not allowed (test, while tuning) are not returned.

    Raises DamagedFile if an id stands in two rows: overlap between parts is an error.
    """
    table = read_parquet(path)
    ids, names = table["id"].to_pylist(), table["split"].to_pylist()
    repeated = [id for id, count in Counter(ids).items() if count > 1]
    if repeated:
        raise DamagedFile(f"{path}: {repeated[0]} and {len(repeated) - 1} more stand in two rows")
    parts: dict[str, list[str]] = {name: [] for name in allowed}
    for id, name in zip(ids, names, strict=True):
        if name in parts:
            parts[name].append(id)
    return parts
