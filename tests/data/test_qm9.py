"""QM9 from the installed package qm9pack."""

import sys
from itertools import islice

import numpy as np
import pytest

from dglframer.common.errors import ConfigError
from dglframer.config.data import DatasetConfig
from dglframer.data.crystals import validated
from dglframer.data.rejections import Rejections
from dglframer.data.sources import describe, open_source, qm9
from dglframer.data.sources.catalogue import BY_NAME
from dglframer.structures.crystal import validate
from dglframer.structures.periodic_graph import build_graph

GAP = "HOMO_LUMO_gap_au"


def opened(*targets):
    return open_source(DatasetConfig(source="qm9", targets=targets or (GAP,)))


def test_first_molecules_are_methane_ammonia_and_water():
    methane, ammonia, water = islice(opened(GAP, "Dipole_debye").records(), 3)
    assert [one.id for one in (methane, ammonia, water)] == [
        f"dsgdb9nsd_00000{k}" for k in (1, 2, 3)
    ]
    assert list(methane.species) == ["C", "H", "H", "H", "H"]
    assert methane.labels == {GAP: 0.5048, "Dipole_debye": 0.0}
    crystal = validate(methane, [GAP])
    assert crystal.lattice_33 is None
    bonds = np.linalg.norm(crystal.coords_N3[1:] - crystal.coords_N3[0], axis=1)
    np.testing.assert_allclose(bonds, 1.092, atol=1e-3)
    assert len(build_graph(crystal, 5.0).edges.src_E) == 25


def test_units_are_those_of_the_names():
    """Each name of qm9pack ends in its unit."""
    spelled = {"debye": "debye", "bohr3": "bohr^3", "bohr2": "bohr^2", "au": "hartree"}
    spelled |= {"GHz": "GHz", "K": "cal/(mol K)"}
    units = BY_NAME["qm9"].targets
    assert len(units) == 15
    for name, unit in units.items():
        assert unit == spelled[name.rpartition("_")[2]], name
        assert unit == opened(name).unit(name)


def test_files_are_found_without_importing_the_package():
    source = opened()
    description = describe(source)
    assert [entry["bytes"] > 10**7 for entry in description["files"]] == [True] * 3
    assert "qm9pack" not in sys.modules
    assert source.unit(GAP) == "hartree"


def test_a_thousand_molecules_are_valid():
    rejections = Rejections()
    molecules = list(validated(islice(opened().records(), 1000), [GAP], rejections))
    assert (len(molecules), list(rejections.reasons())) == (1000, [])
    assert {int(z) for one in molecules for z in one.numbers_N} == {1, 6, 7, 8, 9}


@pytest.mark.slow
def test_all_molecules_are_valid():
    rejections = Rejections()
    n_valid = sum(1 for _ in validated(opened().records(), [GAP], rejections))
    assert (n_valid, list(rejections.reasons())) == (130831, [])


def test_unknown_target_and_absent_package_are_named(monkeypatch):
    with pytest.raises(ConfigError, match="qm9 has no target gap; it has Dipole_debye"):
        opened("gap")
    monkeypatch.setattr(qm9.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'dglframer\[qm9\]'"):
        opened()


def test_broken_row_is_one_rejected_record():
    row = {"XYZ_file": "x.xyz", "XYZ_Ang": "[[1.0,a,2.0]]", "Elements": "['C']", GAP: "1"}
    assert opened().record(row).problem.startswith("cannot be read")
