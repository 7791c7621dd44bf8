"""Small CIF files made in a test, and what comes of them."""

from collections import Counter
from pathlib import Path

import numpy as np

from dglframer.data.sources.cif import read_cif
from dglframer.structures.crystal import Record, validate
from dglframer.structures.neighbors import edge_vectors, periodic_edges, wrapped

CUBIC = (90, 90, 90)
ANGLES = ("alpha", "beta", "gamma")
IDENTITY = ("x, y, z",)

SYMBOL, NUMBER = "symmetry_space_group_name_H__M", "symmetry_Int_Tables_number"

SALT = (5.64, 5.64, 5.64), ("Na 0 0 0", "Cl 0.5 0.5 0.5")
SILICON = (5.431, 5.431, 5.431)
BISMUTH_HEXAGONAL = (4.546, 4.546, 11.862, 90, 90, 120)
FACE_CENTRING = ("x,y,z", "x,y+1/2,z+1/2", "x+1/2,y,z+1/2", "x+1/2,y+1/2,z")

# What a crystal is told by: atoms of each element, closest pair (angstrom), neighbours within 5.
Told = tuple[dict[str, int], float, int]
ROCKSALT = ({"Na": 4, "Cl": 4}, 2.82, 208)
DIAMOND = ({"Si": 8}, 2.352, 224)


def cif(cell, sites, *, operators=(), columns=(), block="case", **items) -> str:
    """A data block. ``cell``: a, b, c and maybe the angles; ``sites``: rows of text after the label,
    the first of them type and coordinates; ``columns``: names of what follows; ``items``: names with
    ``__`` for hyphens.
    """
    lengths, angles = cell[:3], cell[3:] or CUBIC
    lines = [f"data_{block}"]
    lines += [f"_cell_length_{axis} {value}" for axis, value in zip("abc", lengths, strict=True)]
    lines += [f"_cell_angle_{name} {value}" for name, value in zip(ANGLES, angles, strict=True)]
    lines += [f"_{name.replace('__', '-')} '{value}'" for name, value in items.items()]
    if operators:
        lines += ["loop_", "_symmetry_equiv_pos_as_xyz", *(f"'{o}'" for o in operators)]
    names = ("label", "type_symbol", "fract_x", "fract_y", "fract_z", *columns)
    lines += ["loop_", *(f"_atom_site_{name}" for name in names)]
    rows = [row.split() for row in sites]
    lines += [f"{row[0]}{k + 1} {' '.join(row)}" for k, row in enumerate(rows)]
    return "\n".join(lines) + "\n"


def records(folder: Path, text: str | bytes, name: str = "case.cif") -> list[Record]:
    """The records of a file with this text."""
    data = text.encode() if isinstance(text, str) else text
    (folder / name).write_bytes(data)
    return read_cif(folder / name)


def record(folder: Path, text: str | bytes, name: str = "case.cif") -> Record:
    (one,) = records(folder, text, name)
    return one


def told(record: Record) -> Told:
    """Elements, closest pair and neighbours; raises Rejected for what is no crystal."""
    crystal = validate(record)
    assert crystal.lattice_33 is not None
    edges = periodic_edges(crystal.lattice_33, crystal.coords_N3, 5.0)
    vectors = edge_vectors(crystal.lattice_33, wrapped(crystal.coords_N3), edges)
    distances = np.linalg.norm(vectors, axis=1)
    distances = distances[distances > 1e-9]
    return (
        dict(Counter(record.species)),
        round(float(distances.min(initial=np.inf)), 3),
        len(distances),
    )


def content(record: Record) -> dict[str, int]:
    """Atoms of each element; the record has to be valid."""
    validate(record)
    return dict(Counter(record.species))
