"""Inputs after public bug reports: a right crystal or a reason, from every source that takes them."""

import csv
import re
import shutil

import numpy as np
import pytest
from helpers.crystals import reasons_by_id
from helpers.paths import SHARED, needs_shared

from dglframer.config.data import DatasetConfig
from dglframer.data.crystals import validated
from dglframer.data.rejections import Rejections
from dglframer.data.sources import open_source
from dglframer.data.sources.structure_files import read_structures
from dglframer.structures.crystal import validate
from dglframer.structures.periodic_graph import build_graph

CASES = SHARED / "field_cases"
CSCL, SLAB = ({"Cs": 1, "Cl": 1}, 69.934528), "periodic along 2 of 3 axes"
TIGHT = "stated as not periodic, but the cell is tight: images are 3.57 angstrom"
CELLS = {
    f"{symbol}-{n}": ({symbol: n}, n * volume)
    for n in (1, 2, 3)
    for symbol, volume in (("Cu", 2 * 1.8**3), ("Al", 2 * 2.025**3), ("Ni", 2 * 1.76**3))
}
B2 = {
    "mp-a": ("Cs Cl", 3.0),
    "mp-b": ("Li Al", 3.2),
    "mp-c": ("Ni Al", 3.4),
    "mp-d": ("Ti Fe", 3.6),
}
# By file: id to (atoms, volume in cubic angstrom) or the beginning of the reason.
EXPECTED = {
    "cell_but_pbc_F.extxyz": {"cell_but_pbc_F": TIGHT},
    "list_pbc_TTF.json": {"slab": SLAB, "bulk": CSCL},
    "dots_in_names/POSCAR_0.25": {"POSCAR_0.25": CSCL},
    "dots_in_names/POSCAR_0.50": {"POSCAR_0.50": ({"Cs": 1, "Cl": 1}, 4.2**3)},
    "run1/CONTCAR": {"run1/CONTCAR": CSCL},
    "run2/CONTCAR": {"run2/CONTCAR": ({"Cs": 1, "Cl": 1}, 4.2**3)},
    "moduli.json": {id: ({s: 1 for s in names.split()}, a**3) for id, (names, a) in B2.items()},
    "PuO2.vasp": {"PuO2": ({"Pu": 1, "O": 2}, 2 * 2.698**3)},
    "energies_per_cell.extxyz": CELLS,
    "three_scales.vasp": {"three_scales": ({"Cs": 1, "Cl": 1}, 216.0)},
    "list.json.gz": {"bulk": CSCL},
    "magnetic.mcif": {"magnetic": ({"Ni": 2, "O": 2}, 4.177**3)},
}
FILES = list(EXPECTED)

pytestmark = needs_shared


def outcome(record):
    """What ``EXPECTED`` has for a record: atoms and volume, or the reason."""
    crystal = validate(record)
    atoms = {symbol: list(record.species).count(symbol) for symbol in set(record.species)}
    return atoms, abs(np.linalg.det(crystal.lattice_33))


def check(valid, reasons, expected):
    assert valid.keys() | reasons.keys() == expected.keys()
    for id, right in expected.items():
        if isinstance(right, str):
            assert reasons[id].startswith(right)
        else:
            assert valid[id] == (right[0], pytest.approx(right[1], rel=1e-6))


def test_no_case_is_left_out():
    """CIF has tests of its own."""
    rows = re.findall(r"^\| ([^ |]+\.?\w*) \|", (CASES / "README.md").read_text(), re.MULTILINE)
    others = {row for row in rows if not row.endswith(".cif")} - {"file"}
    assert others == EXPECTED.keys() | {"dots_in_names/targets.csv"}


def test_files_one_by_one():
    """As ``predict`` reads them."""
    valid, reasons = {}, {}
    for record in read_structures([CASES / name for name in FILES]):
        if record.problem:
            reasons[record.id] = record.problem
        else:
            valid[record.id] = outcome(record)
    expected = {}
    for name in FILES:
        expected |= EXPECTED[name]
    # Two lists have the entry bulk; it is the same crystal.
    check(valid, reasons, expected)


@pytest.mark.parametrize("name", FILES)
def test_case_in_a_folder(tmp_path, name):
    (tmp_path / "files" / name).parent.mkdir(parents=True)
    shutil.copy(CASES / name, tmp_path / "files" / name)
    short = {"run1/CONTCAR": "CONTCAR", "run2/CONTCAR": "CONTCAR"}
    expected = {short.get(id, id): right for id, right in EXPECTED[name].items()}
    with open(tmp_path / "targets.csv", "w", newline="") as file:
        csv.writer(file).writerows([("id", "gap"), *((id, 1.5) for id in expected)])
    dataset = DatasetConfig(
        source="folder",
        path=str(tmp_path / "files"),
        targets_csv=str(tmp_path / "targets.csv"),
        targets=("gap",),
    )
    records = list(open_source(dataset).records())
    assert all(record.labels == {"gap": 1.5} for record in records)
    valid = {record.id: outcome(record) for record in records if not record.problem}
    reasons = {record.id: record.problem for record in records if record.problem}
    check(valid, reasons, expected)


def test_dots_in_names_with_their_own_table():
    folder = str(CASES / "dots_in_names")
    dataset = DatasetConfig(
        source="folder", path=folder, targets_csv=f"{folder}/targets.csv", targets=("gap",)
    )
    valid = validated(open_source(dataset).records(), ["gap"], Rejections())
    labels = {one.id: one.labels["gap"] for one in valid}
    assert labels == {"POSCAR_0.25": 1.0, "POSCAR_0.50": 2.0}


@pytest.mark.parametrize(
    ("source", "name", "target", "labels"),
    [
        ("ase", "cell_but_pbc_F.extxyz", "gap", {}),
        ("ase", "energies_per_cell.extxyz", "energy", {"Cu-1": -3.7, "Cu-3": -11.1, "Ni-2": -11}),
        ("json", "list_pbc_TTF.json", "gap", {"bulk": 1.0}),
        ("json", "list.json.gz", "gap", {"bulk": 1.0}),
        ("json", "moduli.json", "bulk_modulus.vrh", {"mp-a": 165.2, "mp-b": -57.0}),
    ],
)
def test_case_as_a_file_of_many(source, name, target, labels):
    dataset = DatasetConfig(source=source, path=str(CASES / name), targets=(target,))
    records = list(open_source(dataset).records())
    valid = {record.id: outcome(record) for record in records if not record.problem}
    reasons = {record.id: record.problem for record in records if record.problem}
    expected = {
        id.replace("cell_but_pbc_F", "cell_but_pbc_F-0"): right
        for id, right in EXPECTED[name].items()
    }
    check(valid, reasons, expected)
    found = {record.id: record.labels[target] for record in records}
    assert labels.items() <= found.items()


def test_caesium_chloride_has_its_neighbours_as_a_crystal_only():
    dataset = {"source": "ase", "path": str(CASES / "cell_but_pbc_F.extxyz"), "targets": ("gap",)}
    rejections = Rejections()
    assert not list(validated(open_source(DatasetConfig(**dataset)).records(), [], rejections))
    assert reasons_by_id(rejections)["cell_but_pbc_F-0"].startswith(TIGHT)
    assumed = DatasetConfig(**dataset, periodicity="assume_periodic")
    (record,) = open_source(assumed).records()
    graph = build_graph(validate(record), 3.6)
    distances_E = np.linalg.norm(graph.vectors_E3, axis=1)
    np.testing.assert_allclose(distances_E[distances_E > 0], 2.06 * 3**0.5)
    assert (distances_E > 0).sum() == 16  # 8 around each


def test_three_factors_scale_x_y_and_z():
    (record,) = read_structures([CASES / "three_scales.vasp"])
    np.testing.assert_allclose(record.lattice, [[4, 3, 0], [0, 6, 4], [2, 0, 8]])
