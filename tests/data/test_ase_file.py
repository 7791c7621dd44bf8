"""Files that ASE reads as a data set."""

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from helpers.crystals import reasons_by_id

from dglframer.common.errors import ConfigError, DamagedFile
from dglframer.config.data import DatasetConfig
from dglframer.data.crystals import validated
from dglframer.data.rejections import Rejections
from dglframer.data.sources import open_source
from dglframer.data.sources.structure_files import read_structures

CRYSTAL = Atoms("NaCl", scaled_positions=[[0, 0, 0], [1.5, 0.5, 0.5]], cell=[5.6] * 3, pbc=True)
MOLECULE = Atoms("H2", [[0, 0, 0], [0, 0, 0.74]])


def with_info(atoms: Atoms, **info) -> Atoms:
    copy = atoms.copy()
    copy.info.update(info)
    return copy


def opened(path, target="gap", **more):
    return open_source(DatasetConfig(source="ase", path=str(path), targets=(target,), **more))


def read(path, target="gap"):
    rejections = Rejections()
    valid = list(validated(opened(path, target).records(), [target], rejections))
    return valid, reasons_by_id(rejections)


@pytest.mark.parametrize("name", ["all.extxyz", "all.traj", "all.db"])
def test_crystals_and_molecules_of_one_file(tmp_path, name):
    both = [with_info(CRYSTAL, id="salt", gap=8.5), with_info(MOLECULE, gap=11.0)]
    path = tmp_path / name
    if name == "all.db":
        for atoms in both:
            ase.db.connect(path).write(atoms, gap=atoms.info["gap"])
    else:
        ase.io.write(path, both)
    (crystal, molecule), reasons = read(path)
    assert not reasons
    assert (crystal.labels, molecule.labels) == ({"gap": 8.5}, {"gap": 11.0})
    np.testing.assert_allclose(crystal.lattice_33, 5.6 * np.eye(3))
    np.testing.assert_allclose(crystal.coords_N3, [[0, 0, 0], [1.5, 0.5, 0.5]], atol=1e-9)
    assert molecule.lattice_33 is None
    np.testing.assert_allclose(molecule.coords_N3, MOLECULE.positions)
    assert (crystal.id, molecule.id) == ("all-0" if name == "all.db" else "salt", "all-1")


def test_energy_of_a_calculation_is_a_label(tmp_path):
    atoms = CRYSTAL.copy()
    atoms.calc = SinglePointCalculator(atoms, energy=-6.5)
    ase.io.write(tmp_path / "run.traj", atoms)
    ((crystal,), _) = read(tmp_path / "run.traj", "energy")
    assert crystal.labels == {"energy": -6.5}


def test_slab_and_flat_cell_are_rejected_with_what_to_do(tmp_path):
    slab, flat = with_info(CRYSTAL, id="slab", gap=1.0), with_info(CRYSTAL, id="flat", gap=1.0)
    slab.pbc = [True, True, False]
    flat.cell[2] = 0
    ase.io.write(tmp_path / "a.traj", [slab, flat, with_info(CRYSTAL, gap=1.0)])
    valid, reasons = read(tmp_path / "a.traj")
    assert [one.id for one in valid] == ["a-2"]
    assert reasons["slab"].startswith("periodic along 2 of 3 axes: for a crystal state all three")
    flat = "cell without three independent vectors, periodic along 3 of 3 axes"
    assert reasons["flat"] == flat


def test_label_that_is_missing_or_text_is_validated_as_elsewhere(tmp_path):
    frames = [with_info(CRYSTAL, gap=gap) for gap in (1.0, "na", "wide")]
    ase.io.write(tmp_path / "a.extxyz", [*frames, CRYSTAL])
    valid, reasons = read(tmp_path / "a.extxyz")
    assert [one.id for one in valid] == ["a-0"]
    assert reasons == {
        "a-1": "no label gap",
        "a-2": "label gap is not a number: 'wide'",
        "a-3": "no label gap",
    }


def test_unit_comes_from_the_config_and_unknown_targets_are_named(tmp_path):
    ase.io.write(tmp_path / "a.extxyz", with_info(CRYSTAL, gap=1.0, age=2))
    source = opened(tmp_path / "a.extxyz", target_units={"gap": "eV"})
    assert source.unit("gap") == "eV" and source.files() == [tmp_path / "a.extxyz"]
    with pytest.raises(ConfigError, match="has no e; it has age, gap"):
        source.unit("e")


def test_broken_image_of_a_trajectory_is_one_rejected_record(tmp_path):
    path = tmp_path / "a.traj"
    ase.io.write(path, [with_info(CRYSTAL, gap=gap) for gap in (1.0, 2.0, 3.0)])
    path.write_bytes(path.read_bytes().replace(b'"gap": 2.0', b'"gap": 2,,', 1))
    valid, reasons = read(path)
    assert [one.id for one in valid] == ["a-0", "a-2"]
    assert list(reasons) == ["a-1"] and reasons["a-1"].startswith("cannot be read: JSONDecodeError")


def test_file_that_breaks_off_is_a_reason_or_stops_the_run(tmp_path):
    """As a structure file, or as a data set."""
    path = tmp_path / "a.xsf"
    ase.io.write(path, [CRYSTAL, CRYSTAL, CRYSTAL])
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    (record,) = read_structures([path])
    assert record.id == "a" and "a.xsf: ASE cannot read it" in record.problem
    with pytest.raises(DamagedFile, match=r"a\.xsf: ASE cannot read it"):
        list(opened(path).records())


def test_energy_of_a_database_is_a_label(tmp_path):
    atoms = CRYSTAL.copy()
    atoms.calc = SinglePointCalculator(atoms, energy=-6.5)
    ase.db.connect(tmp_path / "run.db").write(atoms)
    ((crystal,), _) = read(tmp_path / "run.db", "energy")
    assert (crystal.id, crystal.labels) == ("run-0", {"energy": -6.5})


@pytest.mark.parametrize("name", ["a@1.xsf", "[a] *.traj", "ä {x} #%s.extxyz"])
def test_names_with_signs_are_names(tmp_path, name):
    ase.io.write(tmp_path / "plain.traj", with_info(CRYSTAL, gap=1.0))
    if name.endswith(".traj"):
        (tmp_path / "plain.traj").rename(tmp_path / name)
    else:
        with open(tmp_path / name, "w") as file:
            ase.io.write(file, with_info(CRYSTAL, gap=1.0), format=name.rsplit(".", 1)[1])
    (record,) = opened(tmp_path / name).records()
    assert not record.problem and record.id == f"{name.rsplit('.', 1)[0]}-0"


@pytest.mark.parametrize("name", ["a.traj", "a.db", "a.xsf", "a.cfg"])
@pytest.mark.parametrize("content", [b"", b"2\n\nNa 0 0"])
def test_file_that_ase_cannot_read_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DamagedFile, match=rf"{name}: (ASE cannot read it|no SQLite database)"):
        list(opened(tmp_path / name).records())
    assert (tmp_path / name).read_bytes() == content


def test_absent_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no file"):
        opened(tmp_path / "b.extxyz")
