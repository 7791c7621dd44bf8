"""POSCAR and CONTCAR: every variant that VASP takes, and no crystal that the file does not state."""

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.io import read as ase_read
from helpers.crystals import POSCAR
from hypothesis import given
from hypothesis import strategies as st

from dglframer.common.errors import Rejected
from dglframer.data.sources.poscar import parse_poscar, read_poscar
from dglframer.structures.crystal import validate

CUBIC = POSCAR.format("comment")  # CsCl, 4.2 angstrom
CARTESIAN = CUBIC.replace("Direct", "Cartesian").replace("0.5 0.5 0.5", "2.1 2.1 2.1")
FLAGGED = CUBIC.replace("Direct", "Selective dynamics\nDirect").replace(
    "0.5 0.5 0.5", "0.5 .5 5d-1 T F F"
)


@pytest.mark.parametrize(
    "text",
    [
        CUBIC,
        CARTESIAN,
        FLAGGED,
        CUBIC.replace("comment", ""),
        CUBIC.replace("Direct", "d"),
        CUBIC.replace("Direct", "DIRECT lattice"),
        CARTESIAN.replace("Cartesian", "  kartesian"),
        FLAGGED.replace("Selective dynamics", "sel"),
        CUBIC.replace("\n1.0\n", "\n1.0 ! scale\n").replace("1 1\n", "1 1  # counts\n"),
        CUBIC.replace("Cs Cl", "Cs_sv_GW/0a1b  Cl/79d9987ad87"),
        CUBIC.replace("Cs Cl\n1 1", "Cs\nCl\n1\n1"),
        CUBIC.replace("0.0 0.0 4.2", "0.0 0.0 4.2  vector c"),
        CUBIC.replace("0.5 0.5 0.5", "0.5 0.5 0.5 Cl") + "\n\n",
        CUBIC + "\n0 0 0\n0 0 0\n",  # velocities after an empty line
        CUBIC + "Lattice velocities and vectors\n1\n0 0 0\n",
        CUBIC.replace("\n", "\r\n"),
        CUBIC.replace("\n4.2 0.0", "\n\t4.2\t0.0"),
    ],
)
def test_spellings_of_one_crystal(text):
    symbols, lattice_33, frac_N3 = parse_poscar(text)
    assert symbols == ["Cs", "Cl"]
    np.testing.assert_allclose(lattice_33, 4.2 * np.eye(3))
    np.testing.assert_allclose(frac_N3, [[0, 0, 0], [0.5, 0.5, 0.5]], atol=1e-15)


SKEWED = """\
skewed
{0}
2 1 0
0 2 1
1 0 2
Cs Cl
1 1
{1}
0 0 0
{2}
"""


@pytest.mark.parametrize(
    ("scale", "factors"),
    [("1.5", 1.5), ("2 3 4", (2, 3, 4)), ("-72", 2), ("-9.0", 1), ("2. 2. 2.", 2)],
)
@pytest.mark.parametrize(("mode", "site"), [("Direct", "0.5 0.25 0.75"), ("C", "1.75 1 1.75")])
def test_scale_factors_scale_lattice_and_cartesian_coordinates(scale, factors, mode, site):
    """The unscaled cell has 9 cubic angstrom, and both lines are the same site of it."""
    _, lattice_33, frac_N3 = parse_poscar(SKEWED.format(scale, mode, site))
    np.testing.assert_allclose(lattice_33, np.array([[2, 1, 0], [0, 2, 1], [1, 0, 2]]) * factors)
    np.testing.assert_allclose(frac_N3[1], [0.5, 0.25, 0.75], atol=1e-15)


def test_symbols_and_counts_over_several_lines():
    """As VASP writes more than 20 groups."""
    names = ["Fe", "Cr"] * 12
    text = CUBIC.replace(
        "Cs Cl\n1 1\n",
        f"{' '.join(names[:20])}\n{' '.join(names[20:])}\n{' '.join(['1'] * 20)}\n1 1 2 1\n",
    )
    coordinates = "\n".join(f"{k / 25} 0 0" for k in range(25))
    symbols, _, frac_N3 = parse_poscar(text[: text.index("0.0 0.0 0.0\n0.5")] + coordinates)
    assert symbols == [*names[:22], "Fe", "Fe", "Cr"] and len(frac_N3) == 25


def test_symbols_after_the_coordinates_of_vasp_4():
    old = CUBIC.replace("Cs Cl\n", "").replace("0.0 0.0 0.0\n0.5 0.5 0.5", "0 0 0 Cs\n.5 .5 .5 Cl")
    assert parse_poscar(old)[0] == ["Cs", "Cl"]
    flagged = old.replace("Direct", "S\nD").replace(" Cs", " T T T Cs").replace(" Cl", " F F F Cl")
    assert parse_poscar(flagged)[0] == ["Cs", "Cl"]


def test_heavy_hydrogen_is_hydrogen(tmp_path):
    (tmp_path / "POSCAR").write_text(CUBIC.replace("Cs Cl", "D T"))
    assert list(validate(read_poscar(tmp_path / "POSCAR", "x")).numbers_N) == [1, 1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "a POSCAR has at least 8 lines, this one has 0"),
        (CUBIC.replace("Cs Cl\n", ""), "no element symbols (POSCAR of VASP 4)"),
        (CUBIC.replace("Cs Cl", "Cs Cl Br"), "line 6: element symbols and as many counts"),
        (CUBIC.replace("Cs Cl", "Cs"), "line 6: element symbols and as many counts"),
        (CUBIC.replace("Cs Cl", "Cs H2O"), "'H2O' is no element symbol"),
        (CUBIC.replace("1 1\n", "1 one\n"), "line 6: element symbols and as many counts"),
        (CUBIC.replace("1 1\n", "0 0\n"), "no atoms counted"),
        (CUBIC.replace("1 1\n", "1 2\n"), "3 atoms counted, 2 lines of coordinates"),
        (CUBIC.replace("1 1\n", "1 99999999\n"), "line 6: element symbols"),
        (CUBIC + "0.1 0.1 0.1\n", "line 11: more coordinates than the 2 atoms counted"),
        (CUBIC.replace("Direct\n", ""), "line 8: Direct or Cartesian expected, not '0.0 0.0 0.0'"),
        (CUBIC.replace("0.5 0.5 0.5", "0.5 0.5"), "line 10: three numbers expected, not '0.5 0.5'"),
        (CUBIC.replace("0.5 0.5 0.5", "0.5 0.5 nan"), "line 10: three numbers expected"),
        (CUBIC.replace("4.2 0.0 0.0", "4.2 0.0"), "line 3: three numbers expected"),
        (CUBIC.replace("\n1.0\n", "\n1.0 1.0\n"), "line 2: a scale factor, minus a volume, or"),
        (CUBIC.replace("\n1.0\n", "\n1 -1 1\n"), "line 2: a scale factor, minus a volume, or"),
        (CUBIC.replace("\n1.0\n", "\n0\n"), "line 2: a scale factor, minus a volume, or"),
        (CUBIC.replace("\n1.0\n", "\nCs\n"), "line 2: a scale factor, minus a volume, or"),
        (CARTESIAN.replace("0.0 0.0 4.2", "0 0 0"), "the three vectors of the cell are in one"),
    ],
)
def test_what_is_no_poscar_is_refused_with_the_line(text, reason):
    with pytest.raises(Rejected) as error:
        parse_poscar(text)
    assert str(error.value).startswith(reason)


@given(
    vectors=st.lists(st.floats(-5, 5), min_size=9, max_size=9),
    sites=st.lists(st.tuples(*[st.floats(-3, 3)] * 3), min_size=1, max_size=6),
    scale=st.floats(0.5, 2) | st.floats(-200, -10) | st.tuples(*[st.floats(0.5, 2)] * 3),
    cartesian=st.booleans(),
    selective=st.booleans(),
)
def test_same_crystal_as_by_ase(tmp_path_factory, vectors, sites, scale, cartesian, selective):
    vectors_33 = np.array(vectors).reshape(3, 3) + 8 * np.eye(3)  # right-handed: ASE needs it
    if np.linalg.det(vectors_33) < 50:
        return
    factors = scale if isinstance(scale, tuple) else (scale,)
    lines = ["x", " ".join(map(str, factors))]
    lines += [" ".join(map(str, vector)) for vector in vectors_33]
    lines += ["Fe O", f"{len(sites)} 0", *(["Selective"] if selective else [])]
    lines += ["cartesian" if cartesian else "direct"]
    lines += [" ".join(map(str, site)) + (" T T F" if selective else "") for site in sites]
    path = tmp_path_factory.getbasetemp() / "POSCAR"
    path.write_text("\n".join(lines))
    expected = ase_read(path, format="vasp")
    symbols, lattice_33, frac_N3 = parse_poscar(path.read_text())
    assert symbols == expected.get_chemical_symbols()
    np.testing.assert_allclose(lattice_33, expected.cell.array, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(frac_N3 @ lattice_33, expected.positions, atol=1e-9)


def test_file_written_by_ase_is_read_back(tmp_path):
    atoms = Atoms("NaClNa", [[0.1, 0.2, 0.3], [2, 2, 2], [3, 1, 4.5]], cell=[5, 6, 7], pbc=True)
    ase.io.write(tmp_path / "POSCAR", atoms, direct=False)
    found = validate(read_poscar(tmp_path / "POSCAR", "x"))
    assert list(found.numbers_N) == [11, 17, 11]
    np.testing.assert_allclose(found.coords_N3 @ found.lattice_33, atoms.positions, atol=1e-9)
