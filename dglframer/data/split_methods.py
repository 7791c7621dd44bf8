"""The methods of splitting. Each gives every crystal train, val, test, or the reason for leaving it out.

What grows with the data set is on disk (``SplitTable``), or takes a few bytes a crystal. Python's shuffle
of K places draws the same order whether these are names or numbers.
"""

import csv
import logging
import random
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
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
from dglframer.data.split_table import SPLITS, Batches, SplitTable
from dglframer.structures.crystal import NO_LABEL

log = logging.getLogger(__name__)

Splits = dict[str, str]


def canonical_split(crystals: SplitTable, config: SplitConfig) -> None:
    """The source's own split. An id that it lists twice (``val+test``) is left out with a warning."""
    given = False
    for batch in crystals.kept():
        ids, names = batch["id"].to_pylist(), batch["split"].to_pylist()
        given = given or any(names)
        crystals.add(ids, parts=list(map(canonical_part, ids, names)))
    if not given:
        raise UserError("split.method canonical: the source has no split; use random")


def canonical_part(id: str, name: str) -> str:
    """The part that the source gives, or the reason why it is none, with a warning."""
    if "+" in name:
        part = f"listed in {name.replace('+', ' and ')}"
        log.warning("%s is %s: left out of all", id, part)
        return part
    if name not in SPLITS:
        log.warning("%s has no split (%r): left out", id, name)
        return f"no split of the source ({name!r})"
    return name


def official_split(
    crystals: SplitTable, rejected: Batches | None, target: str, config: SplitConfig
) -> None:
    """The rule of ALIGNN and CrystalFramer over the M entries that have a label, in file order.

    Python's shuffle of range(M) with seed 123; train is the first int(0.8 M) positions, test the last
    int(0.1 M), val the int(0.1 M) before test. The entries between train and val are left out.
    """
    if rejected is None:
        raise UserError("split.method official needs --rejected rejected.parquet")

    def known(batch: pa.Table) -> np.ndarray:
        everyone = np.ones(len(batch), bool)
        return batch[target].is_valid().to_numpy() if target else everyone

    own = [batch["file_position"].to_numpy()[known(batch)] for batch in crystals.batches()]
    others = array("q")
    for batch in rejected():
        for row in batch.to_pylist():
            if not lacks_label(row["reason"], target):
                others.append(row["file_position"])
            if row["reason"] == "repeated id":
                log.warning(
                    "%s: a repeated entry is not used (dataset.repeated_ids: first)", row["id"]
                )
    positions = np.unique(np.concatenate([*own, np.array(others, np.int64)]))
    parts = official_parts(len(positions), config)
    n_own = sum(map(len, own))
    log.info("official: M = %d labelled entries, of which %d are valid", len(positions), n_own)
    for batch in crystals.batches():
        ranks = np.searchsorted(positions, batch["file_position"].to_numpy()).tolist()
        labelled = zip(ranks, known(batch).tolist(), strict=True)
        found = [parts[rank] if has_one else f"{NO_LABEL} {target}" for rank, has_one in labelled]
        crystals.add(batch["id"].to_pylist(), parts=found)


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


def official_order(n: int, seed: int = 123) -> Sequence[int]:
    """The shuffled positions: train is at the front, val and test are at the end."""
    return shuffled(n, seed)


def shuffled(n: int, seed: int) -> Sequence[int]:
    """The numbers below ``n`` in the order in which Python's generator shuffles any list of ``n``."""
    order = array("q", range(n))
    random.Random(seed).shuffle(order)
    return order


def random_split(crystals: SplitTable, config: SplitConfig) -> None:
    """A seeded shuffle of the sorted ids: first val, then test, the rest train."""
    add_by_source(crystals)
    by_group(crystals, config)


def add_by_source(crystals: SplitTable) -> None:
    """Add the crystals in groups of one source id."""
    for batch in crystals.kept():
        ids = batch["id"].to_pylist()
        crystals.add(ids, keys=map(source_id, ids))


def by_composition(crystals: SplitTable, config: SplitConfig) -> None:
    """A reduced formula is in one part only."""
    from dglframer.structures.symmetry import reduced_formula

    for batch in crystals.kept():
        crystals.add(batch["id"].to_pylist(), keys=map(reduced_formula, atomic_numbers(batch)))
    by_group(crystals, config)


def by_prototype(crystals: SplitTable, config: SplitConfig) -> None:
    """A reduced formula with its space group is in one part only, and so is a structure."""
    rows = crystals.rows
    rows.execute("create table own (id text primary key, first text, prototype text) without rowid")
    for _, checked in crystals.with_checks():
        if checked is None:
            raise UserError("split.method by_prototype needs checks.parquet (run clean first)")
        rows.executemany("insert into own values (?, ?, ?)", prototypes(checked))
    rows.execute(
        "insert into crystals select one.id, source_id(one.id), first.prototype, null "
        "from own one join own first on first.id = one.first "
        "where one.id not in (select id from dropped)"
    )
    by_group(crystals, config)


def prototypes(checks: pa.Table) -> Iterator[tuple[str, str, str]]:
    """(id, id of the first crystal of its structure, own prototype such as ``TiO2 136``) of each row.

    A duplicate has the prototype of the crystal that it repeats, since spglib may find two space groups
    for mirror images or for two relaxations of one structure.
    """
    columns = (
        checks[name].to_pylist() for name in ("id", "duplicate_of", "formula", "space_group")
    )
    for id, first, formula, group in zip(*columns, strict=True):
        yield id, first or id, f"{formula} {group}"


def by_group(crystals: SplitTable, config: SplitConfig) -> None:
    """Whole groups, shuffled: val is filled first, then test, the rest is train."""
    sizes_K, count = crystals.group_sizes(), crystals.count()
    room = {
        "val": max(1, round(config.val_fraction * count)),
        "test": max(1, round(config.test_fraction * count)),
    }
    filled: Counter[str] = Counter()
    parts = ["train"] * len(sizes_K)
    for place in shuffled(len(sizes_K), config.seed):
        size = int(sizes_K[place])
        # A part takes at least one group, even a larger one than its share.
        fits = (part for part in room if filled[part] + size <= room[part] or not filled[part])
        parts[place] = next(fits, "train")
        filled[parts[place]] += size
    crystals.assign_groups(parts)


def kfold(crystals: SplitTable, config: SplitConfig) -> None:
    """Fold ``split.fold`` of a seeded shuffle is test; val is drawn from the others."""
    add_by_source(crystals)
    sizes_K = crystals.group_sizes()
    if config.folds > len(sizes_K):
        raise UserError(f"split.folds: {config.folds} folds of {len(sizes_K)} crystals")
    sizes = [0] * config.folds
    parts = ["test"] * len(sizes_K)
    rest = array("q")
    for place in shuffled(len(sizes_K), config.seed):
        fold = sizes.index(min(sizes))
        sizes[fold] += int(sizes_K[place])
        if fold != config.fold:
            rest.append(place)
    val_and_train(rest, sizes_K, crystals.count(), config, parts)
    crystals.assign_groups(parts)


def val_and_train(
    places: Sequence[int], sizes_K: np.ndarray, count: int, config: SplitConfig, parts: list[str]
) -> None:
    """The first groups are val until it has its share of ``count`` crystals, the others train."""
    wanted, filled = max(1, round(config.val_fraction * count)), 0
    for place in places:
        parts[place] = "val" if filled < wanted else "train"
        filled += int(sizes_K[place])


def leave_element_out(crystals: SplitTable, config: SplitConfig) -> None:
    """Crystals that hold any of ``split.elements`` are test; val is drawn from the others."""
    wanted = np.array([atomic_number(symbol) for symbol in config.elements])
    rows = crystals.rows
    rows.execute("create table holding (source text primary key) without rowid")
    for batch in crystals.kept():
        ids = batch["id"].to_pylist()
        crystals.add(ids, keys=map(source_id, ids))
        pairs = zip(ids, atomic_numbers(batch), strict=True)
        found = [(source_id(id),) for id, numbers_N in pairs if np.isin(numbers_N, wanted).any()]
        rows.executemany("insert or ignore into holding values (?)", found)
    rows.execute("update crystals set part = 'test' where source in (select source from holding)")
    sizes_K = crystals.group_sizes()
    parts = ["train"] * len(sizes_K)
    places = shuffled(len(sizes_K), config.seed)
    val_and_train(places, sizes_K, crystals.count(), config, parts)
    crystals.assign_groups(parts)


def by_time(crystals: SplitTable, config: SplitConfig) -> None:
    """The latest crystals are test, those before them val. Crystals of one date are in one part."""
    for batch in crystals.kept():
        crystals.add(batch["id"].to_pylist(), keys=batch["date"].to_pylist())
    rows = crystals.rows
    (known,) = rows.execute("select count(*) from crystals where key <> ''").fetchone()
    if not known:
        raise UserError("split.method by_time: no crystal has a date; use random")

    def date(place: int) -> str:  # of the known ones in order
        query = "select key from crystals where key <> '' order by key limit 1 offset ?"
        (found,) = rows.execute(query, (max(0, place),)).fetchone()
        return str(found)

    if config.val_from and config.test_from:
        val_from, test_from = config.val_from.isoformat(), config.test_from.isoformat()
    else:
        n_test = max(1, round(config.test_fraction * known))
        n_val = max(1, round(config.val_fraction * known))
        val_from, test_from = date(known - n_test - n_val), date(known - n_test)
    log.info("by_time: val from %s, test from %s", val_from, test_from)
    rows.execute(
        "update crystals set part = case when key is null or key = '' then 'no date' "
        "when key < ? then 'train' when key < ? then 'val' else 'test' end",
        (val_from, test_from),
    )


def from_file(crystals: SplitTable, config: SplitConfig) -> None:
    """The parts that a file lists, by id or by source id; other crystals are left out."""
    assert config.path is not None
    path = Path(config.path)
    listed = read_listed(path)
    nowhere = f"not listed in {path.name}"
    unused = set(listed)
    for batch in crystals.kept():
        ids = batch["id"].to_pylist()
        names = [(usual_mp_id(id), source_id(id)) for id in ids]
        unused.difference_update(name for pair in names for name in pair)
        parts = [listed.get(usual, listed.get(source, nowhere)) for usual, source in names]
        crystals.add(ids, parts=parts)
    if unused:
        log.warning("%d ids of %s are no crystals here, as %s", len(unused), path, min(unused))


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


METHODS: dict[str, Callable[[SplitTable, SplitConfig], None]] = {
    "canonical": canonical_split,
    "random": random_split,
    "kfold": kfold,
    "by_composition": by_composition,
    "by_prototype": by_prototype,
    "leave_element_out": leave_element_out,
    "by_time": by_time,
    "from_file": from_file,
}
