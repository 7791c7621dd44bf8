"""Crystals and a small graph folder that several test modules use."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

from dglframer.crystals import Crystal, crystals_table, validated
from dglframer.data_config import GraphsConfig
from dglframer.device import settle_mkl
from dglframer.elements import atomic_number
from dglframer.files import write_parquet
from dglframer.rejections import Rejections
from dglframer.shards import write_graphs
from dglframer.sources.jarvis_minerals import JarvisMinerals
from dglframer.split import write_split

ROOT = Path(__file__).resolve().parents[1]
# Real crystals that are not part of the project: developers and CI have them, others need not.
SHARED = ROOT.parent / "shared"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no folder {SHARED}")

STRUCTURES = SHARED / "data" / "structures"
EXPECTED = json.loads((STRUCTURES / "expected.json").read_text()) if SHARED.is_dir() else {}

TARGETS = ("formation_energy_peratom", "optb88vdw_bandgap")
TINY_CUTOFF = 5.0

# The same examples in every run: a red test must mean a changed program.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")
os.environ.setdefault("DGLBACKEND", "pytorch")
# Triton looks at this when it decorates functions, its own and ours; e3nn already imports Triton.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
settle_mkl()  # as commands do: what is computed here is compared with what they compute

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


@pytest.fixture
def rocksalt() -> Crystal:
    """NaCl, primitive cell."""
    lattice_33 = 2.82 * (np.ones((3, 3)) - np.eye(3))
    return crystal("rocksalt", "Na Cl", lattice_33, [[0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.fixture
def cscl_like() -> Crystal:
    """Two elements on a body-centred cubic lattice."""
    return crystal("cscl", "Cs Cl", 4.12 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.fixture
def triclinic() -> Crystal:
    """No symmetry at all, and coordinates outside the cell."""
    lattice_33 = [[4.1, 0.3, -0.2], [-1.3, 5.2, 0.4], [0.9, 1.7, 6.3]]
    frac_N3 = [[0.03, 0.11, 0.92], [0.31, -0.42, 0.57], [1.68, 0.77, 0.24], [0.45, 0.15, 2.33]]
    return crystal("triclinic", "Li Si O F", lattice_33, frac_N3)


@pytest.fixture
def shared_data() -> Path:
    """The folder of real crystals; the test is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"no folder {SHARED}")
    return SHARED / "data"


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


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory) -> Run:
    """Six train, three val and three test crystals of jarvis_minerals in three shards.

    It is shared: copy what you change.
    """
    found = sorted(
        validated(JarvisMinerals(TARGETS).records(), TARGETS, Rejections()),
        key=lambda one: (len(one.numbers_N), one.id),
    )
    wanted = {"train": 6, "val": 3, "test": 3}
    valid = [
        one
        for part, n in wanted.items()
        for one in [c for c in found if c.split == part][20 : 20 + n]
    ]
    root = tmp_path_factory.mktemp("tiny")
    write_crystals(root / "crystals.parquet", valid)
    write_split({one.id: one.split for one in valid}, root / "split.parquet")
    manifest = write_graphs(
        root / "crystals.parquet",
        root / "graphs",
        GraphsConfig(cutoff_angstrom=TINY_CUTOFF, crystals_per_shard=5),
    )
    return Run(root, sorted(valid, key=lambda one: one.id), manifest)
