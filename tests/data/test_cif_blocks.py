"""CIF files as files: encodings, several blocks, syntax errors, and text that was mutated."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from helpers.cif import IDENTITY, cif, content, record, records, told
from hypothesis import given, settings
from hypothesis import strategies as st

from dglframer.common.errors import Rejected
from dglframer.data.sources.cif import is_cif, read_cif
from dglframer.data.sources.structure_files import is_structure_file, read_structures
from dglframer.structures.crystal import Record, validate

CHLORIDE = cif((4.12,) * 3, ["Cs 0 0 0", "Cl 0.5 0.5 0.5"], operators=IDENTITY, block="one")
BROMIDE = cif((4.29,) * 3, ["Cs 0 0 0", "Br 0.5 0.5 0.5"], operators=IDENTITY, block="two")
PUBLICATION = (
    "data_global\n_publ_section_title\n;\nOn salts\ndata_not_a_block\n;\n_journal_year 2020\n"
)
SALT = ({"Cs": 1, "Cl": 1}, 3.568, 28)


@pytest.mark.parametrize(
    "data",
    [
        CHLORIDE.encode("utf-8-sig"),
        CHLORIDE.encode("utf-16"),
        CHLORIDE.replace("\n", "\r\n").encode(),
        CHLORIDE.replace("\n", "\r").encode(),
        CHLORIDE.encode() + b"\x1a",
        CHLORIDE.replace("data_one\n", "data_one\n_publ_author_name 'Müller, é'\n").encode(
            "latin-1"
        ),
        CHLORIDE.replace("data_one\n", "data_one\n_publ_author_name Müller\n").encode(),
        CHLORIDE.replace("data_one\n", "data_one # = x\n_publ_author_name 'a # b'\n").encode(),
        CHLORIDE.replace("data_one", "A title without a hash\nDATA_one").encode(),
        ("#\\#CIF_2.0\n" + CHLORIDE).encode(),
        CHLORIDE.replace("_atom_site_fract_x", "_atom_site.fract_x").encode(),
        CHLORIDE.replace("_cell_length_", "_Cell.Length_").encode(),
        CHLORIDE.replace("Cs1 Cs 0", "'Cs1' \"Cs\" 0").encode(),
        CHLORIDE.replace("data_one", "data_").encode(),
    ],
)
def test_one_crystal_in_any_text(tmp_path, data):
    assert told(record(tmp_path, data)) == SALT


def test_lists_of_the_second_version_of_cif_are_one_value(tmp_path):
    loop = "loop_\n_parent_propagation_vector.id\n_y.kxkykz\n_x\n_y\nk1 [0 0 1/2] [1 2] 1\n"
    assert told(record(tmp_path, CHLORIDE.replace("loop_", loop + "loop_", 1))) == SALT
    text = CHLORIDE.replace("data_one\n", "data_one\n_x [1 2]\n_publ_title 'on [1 2] and [3]'\n")
    assert told(record(tmp_path, text)) == SALT


def test_values_without_a_block_are_not_passed_over(tmp_path):
    text = CHLORIDE.replace("data_one\n", "") + BROMIDE
    assert record(tmp_path, text).problem.endswith(
        "values before the first line that begins with data_"
    )


def test_a_symbol_beyond_ascii(tmp_path):
    for symbol in (
        "F m \N{MINUS SIGN}3 m",
        "F m 3\N{COMBINING OVERLINE} m",
        "F m 3\N{COMBINING MACRON} m",
    ):
        text = cif(
            (5.64,) * 3, ["Na 0 0 0", "Cl 0.5 0.5 0.5"], symmetry_space_group_name_H__M=symbol
        )
        assert content(record(tmp_path, text)) == {"Na": 4, "Cl": 4}


@pytest.mark.parametrize("name", ["a.cif", "a.CIF", "a.mcif", "a.cif.gz", "a.mcif.gz", "a.Cif.GZ"])
def test_endings(tmp_path, name):
    assert is_cif(Path(name)) and is_structure_file(Path(name))
    data = CHLORIDE.encode()
    read = record(tmp_path, gzip.compress(data) if name.lower().endswith("gz") else data, name)
    assert read.id == "a" and told(read) == SALT
    assert [one.id for one in read_structures([tmp_path / name])] == ["a"]
    assert told(record(tmp_path, data, name)) == SALT  # unpacked by a browser


def test_ids_keep_the_dots_of_the_name(tmp_path):
    assert record(tmp_path, CHLORIDE, "x_0.25.v2.cif").id == "x_0.25.v2"


NO_CIF = "cannot be read: not CIF, "
NO_SITES = "cannot be read: no atom sites"
NO_CELL = "cannot be read: there is no cell"
TWICE = "is given twice, with different values"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", NO_CIF + "no line begins with data_"),
        (b"Cs Cl\n1.0\n4.12 0 0\n", NO_CIF + "no line begins with data_"),
        (b"\x00\x01\x02" * 50, "cannot be read: not a text file"),
        (PUBLICATION, NO_SITES),
        (CHLORIDE[: CHLORIDE.index("loop_")], NO_SITES),
        (CHLORIDE + "_cell_length_a 5.0\n", f"_cell_length_a {TWICE}"),
        (CHLORIDE + "_cell.length_a 5.0\n", f"_cell_length_a {TWICE}"),
        (CHLORIDE + "loop_\n_atom_site_fract_x\n0.5\n", f"_atom_site_fract_x {TWICE}"),
        (
            CHLORIDE + "loop_\n_atom_site_occupancy\n1\n",
            "_atom_site_occupancy has 1 rows, _fract_x has 2",
        ),
    ],
)
def test_files_without_a_crystal_say_why(tmp_path, data, reason):
    assert record(tmp_path, data).problem.startswith(reason)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (" 0.5 0.5 0.5", " 0.5 0.5", NO_CIF + "line 11: Wrong number of values"),
        ("data_one\n", "data_one\n_x 'abc\n", NO_CIF + "line 2: unterminated"),
        ("data_one\n", "data_one\n_x a b\n", NO_CIF + "line 2: parse error"),
        ("data_one\n", "a title\ndata_one\n_x a b\n", NO_CIF + "line 3: parse error"),
        ("_cell_length_a", "_cell_length_x", "cannot be read: no _cell_length_a"),
        ("_cell_angle_beta 90", "_cell_angle_beta ?", "cannot be read: no _cell_angle_beta"),
        ("_cell_length_a 4.12", "_cell_length_a four", "_cell_length_a is not a number: 'four'"),
        ("_cell_length_a 4.12", "_cell_length_a 0", NO_CELL + " 0 4.12 4.12 90 90 90"),
        ("_cell_length_a 4.12", "_cell_length_a -4.12", NO_CELL),
        ("angle_beta 90", "angle_beta 200", NO_CELL),
        (" 90", " 170", NO_CELL),
        ("_fract_", "_Cartn_", "cannot be read: sites in Cartesian coordinates"),
        ("fract_z", "other_z", NO_SITES),
    ],
)
def test_one_mistake_in_a_file_is_named(tmp_path, old, new, reason):
    text = CHLORIDE.replace(old, new)
    assert text != CHLORIDE
    assert record(tmp_path, text).problem.startswith(reason)


def test_a_value_given_twice_alike_or_empty_is_one(tmp_path):
    assert (
        told(
            record(
                tmp_path, CHLORIDE + "_cell.length_a 4.12\n_cell_length_b ''\n_cell_length_c ?\n"
            )
        )
        == SALT
    )


def test_damaged_and_absent_files_are_problems(tmp_path):
    (tmp_path / "folder.cif").mkdir()
    (tmp_path / "cut.cif.gz").write_bytes(gzip.compress(CHLORIDE.encode())[:-9])
    (tmp_path / "bad.cif.gz").write_bytes(b"\x1f\x8b" + CHLORIDE.encode())
    for name in ("folder.cif", "cut.cif.gz", "bad.cif.gz", "absent.cif"):
        (read,) = read_cif(tmp_path / name)
        assert read.problem.startswith("cannot be read: ")


def test_blocks_are_records_in_their_order(tmp_path):
    first, second = records(tmp_path, CHLORIDE + BROMIDE, "salts.cif")
    assert (first.id, second.id) == ("salts-0", "salts-1")
    assert content(first) == {"Cs": 1, "Cl": 1} and content(second) == {"Cs": 1, "Br": 1}


def test_blocks_of_one_name_are_all_kept(tmp_path):
    found = records(tmp_path, CHLORIDE + BROMIDE.replace("data_two", "data_one"))
    assert [content(one) for one in found] == [{"Cs": 1, "Cl": 1}, {"Cs": 1, "Br": 1}]


def test_a_broken_first_block_is_a_record_with_its_reason(tmp_path):
    broken = CHLORIDE.replace("Cl2 Cl", "Cl2 OH")
    first, second = records(tmp_path, broken + BROMIDE)
    assert first.id == "case-0" and "its type 'OH' is no element" in first.problem
    assert second.id == "case-1" and content(second) == {"Cs": 1, "Br": 1}
    cell = CHLORIDE[: CHLORIDE.index("loop_")]
    first, second = records(tmp_path, cell + BROMIDE)
    assert first.problem.startswith("cannot be read: no atom sites")
    assert content(second) == {"Cs": 1, "Br": 1}


def test_blocks_that_are_no_crystals_are_passed_over(tmp_path):
    powder = "data_powder\nloop_\n_pd_proc_point_id\n_pd_proc_intensity_total\n1 20\n2 30\n"
    assert told(record(tmp_path, PUBLICATION + CHLORIDE + powder)) == SALT


def test_the_cell_is_that_of_the_parameters(tmp_path):
    text = cif((4, 5, 6, 80, 95, 110), ["C 0 0 0"], operators=IDENTITY)
    lattice_33 = validate(record(tmp_path, text)).lattice_33
    metric = lattice_33 @ lattice_33.T
    lengths = np.sqrt(np.diag(metric))
    cosines = np.cos(np.radians([110, 95, 80]))
    assert np.allclose(lengths, [4, 5, 6])
    assert np.allclose((metric / np.outer(lengths, lengths))[[0, 0, 1], [1, 2, 2]], cosines)
    assert np.linalg.det(lattice_33) > 0


def test_a_file_of_jarvis_tools_is_read_as_it_stands(tmp_path):
    """It lists x, y, z alone under the symbol of the crystal, and begins with a title."""
    from jarvis.core.atoms import Atoms

    lattice = 2.82 * (np.ones((3, 3)) - np.eye(3))
    atoms = Atoms(lattice_mat=lattice, coords=[[0, 0, 0], [0.5] * 3], elements=["Na", "Cl"])
    atoms.write_cif(str(tmp_path / "a.cif"))
    (read,) = read_cif(tmp_path / "a.cif")
    assert told(read) == ({"Na": 1, "Cl": 1}, 2.82, 52)


@pytest.mark.parametrize("symprec", [None, 0.01])
def test_files_of_pymatgen_are_read_as_they_stand(tmp_path, symprec):
    from pymatgen.core import Lattice, Structure
    from pymatgen.io.cif import CifWriter

    structure = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.431), ["Si"], [[0, 0, 0]])
    CifWriter(structure, symprec=symprec).write_file(tmp_path / "a.cif")
    assert told(read_cif(tmp_path / "a.cif")[0]) == ({"Si": 8}, 2.352, 224)


def test_files_of_ase_are_read_as_they_stand(tmp_path):
    import ase.build
    import ase.io

    ase.io.write(tmp_path / "a.cif", ase.build.bulk("Si", a=5.431, cubic=True))
    assert told(read_cif(tmp_path / "a.cif")[0]) == ({"Si": 8}, 2.352, 224)


RICH = (
    cif(
        (5.431,) * 3,
        ["Si 0.125 0.125 0.125 1 8 . ."],
        columns=("occupancy", "symmetry_multiplicity", "disorder_group", "attached_hydrogens"),
        symmetry_space_group_name_H__M="F d -3 m :2",
        space_group_name_Hall="-F 4vw 2vw 3",
        space_group_IT_number=227,
        chemical_formula_sum="Si",
        cell_formula_units_Z=8,
        exptl_crystal_density_diffrn=2.33,
    )
    + "loop_\n_space_group_symop_ssg_operation_algebraic\n?\n"
)

pieces = st.text(max_size=8) | st.sampled_from(
    [
        "loop_\n",
        "nan",
        "-1e999",
        "0",
        "99999999",
        "_atom_site_occupancy",
        "'",
        ";\n",
        "?",
        ".",
        "\n",
    ]
    + [
        "Xx",
        "OH",
        "x,y,z",
        "-x,",
        "+1/0",
        "_cell_length_a",
        "data_",
        ":1",
        "(",
        "1e308",
        "\x00",
        "²",
    ]
)


@settings(max_examples=600)
@given(
    text=st.sampled_from([RICH, CHLORIDE + BROMIDE]),
    cuts=st.lists(
        st.tuples(st.integers(0, 900), st.integers(0, 40), pieces), min_size=1, max_size=4
    ),
)
def test_mutated_text_gives_crystals_or_reasons(tmp_path_factory, text, cuts):
    for start, length, piece in cuts:
        text = text[:start] + piece + text[start + length :]
    path = tmp_path_factory.getbasetemp() / "mutated.cif"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    found = read_cif(path)
    assert found and all(isinstance(one, Record) for one in found)
    for one in found:
        try:
            validate(one)
        except Rejected as reason:
            assert str(reason)
