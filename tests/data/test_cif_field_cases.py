"""CIF files after public bug reports: each gives the right crystal, or the reason."""

import numpy as np
import pytest
from helpers.cif import content, told
from helpers.paths import SHARED, needs_shared

from dglframer.data.sources.cif import read_cif
from dglframer.structures.crystal import validate

pytestmark = needs_shared

CASES = SHARED / "field_cases"

CRYSTALS = {
    "cif_rhombohedral_axes.cif": ({"Bi": 2}, 3.073, 36),
    "cif_origin_choice_2.cif": ({"Si": 8}, 2.352, 224),
    "cif_old_symbol.cif": ({"Na": 4, "Cl": 4}, 2.820, 208),
    "cif_hall_only.cif": ({"Cs": 2, "Cl": 2}, 3.949, 4),
}
CONTENTS = {
    "cif_three_digits.cif": {"La": 1, "F": 1},
    "cif_occupancy_dot.cif": {"Cs": 1, "Cl": 1},
    "cif_2H.cif": {"Li": 1, "H": 1},
    "cif_dummy_site.cif": {"Cs": 1, "Cl": 1},
    "cif_byte_order_mark.cif": {"Cs": 1, "Cl": 1},
    "magnetic.mcif": {"Ni": 2, "O": 2},
}
REASONS = {
    "cif_disorder_groups.cif": "disordered: alternative sites (groups 1, 2)",
    "cif_type_OH.cif": "site O1: its type 'OH' is no element",
    "cif_attached_hydrogens.cif": "hydrogen positions missing: 2 attached to site O1",
    "cif_formula_has_hydrogen.cif": "hydrogen positions missing: sites Na1 O1, formula H1 Na1 O1",
    "cif_coordinates_dot.cif": "site Cs1: its x is not given (.)",
}


VOLUMES = {
    "cif_rhombohedral_axes.cif": 70.77,
    "cif_origin_choice_2.cif": 160.19,
    "cif_old_symbol.cif": 179.41,
    "cif_hall_only.cif": 1680.00,
    "cif_byte_order_mark.cif": 69.93,
    "cif_two_crystals.cif": 69.93,
    "magnetic.mcif": 72.88,
}


@pytest.mark.parametrize("name", VOLUMES)
def test_the_cell_is_that_of_the_file(name):
    crystal = validate(read_cif(CASES / name)[0])
    assert abs(np.linalg.det(crystal.lattice_33)) == pytest.approx(VOLUMES[name], abs=0.005)


@pytest.mark.parametrize("name", CRYSTALS)
def test_symmetry_gives_the_known_crystal(name):
    (record,) = read_cif(CASES / name)
    assert told(record) == CRYSTALS[name]


@pytest.mark.parametrize("name", CONTENTS)
def test_sites_give_the_known_contents(name):
    (record,) = read_cif(CASES / name)
    assert content(record) == CONTENTS[name]


@pytest.mark.parametrize("name", REASONS)
def test_what_is_no_whole_crystal_is_refused_with_its_reason(name):
    (record,) = read_cif(CASES / name)
    assert record.problem.startswith(REASONS[name])


def test_two_blocks_are_two_records():
    first, second = read_cif(CASES / "cif_two_crystals.cif")
    assert (first.id, second.id) == ("cif_two_crystals-0", "cif_two_crystals-1")
    assert content(first) == {"Cs": 1, "Cl": 1} and content(second) == {"Cs": 1, "Br": 1}


def test_every_cif_among_the_field_cases_has_its_answer_here():
    files = {path.name for path in CASES.iterdir() if path.name.endswith((".cif", ".mcif"))}
    assert files == {*CRYSTALS, *CONTENTS, *REASONS, "cif_two_crystals.cif"}
