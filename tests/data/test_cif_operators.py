"""CIF: listed symmetry operators, alone and beside a symbol; modulated and magnetic structures."""

import numpy as np
import pytest
from helpers.cif import (
    BISMUTH_HEXAGONAL,
    DIAMOND,
    FACE_CENTRING,
    ROCKSALT,
    SALT,
    SILICON,
    cif,
    content,
    record,
    told,
)

from dglframer.structures.crystal import validate


@pytest.mark.parametrize(
    "name",
    [
        "_symmetry_equiv_pos_as_xyz",
        "_symmetry_equiv.pos_as_xyz",
        "_space_group_symop_operation_xyz",
        "_space_group_symop.operation_xyz",
        "_Space_Group_Symop.Operation_XYZ",
        "_space_group_symop_operation_xyz_",
        "_space_group_symop_magn_operation.xyz",
    ],
)
def test_listed_operators_are_read_under_each_name(tmp_path, name):
    sites = ["Na 0 0 0", "Cl 0.5 0 0"]
    text = cif(SALT[0], sites, operators=FACE_CENTRING)
    text = text.replace("_symmetry_equiv_pos_as_xyz", name)
    elements, bond, _ = told(record(tmp_path, text))
    assert (elements, bond) == ({"Na": 4, "Cl": 4}, 2.82)


@pytest.mark.parametrize(
    "name", ["_symmetry_equiv_pos_xyz_new", "_space_group_symop.generator_xyz"]
)
def test_operators_under_an_unknown_name_are_not_passed_over(tmp_path, name):
    text = cif(*SALT, operators=FACE_CENTRING, symmetry_space_group_name_H__M="P 1")
    text = text.replace("_symmetry_equiv_pos_as_xyz", name)
    assert "a name that is not known" in record(tmp_path, text).problem


def test_two_lists_have_to_agree(tmp_path):
    text = cif(*SALT, operators=FACE_CENTRING)
    more = "loop_\n_space_group_symop_operation_xyz\n"
    agree = text + more + "\n".join(FACE_CENTRING[::-1]) + "\n"
    assert content(record(tmp_path, agree)) == {"Na": 4, "Cl": 4}
    assert "list different operators" in record(tmp_path, text + more + "x,y,z\n").problem


@pytest.mark.parametrize(
    "triplets",
    [
        ("X, Y, Z", "-X, -Y, 1/2+Z"),
        ("+x,+y,+z", "-x,-y,z+.5"),
        ("x,y,z", "-x , -y , z+0.50"),
        ("x,y,z", "-x,-y,z-1/2"),
        ("x,y,z", "-x+1,-y+1,z+3/2"),
        ("1*x,y,z", "-1*x,-y,2/4+z"),
        ("x,y,z", "-x,-y,z+1/2", "x,y,z"),
    ],
)
def test_operators_in_any_spelling(tmp_path, triplets):
    text = cif((5, 6, 7), ["C 0.1 0.2 0.3"], operators=triplets)
    crystal = validate(record(tmp_path, text))
    assert (
        np.allclose(sorted(crystal.coords_N3[:, 2] % 1), [0.3, 0.8]) and len(crystal.coords_N3) == 2
    )


@pytest.mark.parametrize(
    "third",
    ["1/3 2/3", "0.33 0.67", "0.333 0.667", "0.3333 0.6667", "0.33333 .66667", "0.333 0.666"],
)
def test_thirds_in_operators_are_exact(tmp_path, third):
    one, two = third.split()
    shifts = ("x,y,z", f"x+{two},y+{one},z+{one}", f"x+{one},y+{two},z+{two}")
    text = cif(BISMUTH_HEXAGONAL, ["Bi 0 0 0.234", "Bi 0 0 0.766"], operators=shifts)
    assert told(record(tmp_path, text)) == ({"Bi": 6}, 3.073, 108)


def test_a_listed_setting_of_its_own_agrees_by_its_type(tmp_path):
    """P 21 21 21 with another origin is in no table, yet it is group 19 and no other."""
    operators = ("x,y,z", "-x+1/4,-y,z+1/2", "-x+3/4,y+1/2,-z+1/2", "x+1/2,-y+1/2,-z")
    cell, site = (5, 6, 7), ["C 0.1 0.2 0.3"]
    text = cif(cell, site, operators=operators, symmetry_space_group_name_H__M="P 21 21 21")
    assert content(record(tmp_path, text)) == {"C": 4}
    text = cif(cell, site, operators=operators, symmetry_space_group_name_H__M="P 21 21 2")
    assert record(tmp_path, text).problem == "the 4 listed operators contradict P 21 21 2"


def test_listed_operators_of_another_origin_contradict_the_symbol(tmp_path):
    import spglib

    found = spglib.get_symmetry_from_database(525)
    triplets = []
    for R, t in zip(found["rotations"], found["translations"], strict=True):
        rows = (
            "".join(f"{n:+d}*{axis}" for n, axis in zip(row, "xyz", strict=True) if n) for row in R
        )
        triplets.append(
            ",".join(f"{row}{round(n * 24):+d}/24" for row, n in zip(rows, t, strict=True))
        )
    text = cif(SILICON, ["Si 0 0 0"], operators=triplets, symmetry_space_group_name_H__M="F d -3 m")
    assert told(record(tmp_path, text)) == DIAMOND
    text = text.replace("F d -3 m", "F d -3 m :2")
    assert record(tmp_path, text).problem == (
        "the 192 listed operators contradict F d -3 m :2: F d -3 m :1 has them"
    )


MODULATED = [
    "_cell_modulation_dimension 1",
    "_space_group_ssg_name 'P n m a(0,0,g)0s0'",
    "_space_group_ssg.name_IT 'P n m a(0,0,g)0s0'",
    "loop_\n_space_group_symop_ssg_operation_algebraic\n'x1,x2,x3,x4'",
    "loop_\n_space_group_symop_magn_ssg_operation.algebraic\n'x1,x2,x3,x4,+1'",
    "loop_\n_space_group_symop_operation_xyz\n'x1,x2,x3,x4'",
    "loop_\n_cell_wave_vector_seq_id\n_cell_wave_vector_x\n1 0.31",
    "loop_\n_atom_site_Fourier_wave_vector_seq_id\n1",
    "loop_\n_atom_site_displace_Fourier_atom_site_label\nNa1",
    "_cell_subsystem_code 1",
]


@pytest.mark.parametrize("line", MODULATED)
def test_modulated_structures_are_refused_by_name(tmp_path, line):
    text = cif(*SALT, symmetry_space_group_name_H__M="F m -3 m") + line + "\n"
    assert record(tmp_path, text).problem.startswith("modulated structure (")


def test_a_modulation_of_dimension_zero_is_none(tmp_path):
    text = cif(*SALT, symmetry_space_group_name_H__M="F m -3 m") + "_cell_modulation_dimension 0\n"
    assert told(record(tmp_path, text)) == ROCKSALT


def test_magnetic_operators_with_centring_translations(tmp_path):
    """Time reversal is left away; the parent's symbol is not the symmetry of the magnetic cell."""
    text = cif(
        (8.354,) * 3, ["Ni 0 0 0", "O 0.25 0.25 0.25"], **{"parent_space_group.IT_number": 225}
    )
    text += "loop_\n_space_group_symop_magn_operation.xyz\nx,y,z,+1\n-x,-y,-z,+1\n"
    text += "loop_\n_space_group_symop_magn_centering.xyz\n"
    text += "x,y,z,+1\nx+1/2,y+1/2,z,+1\nx,y+1/2,z+1/2,-1\nx+1/2,y,z+1/2,-1\n"
    for name in ("case.mcif", "case.cif"):
        assert content(record(tmp_path, text, name)) == {"Ni": 4, "O": 8}
