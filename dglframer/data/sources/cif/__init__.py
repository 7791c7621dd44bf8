"""CIF files, by pymatgen."""

import logging
import warnings
from pathlib import Path

import numpy as np

from dglframer.data.sources.text import read_text
from dglframer.structures.crystal import Record

log = logging.getLogger(__name__)


def read_cif(path: Path) -> list[Record]:
    """The crystals of a file as they stand; what cannot be read carries its problem."""
    from pymatgen.core import Structure

    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            structure = Structure.from_str(read_text(path), fmt="cif")
    except Exception as error:  # parsers raise anything; the reason goes to the user
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return [Record(path.stem, problem=f"cannot be read: {lines[0]}")]
    for warning in caught:
        log.warning("%s: %s", path, str(warning.message).splitlines()[0])
    if not structure.is_ordered:
        return [Record(path.stem, problem="partial occupancy (disordered structure)")]
    return [
        Record(
            path.stem,
            species=[str(getattr(site.specie, "symbol", site.specie)) for site in structure],
            lattice=np.array(structure.lattice.matrix),
            frac_coords=np.array(structure.frac_coords),
        )
    ]
