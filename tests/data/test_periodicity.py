"""One rule for crystals and molecules in every format that states periodicity."""

import json
import math

import ase.db
import ase.io
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from helpers.crystals import reasons_by_id
from pymatgen.core import Lattice, Molecule, Structure

from dglframer.config.data import DatasetConfig
from dglframer.data.crystals import validated
from dglframer.data.rejections import Rejections
from dglframer.data.sources import open_source
from dglframer.data.sources.periodicity import structure_record
from dglframer.structures.crystal import Record

CELL_33 = 4.12 * np.eye(3)
FRAC_N3 = [[0, 0, 0], [0.5, 0.5, 0.5]]
WATER = molecule("H2O")


def atoms(pbc, cell_33=CELL_33, frac_N3=FRAC_N3) -> Atoms:
    return Atoms("CsCl", scaled_positions=frac_N3, cell=cell_33, pbc=pbc, info={"gap": 1.0})


def write(path, name: str, one: Atoms):
    """The structure in a file of the source's format, labelled 1; returns the source's name."""
    pbc = [bool(flag) for flag in one.pbc]
    numbers, cell_33 = one.numbers.tolist(), one.cell.array
    has_cell = one.cell.rank == 3
    coords_N3 = one.get_scaled_positions(wrap=False) if has_cell else one.positions
    if name in ("extxyz", "traj"):
        ase.io.write(path / f"a.{name}", one)
        return "ase", path / f"a.{name}"
    if name == "db":
        ase.db.connect(path / "a.db").write(one, gap=1.0)
        return "ase", path / "a.db"
    if name == "parquet":
        columns = {
            "id": ["a"],
            "numbers": [numbers],
            "lattice": pa.array(
                [cell_33.ravel().tolist() if has_cell else None], pa.list_(pa.float64())
            ),
            "frac_coords": [coords_N3.ravel().tolist()],
            "pbc": [pbc],
            "gap": [1.0],
        }
        pq.write_table(pa.table(columns), path / "a.parquet")
        return "parquet", path / "a.parquet"
    symbols = one.get_chemical_symbols()
    if name == "jarvis":
        structure = {"lattice_mat": cell_33.tolist(), "coords": coords_N3.tolist()}
        entry = {"atoms": {**structure, "elements": symbols, "cartesian": False, "pbc": pbc}}
    elif has_cell:
        lattice = Lattice(cell_33, pbc=tuple(pbc))
        entry = {"structure": Structure(lattice, symbols, coords_N3).as_dict()}
    else:
        entry = {"structure": Molecule(symbols, coords_N3).as_dict()}
    (path / "a.json").write_text(json.dumps([{"id": "a", "gap": 1.0, **entry}]))
    return "json", path / "a.json"


def read(tmp_path, name, one, **more):
    """(the crystal or None, the reason or None)."""
    kind, path = write(tmp_path, name, one)
    dataset = DatasetConfig(source=kind, path=str(path), targets=("gap",), **more)
    rejections = Rejections()
    valid = list(validated(open_source(dataset).records(), ["gap"], rejections))
    (found,) = [*valid, *reasons_by_id(rejections).values()]
    return (None, found) if isinstance(found, str) else (found, None)


FORMATS = ["extxyz", "traj", "db", "pymatgen", "jarvis", "parquet"]


@pytest.mark.parametrize("name", FORMATS)
def test_periodic_along_three_axes_is_a_crystal(tmp_path, name):
    crystal, _ = read(tmp_path, name, atoms(True))
    np.testing.assert_allclose(crystal.lattice_33, CELL_33)
    np.testing.assert_allclose(crystal.coords_N3, FRAC_N3, atol=1e-12)
    assert crystal.labels == {"gap": 1.0}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("pbc", "cell_33", "reason"),
    [
        ((True, True, False), np.diag([4.12, 4.12, 20]), "periodic along 2 of 3 axes: "),
        ((False, True, False), np.diag([20, 4.12, 20]), "periodic along 1 of 3 axes: "),
        (False, CELL_33, "stated as not periodic, but the cell is tight: images are 3.57 angstrom"),
        (False, np.diag([4.12, 30, 30]), "stated as not periodic, but the cell is tight: images "),
    ],
)
def test_slab_wire_and_tight_cell_are_refused_or_assumed_periodic(
    tmp_path, name, pbc, cell_33, reason
):
    one = atoms(pbc, cell_33)
    crystal, found = read(tmp_path, name, one)
    assert crystal is None and found.startswith(reason)
    (tmp_path / "again").mkdir()
    crystal, _ = read(tmp_path / "again", name, one, periodicity="assume_periodic")
    np.testing.assert_allclose(crystal.lattice_33, cell_33)


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "jarvis"])
@pytest.mark.parametrize("assumed", ["as_stated", "assume_periodic"])
def test_without_a_cell_it_is_a_molecule(tmp_path, name, assumed):
    one = WATER.copy()
    one.info["gap"] = 1.0
    crystal, _ = read(tmp_path, name, one, periodicity=assumed)
    assert crystal.lattice_33 is None
    np.testing.assert_allclose(crystal.coords_N3, WATER.positions, atol=1e-7)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("at_origin", [True, False])
def test_box_with_room_around_a_molecule_is_no_cell(tmp_path, name, at_origin):
    """Also where the molecule lies across the faces of the box."""
    one = WATER.copy()
    one.info["gap"] = 1.0
    one.center(vacuum=3.0)
    if at_origin:
        one.positions -= one.positions.mean(0)
    crystal, reason = read(tmp_path, name, one)
    assert reason is None and crystal.lattice_33 is None
    np.testing.assert_allclose(crystal.coords_N3, one.positions, atol=1e-7)


def test_assumption_is_in_the_notes(tmp_path):
    kind, path = write(tmp_path, "extxyz", atoms(False))
    for periodicity, n_notes in (("as_stated", 0), ("assume_periodic", 1)):
        dataset = DatasetConfig(source=kind, path=str(path), periodicity=periodicity)
        assert len(open_source(dataset).notes()) == n_notes


@pytest.mark.parametrize("symbol", ["Cs", "Xe", "Pb", "H"])
@pytest.mark.parametrize("cubic", [True, False])
def test_every_crystal_of_an_element_is_tight(symbol, cubic):
    """Caesium has the farthest neighbours of all elements."""
    one = bulk(symbol, "bcc" if symbol == "Cs" else "fcc", a={"H": 5.3}.get(symbol), cubic=cubic)
    record = structure_record(
        "x", list(one.symbols), one.cell.array, one.get_scaled_positions(), False
    )
    assert "the cell is tight" in record.problem


@pytest.mark.parametrize(
    ("cell_33", "frac_N3", "pbc", "reason"),
    [
        (np.zeros((3, 3)), FRAC_N3, False, "cell of 0 cubic angstrom per atom"),
        (CELL_33, [[0, 0, math.nan]] * 2, False, "fractional coordinates: NaN or infinite"),
        (CELL_33[:2], FRAC_N3, False, "lattice: shape (2, 3)"),
        (CELL_33, FRAC_N3, [True, True], "pbc [True, True] is not three truth values"),
        (CELL_33, FRAC_N3, "TTT", "pbc 'TTT' is not three truth values"),
        (CELL_33, FRAC_N3, None, "pbc None is not three truth values"),
    ],
)
def test_what_cannot_be_told_is_a_problem(cell_33, frac_N3, pbc, reason):
    record = structure_record("x", ["Cs", "Cl"], cell_33, frac_N3, pbc, labels={"gap": 1})
    assert isinstance(record, Record) and record.labels == {"gap": 1}
    assert record.problem.startswith(reason)


def test_lattice_that_is_missing_in_a_periodic_row_is_refused(tmp_path):
    columns = {"id": ["a"], "numbers": [[1]], "frac_coords": [[0.0] * 3], "pbc": [[True] * 3]}
    columns["lattice"] = pa.array([None], pa.list_(pa.float64()))
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    dataset = DatasetConfig(source="parquet", path=str(tmp_path / "a.parquet"))
    (record,) = open_source(dataset).records()
    assert record.problem.startswith("no lattice, but pbc")
