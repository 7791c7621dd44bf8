"""The rows of ``_atom_site_*``: each is one atom with its element and place, or the file is refused."""

import re
from collections import defaultdict
from typing import NamedTuple

from dglframer.common.errors import Rejected
from dglframer.data.sources.cif.blocks import NULL, Block, number
from dglframer.data.sources.cif.site_types import chosen, element_of_label, element_of_type

AXES = ("x", "y", "z")
FULL_OCCUPANCY = 1e-3  # what 1.000 may differ from 1 by printing; 0.99 is a partial occupancy


class Site(NamedTuple):
    """One row."""

    name: str  # its label, for messages
    symbol: str
    frac_3: tuple[float, float, float]
    multiplicity: int | None  # as stated: of its orbit or, by some programs, of its site symmetry
    orbit: int | None  # the number of a Wyckoff position such as 8a
    letter: str  # of the Wyckoff position, or ""
    symmetry_order: int | None  # as stated, of its site symmetry


def has_sites(block: Block) -> bool:
    """Whether the block is meant to be a crystal: it has atoms, or a cell."""
    return any(name.startswith(("_atom_site_", "_cell_length_")) for name in block.columns)


def read_sites(block: Block, formula: frozenset[str] | None) -> list[Site]:
    """The atoms of a block in the order of its rows; dummy sites are no atoms and left out.

    ``formula``: the elements of the formula, or None. Raises Rejected for what is no ordered crystal
    with all of its atoms: partial occupancy, alternatives, groups, hydrogens without a place.
    """
    rows = site_rows(block)
    refuse_alternatives(rows)
    return [read_row(row, formula) for row in rows]


Row = dict[str, str]  # what follows _atom_site_ in the name, to the value


def site_rows(block: Block) -> list[Row]:
    """The rows without the dummies; raises Rejected if there are none or their columns do not fit."""
    names = [name for name in block.columns if name.startswith("_atom_site_")]
    columns = {name.removeprefix("_atom_site_"): block.column(name) for name in names}
    if any(f"fract_{axis}" not in columns for axis in AXES):
        cartesian = [name for name in columns if name.startswith("cartn_")]
        if cartesian:
            raise Rejected("cannot be read: sites in Cartesian coordinates, none fractional")
        raise Rejected("cannot be read: no atom sites (_atom_site_fract_x, _y, _z)")
    count = len(columns["fract_x"])
    for name in SITE_COLUMNS & columns.keys():
        if len(columns[name]) != count:
            raise Rejected(f"_atom_site_{name} has {len(columns[name])} rows, _fract_x has {count}")
    used = {name: columns[name] for name in SITE_COLUMNS & columns.keys()}
    rows = []
    for k in range(count):
        row = {name: values[k].strip() for name, values in used.items()}
        texts = (row.get(column, "?") for column in ("label", "type_symbol"))
        row["name"] = next((text for text in texts if text not in NULL), str(k + 1))
        if row.get("calc_flag", "").lower() != "dum":
            rows.append(row)
    if not rows:
        raise Rejected("cannot be read: no atom sites but dummies")
    return rows


SITE_COLUMNS = {
    *(f"fract_{axis}" for axis in AXES),
    *("label", "type_symbol", "calc_flag", "attached_hydrogens", "occupancy", "fract_occupancy"),
    *("refinement_flags", "refinement_flags_occupancy"),
    *("disorder_group", "disorder_assembly", "symmetry_multiplicity", "site_symmetry_order"),
    *("symmetry_order", "site_symmetry_multiplicity", "wyckoff_symbol", "wyckoff_label"),
}


def refuse_alternatives(rows: list[Row]) -> None:
    """Raise Rejected if the rows have alternatives of a disordered part."""
    groups: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        group = row.get("disorder_group", ".")
        if group in NULL or group == "0":
            continue
        if group.startswith("-"):
            raise Rejected(
                f"disordered about a special position (site {row['name']}, group {group})"
            )
        groups[row.get("disorder_assembly", ".")].add(group)
    for found in groups.values():
        if len(found) > 1:
            raise Rejected(f"disordered: alternative sites (groups {', '.join(sorted(found))})")


def read_row(row: Row, formula: frozenset[str] | None) -> Site:
    """The atom of one row; raises Rejected with the reason and the label."""
    name = row["name"]
    x, y, z = (number(row[f"fract_{axis}"], f"site {name}: its {axis}") for axis in AXES)
    if row.get("type_symbol", "?") not in NULL:
        element = element_of_type(row["type_symbol"], name)
    else:
        element = element_of_label(name)
    refuse_partial(row, formula)
    attached = row.get("attached_hydrogens", ".")
    if attached not in NULL and number(attached, f"site {name}: its attached hydrogens"):
        raise Rejected(f"hydrogen positions missing: {attached} attached to site {name}")
    wyckoff = row.get("wyckoff_symbol") or row.get("wyckoff_label") or ""
    digits = re.match(r"\d*", wyckoff)
    return Site(
        name,
        chosen(element, formula, name),
        (x, y, z),
        whole(row.get("symmetry_multiplicity") or row.get("site_symmetry_multiplicity")),
        whole(digits[0] if digits else None),
        wyckoff.lstrip("0123456789") if wyckoff not in NULL else "",
        whole(row.get("site_symmetry_order") or row.get("symmetry_order")),
    )


def refuse_partial(row: Row, formula: frozenset[str] | None) -> None:
    """Raise Rejected unless the site is fully occupied; ``.`` stands for the dictionary's 1.

    ``?`` stands for nothing: a formula has to confirm the site.
    """
    text, name = row.get("occupancy", row.get("fract_occupancy", ".")), row["name"]
    flags = row.get("refinement_flags", "") + row.get("refinement_flags_occupancy", "")
    if text in NULL and "P" in flags:
        raise Rejected(f"partial occupancy (disordered structure): flag P of site {name}")
    if text == "." or (text == "?" and formula is not None):
        return
    occupancy = number(text, f"site {name}: its occupancy")
    if abs(occupancy - 1) > FULL_OCCUPANCY:
        raise Rejected(f"partial occupancy (disordered structure): {occupancy:g} of site {name}")


def whole(text: str | None) -> int | None:
    """A positive integer of up to three digits, or None for anything else."""
    return int(text) if text and re.fullmatch("0*[1-9][0-9]{0,2}", text) else None
