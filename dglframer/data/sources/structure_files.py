"""Reading structure files into records: POSCAR by pymatgen, extxyz and others by ASE, and CIF."""

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dglframer.common.errors import DamagedFile
from dglframer.data.sources.cif import is_cif, read_cif
from dglframer.structures.crystal import Record

log = logging.getLogger(__name__)

SUFFIXES = (".vasp", ".poscar", ".contcar")
ASE_SUFFIXES = (".extxyz", ".xyz", ".xsf")  # these may hold several structures
NAMES = ("POSCAR", "CONTCAR")


def is_structure_file(path: Path) -> bool:
    """Whether the name is that of a file with structures."""
    known = path.suffix.lower() in SUFFIXES + ASE_SUFFIXES or path.name.upper().startswith(NAMES)
    return known or is_cif(path)


def read_structure(path: Path) -> Record:
    """Read a POSCAR, or a CIF of one crystal, as it stands (no primitive cell, no standard setting).

    Whatever goes wrong becomes the record's ``problem``: one bad file must not stop the others.
    """
    from pymatgen.io.vasp.inputs import Poscar

    path = Path(path)
    if is_cif(path):
        records = read_cif(path)
        several = f"{len(records)} crystals in one file"
        return records[0] if len(records) == 1 else Record(path.stem, problem=several)
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            poscar = Poscar.from_str(text, read_velocities=False)
            if not poscar.true_names:  # pymatgen has made up H, He, Li, ...
                return Record(path.stem, problem="no element symbols (POSCAR of VASP 4)")
            structure = poscar.structure
    except Exception as error:  # parsers raise anything; the reason goes to the user
        return Record(path.stem, problem=f"cannot be read: {first_line(error)}")
    for warning in caught:
        log.warning("%s: %s", path, first_line(warning.message))
    if not structure.is_ordered:
        return Record(path.stem, problem="partial occupancy (disordered structure)")
    return Record(
        path.stem,
        species=[str(getattr(site.specie, "symbol", site.specie)) for site in structure],
        lattice=np.array(structure.lattice.matrix),
        frac_coords=np.array(structure.frac_coords),
    )


def read_structures(paths: list[Path]) -> Iterator[Record]:
    """Records of many files, in order."""
    for path in paths:
        if path.suffix.lower() in ASE_SUFFIXES:
            yield from read_frames(path)
        elif is_cif(path):
            yield from read_cif(path)
        else:
            yield read_structure(path)


def read_frames(path: Path) -> Iterator[Record]:
    """The structures of a file that ASE reads; what cannot be read ends it with a problem."""
    from dglframer.data.sources.ase_file import frames, record

    try:
        read = list(frames(path))
    except DamagedFile as error:
        yield Record(path.stem, problem=f"cannot be read: {first_line(error)}")
        return
    for k, (atoms, info) in enumerate(read):
        yield record(atoms, info, path.stem if len(read) == 1 else f"{path.stem}-{k}")


def first_line(error: object) -> str:
    """The first line of a message, enough for a table."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
