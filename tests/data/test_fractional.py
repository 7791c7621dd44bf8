"""Cartesian numbers in the place of fractional coordinates."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.crystals import copper, cscl_like, diamond, quartz, rocksalt, triclinic

from dglframer.common.errors import Rejected
from dglframer.config.data import DatasetConfig
from dglframer.data.sources import open_source
from dglframer.structures.crystal import Record, reject_cartesian, validate
from dglframer.structures.periodic_graph import build_graph

CRYSTALS = [cscl_like(), diamond(), quartz(), rocksalt(), triclinic(), copper()]


def in_cell(crystal):
    frac_N3 = crystal.coords_N3 - np.floor(crystal.coords_N3)
    return frac_N3, frac_N3 @ crystal.lattice_33


@pytest.mark.parametrize("crystal", CRYSTALS, ids=lambda one: one.id)
def test_fractions_pass_in_the_cell_or_out_of_it(crystal):
    for frac_N3 in (
        crystal.coords_N3,
        in_cell(crystal)[0],
        crystal.coords_N3 + 1,
        crystal.coords_N3 - 2,
    ):
        read = validate(Record("a", crystal.numbers_N, crystal.lattice_33, frac_N3))
        assert np.array_equal(read.coords_N3, frac_N3)


@pytest.mark.parametrize(
    "crystal", [cscl_like(), quartz(), rocksalt(), triclinic()], ids=lambda one: one.id
)
def test_cartesian_numbers_are_refused(crystal):
    """Not those of diamond: 0.89 three times may well be a fraction."""
    with pytest.raises(Rejected, match="these are Cartesian"):
        reject_cartesian(crystal.lattice_33, in_cell(crystal)[1])


def test_single_site_is_the_same_crystal_wherever_it_is():
    cells = [validate(Record("a", ["Cu"], 4 * np.eye(3), [[x, x, x]])) for x in (0.0, 2.0)]
    here, there = (build_graph(cell, 6.0) for cell in cells)
    assert np.array_equal(here.vectors_E3, there.vectors_E3) and len(here.vectors_E3) > 1


@pytest.mark.parametrize("name", ["parquet", "jarvis", "pymatgen"])
def test_every_source_of_fractions_refuses_them(tmp_path, name):
    crystal = rocksalt()
    lattice, coords = crystal.lattice_33.tolist(), in_cell(crystal)[1].tolist()
    flat = {"lattice": [crystal.lattice_33.ravel()], "frac_coords": [in_cell(crystal)[1].ravel()]}
    if name == "parquet":
        columns = {"id": ["a"], "numbers": [[11, 17]], "gap": [1.0], **flat}
        pq.write_table(pa.table(columns), tmp_path / "a")
    else:
        sites = [{"species": [{"element": "Na", "occu": 1}], "abc": site} for site in coords]
        structure = {"structure": {"lattice": {"matrix": lattice}, "sites": sites}}
        atoms = {"lattice_mat": lattice, "coords": coords, "elements": ["Na", "Cl"]}
        entry = {"atoms": {**atoms, "cartesian": False}} if name == "jarvis" else structure
        (tmp_path / "a").write_text(json.dumps([{"id": "a", "gap": 1.0, **entry}]))
    kind = "parquet" if name == "parquet" else "json"
    dataset = DatasetConfig(source=kind, path=str(tmp_path / "a"), targets=("gap",))
    (record,) = open_source(dataset).records()
    with pytest.raises(Rejected, match="these are Cartesian"):
        validate(record, ("gap",))
