"""The methods of splitting. Each maps every id to train, val or test, or to the reason for leaving it out."""

import csv
import logging
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from dglframer.common.elements import atomic_number
from dglframer.common.errors import ConfigError, UserError
from dglframer.common.files import read_json
from dglframer.common.parquet import read_parquet
from dglframer.config.data import SplitConfig
from dglframer.data.ids import source_id, usual_mp_id
from dglframer.data.rejections import lacks_label
from dglframer.structures.crystal import NO_LABEL

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
Splits = dict[str, str]


def canonical_split(crystals: pa.Table, config: SplitConfig) -> Splits:
    """The source's own split. An id that it lists twice (``val+test``) is left out with a warning."""
    given = dict(zip(crystals["id"].to_pylist(), crystals["split"].to_pylist(), strict=True))
    if not any(given.values()):
        raise UserError("split.method canonical: the source has no split; use random")
    splits = {}
    for id, name in given.items():
        splits[id] = name
        if "+" in name:
            splits[id] = f"listed in {name.replace('+', ' and ')}"
            log.warning("%s is %s: left out of all", id, splits[id])
        elif name not in SPLITS:
            splits[id] = f"no split of the source ({name!r})"
            log.warning("%s has no split (%r): left out", id, name)
    return splits


def official_split(
    crystals: pa.Table, rejected: pa.Table | None, target: str, config: SplitConfig
) -> Splits:
    """The rule of ALIGNN and CrystalFramer over the M entries that have a label, in file order.

    Python's shuffle of range(M) with seed 123; train is the first int(0.8 M) positions, test the last
    int(0.1 M), val the int(0.1 M) before test. The entries between train and val are left out.
    """
    if rejected is None:
        raise UserError("split.method official needs --rejected rejected.parquet")
    ids, positions = crystals["id"].to_pylist(), crystals["file_position"].to_pylist()
    labels = crystals[target].is_valid().to_pylist() if target else [True] * len(ids)
    own = {id: place for id, place, known in zip(ids, positions, labels, strict=True) if known}
    labelled = list(own.values())
    for row in rejected.to_pylist():
        if not lacks_label(row["reason"], target):
            labelled.append(row["file_position"])
        if row["reason"] == "repeated id":
            log.warning("%s: a repeated entry is not used (dataset.repeated_ids: first)", row["id"])
    rank = {position: k for k, position in enumerate(sorted(labelled))}
    parts = official_parts(len(rank), config)
    log.info("official: M = %d labelled entries, of which %d are valid", len(rank), len(own))
    return {id: parts[rank[own[id]]] if id in own else f"{NO_LABEL} {target}" for id in ids}


def official_parts(n: int, config: SplitConfig) -> list[str]:
    """The part of each of ``n`` labelled entries."""
    sizes = config.official_sizes or (int(0.8 * n), int(0.1 * n), int(0.1 * n))
    n_train, n_val, n_test = sizes
    if sum(sizes) > n:
        raise UserError(f"split.official_sizes add up to {sum(sizes)}, of {n} labelled entries")
    order = official_order(n, config.seed)
    parts = ["not used by the official split"] * n
    for name, places in (
        ("train", order[:n_train]),
        ("val", order[n - n_test - n_val : n - n_test]),
        ("test", order[n - n_test :]),
    ):
        for place in places:
            parts[place] = name
    return parts


def official_order(n: int, seed: int = 123) -> list[int]:
    """The shuffled positions: train is at the front, val and test are at the end."""
    order = list(range(n))
    random.Random(seed).shuffle(order)
    return order


def random_split(crystals: pa.Table, config: SplitConfig) -> Splits:
    """A seeded shuffle of the sorted ids: first val, then test, the rest train."""
    ids = crystals["id"].to_pylist()
    return by_group(dict(zip(ids, map(source_id, ids), strict=True)), config)


def by_composition(crystals: pa.Table, config: SplitConfig) -> Splits:
    """A reduced formula is in one part only."""
    from dglframer.structures.symmetry import reduced_formula

    formulas = map(reduced_formula, atomic_numbers(crystals))
    return by_group(dict(zip(crystals["id"].to_pylist(), formulas, strict=True)), config)


def by_prototype(crystals: pa.Table, checks: pa.Table, config: SplitConfig) -> Splits:
    """A reduced formula with its space group is in one part only, and so is a structure."""
    prototype_of = prototypes(checks)
    return by_group({id: prototype_of[id] for id in crystals["id"].to_pylist()}, config)


def prototypes(checks: pa.Table) -> dict[str, str]:
    """Reduced formula and space group of each crystal, such as ``TiO2 136``.

    A duplicate takes those of the crystal that it repeats, since spglib may find two space groups for
    mirror images or for two relaxations of one structure.
    """
    columns = [checks[name].to_pylist() for name in ("id", "formula", "space_group")]
    own = {id: f"{formula} {group}" for id, formula, group in zip(*columns, strict=True)}
    firsts = zip(columns[0], checks["duplicate_of"].to_pylist(), strict=True)
    return {id: own[first or id] for id, first in firsts}


def by_group(group_of: Mapping[str, str], config: SplitConfig) -> Splits:
    """Whole groups, shuffled: val is filled first, then test, the rest is train."""
    members = defaultdict(list)
    for id in sorted(group_of):
        members[group_of[id]].append(id)
    names = sorted(members)
    random.Random(config.seed).shuffle(names)
    room = {
        "val": max(1, round(config.val_fraction * len(group_of))),
        "test": max(1, round(config.test_fraction * len(group_of))),
    }
    filled: Counter[str] = Counter()
    splits: Splits = {}
    for name in names:
        size = len(members[name])
        # A part takes at least one group, even a larger one than its share.
        fits = (part for part in room if filled[part] + size <= room[part] or not filled[part])
        part = next(fits, "train")
        filled[part] += size
        splits |= dict.fromkeys(members[name], part)
    return splits


def kfold(crystals: pa.Table, config: SplitConfig) -> Splits:
    """Fold ``split.fold`` of a seeded shuffle is test; val is drawn from the others."""
    members = defaultdict(list)
    for id in sorted(crystals["id"].to_pylist()):
        members[source_id(id)].append(id)
    names = sorted(members)
    if config.folds > len(names):
        raise UserError(f"split.folds: {config.folds} folds of {len(names)} crystals")
    random.Random(config.seed).shuffle(names)
    sizes = [0] * config.folds
    splits: Splits = {}
    rest = []
    for name in names:
        fold = sizes.index(min(sizes))
        sizes[fold] += len(members[name])
        if fold == config.fold:
            splits |= dict.fromkeys(members[name], "test")
        else:
            rest.append(name)
    return splits | val_and_train([members[name] for name in rest], len(crystals), config)


def val_and_train(groups: list[list[str]], n: int, config: SplitConfig) -> Splits:
    """The first groups are val until it has its share of ``n`` crystals, the others train."""
    wanted = max(1, round(config.val_fraction * n))
    splits: Splits = {}
    for group in groups:
        splits |= dict.fromkeys(group, "val" if len(splits) < wanted else "train")
    return splits


def leave_element_out(crystals: pa.Table, config: SplitConfig) -> Splits:
    """Crystals that hold any of ``split.elements`` are test; val is drawn from the others."""
    wanted = [atomic_number(symbol) for symbol in config.elements]
    ids = crystals["id"].to_pylist()
    holding = {
        source_id(id)
        for id, row in zip(ids, atomic_numbers(crystals), strict=True)
        if np.isin(row, np.array(wanted)).any()
    }
    members = defaultdict(list)
    for id in sorted(ids):
        members[source_id(id)].append(id)
    names = sorted(set(members) - holding)
    random.Random(config.seed).shuffle(names)
    splits = {id: "test" for id in ids if source_id(id) in holding}
    return splits | val_and_train([members[name] for name in names], len(ids), config)


def by_time(crystals: pa.Table, config: SplitConfig) -> Splits:
    """The latest crystals are test, those before them val. Crystals of one date are in one part."""
    ids, dates = crystals["id"].to_pylist(), crystals["date"].to_pylist()
    known = sorted(date for date in dates if date)
    if not known:
        raise UserError("split.method by_time: no crystal has a date; use random")
    if config.val_from and config.test_from:
        val_from, test_from = config.val_from.isoformat(), config.test_from.isoformat()
    else:
        n_test = max(1, round(config.test_fraction * len(known)))
        n_val = max(1, round(config.val_fraction * len(known)))
        test_from = known[max(0, len(known) - n_test)]
        val_from = known[max(0, len(known) - n_test - n_val)]
    log.info("by_time: val from %s, test from %s", val_from, test_from)

    def part(date: str | None) -> str:
        if not date:
            return "no date"
        return "train" if date < val_from else "val" if date < test_from else "test"

    return {id: part(date) for id, date in zip(ids, dates, strict=True)}


def from_file(crystals: pa.Table, config: SplitConfig) -> Splits:
    """The parts that a file lists, by id or by source id; other crystals are left out."""
    assert config.path is not None
    path = Path(config.path)
    listed = read_listed(path)
    ids = crystals["id"].to_pylist()
    unused = set(listed) - set(map(usual_mp_id, ids)) - set(map(source_id, ids))
    if unused:
        log.warning("%d ids of %s are no crystals here, as %s", len(unused), path, min(unused))
    nowhere = f"not listed in {path.name}"
    return {id: listed.get(usual_mp_id(id), listed.get(source_id(id), nowhere)) for id in ids}


def read_listed(path: Path) -> Splits:
    """id → part, from a .csv or .parquet file (id, split) or a .json file ({part: [ids]}).

    Ids of the Materials Project are in their usual spelling.
    """
    try:
        if path.suffix == ".json":
            rows = [(id, part) for part, ids in read_json(path).items() for id in ids]
        elif path.suffix == ".parquet":
            table = read_parquet(path, columns=["id", "split"])
            rows = list(zip(table["id"].to_pylist(), table["split"].to_pylist(), strict=True))
        else:
            with open(path, newline="", encoding="utf-8-sig") as handle:
                rows = [(row["id"], row["split"]) for row in csv.DictReader(handle)]
    except (OSError, UnicodeDecodeError, AttributeError, KeyError, TypeError) as error:
        raise ConfigError(f"split.path: {path} cannot be read as a split ({error!r})") from None
    listed: Splits = {}
    for id, part in rows:
        if part not in SPLITS and path.suffix != ".parquet":
            raise ConfigError(f"{path}: {id} is in {part!r}; the parts are {', '.join(SPLITS)}")
        other = listed.setdefault(usual_mp_id(str(id)), part)
        if other != part:
            raise ConfigError(f"{path}: {id} is listed in {other} and in {part}")
    return listed


def atomic_numbers(crystals: pa.Table) -> list[np.ndarray]:
    """The atomic numbers of each row."""
    return [row.values.to_numpy() for row in crystals["numbers"]]


METHODS: dict[str, Callable[[pa.Table, SplitConfig], Splits]] = {
    "canonical": canonical_split,
    "random": random_split,
    "kfold": kfold,
    "by_composition": by_composition,
    "leave_element_out": leave_element_out,
    "by_time": by_time,
    "from_file": from_file,
}
