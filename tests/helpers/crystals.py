"""Crystals, structure files and a run's files that several test modules use."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dglframer.common.elements import atomic_number
from dglframer.common.files import write_parquet
from dglframer.data.crystals import crystals_table
from dglframer.data.rejections import Rejections
from dglframer.structures.crystal import Crystal

TARGETS = ("formation_energy_peratom", "optb88vdw_bandgap")
TINY_CUTOFF = 5.0

# The same crystal in both formats; {0} is the comment line.
POSCAR = """\
{0}
1.0
4.2 0.0 0.0
0.0 4.2 0.0
0.0 0.0 4.2
Cs Cl
1 1
Direct
0.0 0.0 0.0
0.5 0.5 0.5
"""
CIF = """\
data_x
_cell_length_a 4.2
_cell_length_b 4.2
_cell_length_c 4.2
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Cs1 Cs 0 0 0
Cl1 Cl 0.5 0.5 0.5
"""


def crystal(id: str, symbols: str, lattice_33, frac_N3, **labels: float) -> Crystal:
    """A crystal from the symbols of its sites, e.g. "Na Cl"."""
    numbers = [atomic_number(symbol) for symbol in symbols.split()]
    lattice_33, frac_N3 = np.array(lattice_33, float), np.array(frac_N3, float)
    return Crystal(id, np.array(numbers, np.int16), lattice_33, frac_N3, labels)


def reasons_by_id(rejections: Rejections) -> dict[str, str]:
    """Why each id was rejected; of an id that was rejected twice, one reason."""
    return {row["id"]: row["reason"] for row in rejections.table().to_pylist()}


@dataclass(frozen=True)
class Run:
    """The files of a run up to the graphs stage, and the validated crystals in them."""

    root: Path
    valid: list[Crystal]  # 12, sorted by id
    manifest: dict

    @property
    def crystals(self) -> Path:
        return self.root / "crystals.parquet"

    @property
    def split(self) -> Path:
        return self.root / "split.parquet"

    @property
    def graphs(self) -> Path:
        return self.root / "graphs"


def write_crystals(path: Path, crystals) -> None:
    """crystals.parquet with both TARGETS."""
    write_parquet(path, crystals_table(crystals, "test", TARGETS, dict.fromkeys(TARGETS, "eV")))
