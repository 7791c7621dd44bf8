"""Crystals, structure files and a run's files that several test modules use."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dglframer.common.elements import atomic_number
from dglframer.common.parquet import write_parquet
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


def rocksalt() -> Crystal:
    """NaCl, primitive cell."""
    lattice_33 = 2.82 * (np.ones((3, 3)) - np.eye(3))
    return crystal("rocksalt", "Na Cl", lattice_33, [[0, 0, 0], [0.5, 0.5, 0.5]])


def cscl_like() -> Crystal:
    """Two elements on a body-centred cubic lattice."""
    return crystal("cscl", "Cs Cl", 4.12 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]])


def triclinic() -> Crystal:
    """No symmetry at all, and coordinates outside the cell."""
    lattice_33 = [[4.1, 0.3, -0.2], [-1.3, 5.2, 0.4], [0.9, 1.7, 6.3]]
    frac_N3 = [[0.03, 0.11, 0.92], [0.31, -0.42, 0.57], [1.68, 0.77, 0.24], [0.45, 0.15, 2.33]]
    return crystal("triclinic", "Li Si O F", lattice_33, frac_N3)


def quartz() -> Crystal:
    """Right-handed alpha quartz, P3_1 21: chiral."""
    a, c = 4.914, 5.405
    lattice_33 = [[a, 0, 0], [-a / 2, a * np.sqrt(3) / 2, 0], [0, 0, c]]
    u, (x, y, z) = 0.4697, (0.4135, 0.2669, 0.1191)
    silicon = [[u, 0, 1 / 3], [0, u, 2 / 3], [-u, -u, 0]]
    oxygen = [
        [x, y, z + 1 / 3],
        [-y, x - y, z + 2 / 3],
        [y - x, -x, z],
        [y, x, 2 / 3 - z],
        [x - y, -y, 1 / 3 - z],
        [-x, y - x, -z],
    ]
    return crystal("quartz", "Si Si Si O O O O O O", lattice_33, silicon + oxygen)


def mirror_site() -> Crystal:
    """Space group Pm: two images tie for the first axis, and a mirror, no rotation, relates them."""
    lattice_33 = np.array([[6.1, 0, 0], [1.4, 6.6, 0], [0, 0, 7.3]])
    sites_N3 = np.array([[0, 0, 0], [1.1, 0.7, 1.5], [1.1, 0.7, -1.5], [2.7, 3.9, 0]])
    return crystal("mirror", "Ti O O Sr", lattice_33, sites_N3 @ np.linalg.inv(lattice_33))


def hexagonal_site() -> Crystal:
    """Space group P622: a site with rotations and no mirror, twelve images in a shell.

    The third axes of its tied frames differ in nothing but odd powers of cosines from the seventh on.
    """
    turn_33 = np.array([[1, 1, 0], [-1, 0, 0], [0, 0, 1]])  # fractional: a sixth of a turn about c
    flip_33 = np.array([[0, 1, 0], [1, 0, 0], [0, 0, -1]])  # half a turn about a + b
    place_3 = np.array([0.36, 0.09, 0.21])
    oxygen = [
        place_3 @ flip @ np.linalg.matrix_power(turn_33, n)
        for flip in (np.eye(3), flip_33)
        for n in range(6)
    ]
    a, c = 7.4, 7.9
    lattice_33 = [[a, 0, 0], [-a / 2, a * np.sqrt(3) / 2, 0], [0, 0, c]]
    return crystal("P622", "K" + 12 * " O", lattice_33, [[0, 0, 0], *oxygen])


def copper() -> Crystal:
    """One atom with twelve neighbours in one shell."""
    return crystal("copper", "Cu", 1.8 * (np.ones((3, 3)) - np.eye(3)), [[0, 0, 0]])


def diamond() -> Crystal:
    lattice_33 = 1.785 * (np.ones((3, 3)) - np.eye(3))
    return crystal("diamond", "C C", lattice_33, [[0, 0, 0], [0.25, 0.25, 0.25]])


def own_images() -> Crystal:
    """One atom whose nearest images are its own, in pairs."""
    return crystal("own", "Fe", [[2.4, 0, 0], [0.9, 3.4, 0], [0.3, 1.1, 3.9]], [[0, 0, 0]])


def lonely() -> Crystal:
    """An atom without neighbours."""
    return crystal("lonely", "He", 30 * np.eye(3), [[0, 0, 0]])


def line() -> Crystal:
    """Two atoms far from all images: every neighbour is on one line."""
    return crystal("line", "H Li", 30 * np.eye(3), [[0, 0, 0], [0.02, 0.01, 0.01]])


def chain() -> Crystal:
    """Periodic along one direction: every neighbour is on one line, on both sides."""
    return crystal("chain", "C N", np.diag([2.6, 30, 30]), [[0, 0, 0], [0.45, 0, 0]])


def sheet() -> Crystal:
    """A flat layer: every neighbour is in one plane, and three are as near as each other."""
    lattice_33 = [[2.5, 0, 0], [-1.25, 2.5 * np.sqrt(3) / 2, 0], [0, 0, 30]]
    return crystal("sheet", "B N", lattice_33, [[0, 0, 0], [1 / 3, 2 / 3, 0]])


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
