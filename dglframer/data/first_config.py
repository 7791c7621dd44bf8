"""A first configuration for a folder of one's own: its structures, its targets and their units."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dglframer.common.errors import UserError
from dglframer.data.label_limits import KNOWN, plain_name
from dglframer.data.sources.folder import TABLE, find_files
from dglframer.data.sources.labels import number
from dglframer.data.sources.row_matching import FileNames, match_rows, some
from dglframer.data.sources.targets_table import (
    DECIMAL_COMMA,
    NoHeader,
    TargetsTable,
    read_targets,
)

FEW = 200  # labelled crystals: below, an error says little
HEADERLESS = "target"  # the name of the column of a table without a header


@dataclass(frozen=True)
class Target:
    """A column of numbers: how many structures have one, and the unit that its name suggests."""

    name: str
    labels: int
    unit: str | None  # None: the name says nothing


@dataclass(frozen=True)
class Look:
    """What a folder and its table hold."""

    folder: Path
    table: Path
    structures: int
    rows: int
    matched: int
    targets: list[Target]


def look(folder: Path, table: Path | None) -> Look:
    """Look at a folder of structure files; ``table`` None: its id_prop.csv or its only CSV file.

    Raises UserError if there are no structures, no table, or no column of numbers that belong to them.
    """
    if not folder.is_dir():
        raise UserError(f"no folder {folder}")
    table = table or only_table(folder)
    paths, _ = find_files(folder)
    if not paths:
        raise UserError(f"no structure file in {folder}")
    names = FileNames(paths, folder)
    content = columns_of(table, lambda id: bool(names.fitting(id)[1]))
    rows = set(match_rows(names, content.rows).rows.values())
    if not rows:
        raise UserError(
            f"no row of {table} names a structure in {folder}: the rows have the ids "
            f"{some(content.rows)}; the structures {some(names.ids)}"
        )
    targets = [target for name in content.columns if (target := target_of(name, content, rows))]
    if not targets:
        raise UserError(f"{table} has no column of numbers; it has {', '.join(content.columns)}")
    return Look(folder, table, len(paths), len(content.rows), len(rows), targets)


def only_table(folder: Path) -> Path:
    """id_prop.csv in the folder, or the only CSV file in it; raises UserError."""
    if (folder / TABLE).is_file():
        return folder / TABLE
    tables = sorted(folder.glob("*.csv"))
    if len(tables) != 1:
        found = f"there are {some(path.name for path in tables)}" if tables else "there is none"
        raise UserError(
            f"--targets-csv TABLE is needed: in {folder} {found}. The table has a column id (the "
            "names of the files) and one for each property"
        )
    return tables[0]


def columns_of(table: Path, names_file: Callable[[str], bool]) -> TargetsTable:
    """The table; one without a header may have one column of values. Raises UserError."""
    try:
        return read_targets(table, (), names_file)
    except NoHeader:
        return read_targets(table, (HEADERLESS,), names_file)


def target_of(name: str, table: TargetsTable, rows: set[str]) -> Target | None:
    """The column as a target, if no field of it is a text and one is a number."""
    fields = [table.rows[row].get(name, "") for row in rows]
    # A decimal comma is read as one by the stage that reads the labels.
    values = [
        number(field.replace(",", ".") if DECIMAL_COMMA.fullmatch(field) else field)
        for field in fields
    ]
    if any(isinstance(value, str) for value in values):
        return None
    labels = sum(value is not None for value in values)
    known = KNOWN.get(plain_name(name))
    return Target(name, labels, known.unit if known else None) if labels else None


def as_yaml(seen: Look, units: dict[str, str]) -> str:
    """The configuration with comments; ``units`` of targets that somebody stated."""
    labelled = max(target.labels for target in seen.targets)
    lines = [
        f"# {seen.structures} structure files, {seen.matched} of them in {seen.table.name}. "
        "Every other key and its default: `dglframer config`.",
        "# snakemake --cores all --configfile THIS_FILE",
        "dataset:",
        "  source: folder",
        f"  path: {quoted(seen.folder.resolve())}",
        f"  targets_csv: {quoted(seen.table.resolve())}",
        f"  targets: [{', '.join(quoted(target.name) for target in seen.targets)}]",
        "  target_units:",
    ]
    for target in seen.targets:
        unit, why = units.get(target.name), "as you said"
        if unit is None and target.unit is not None:
            unit, why = target.unit, "guessed from the name: check it"
        elif unit is None:
            unit, why = "", "nothing states it: write the unit"
        lines.append(f"    {quoted(target.name)}: {quoted(unit)}  # {why}; {target.labels} labels")
    lines += [
        "split:",
        "  method: random  # by_composition: no formula of the test set is in the training set",
    ]
    if labelled < FEW:
        lines.append(
            f"  # {labelled} labelled crystals are few: look at the error's spread over "
            "`method: kfold`, or begin from a shipped model (training.init_from)"
        )
    return "\n".join(lines) + "\n"


def quoted(value: object) -> str:
    """A YAML string in double quotes, which are JSON's."""
    return json.dumps(str(value), ensure_ascii=False)
