"""Reading CIF and POSCAR files: the right crystal or a reason, and never an exception."""

import numpy as np
import pytest
from helpers.crystals import CIF, POSCAR
from helpers.paths import EXPECTED, STRUCTURES, needs_shared
from hypothesis import given, settings
from hypothesis import strategies as st

from dglframer.common.errors import Rejected
from dglframer.data.sources.structure_files import (
    is_structure_file,
    read_structure,
    read_structures,
)
from dglframer.structures.crystal import Record, validate

NEIGHBOURS = "neighbours_within_5A_total"


@needs_shared
@pytest.mark.parametrize("name", EXPECTED)
def test_real_file_gives_the_known_crystal(name):
    from pymatgen.core import Composition

    expected = EXPECTED[name]
    record = read_structure(STRUCTURES / name)
    assert record.id == (STRUCTURES / name).stem
    if expected.get("error_expected"):
        assert record.problem.startswith("cannot be read")
    elif not expected["ordered"]:
        assert "partial occupancy" in record.problem
    else:
        found = validate(record)
        assert len(found.numbers_N) == expected["n_sites"]
        assert abs(np.linalg.det(found.lattice_33)) == pytest.approx(expected["volume"], abs=1e-3)
        formula = Composition(" ".join(record.species)).reduced_formula
        assert formula == Composition(expected["formula"]).reduced_formula


@needs_shared
@pytest.mark.parametrize("name", [n for n in EXPECTED if NEIGHBOURS in EXPECTED[n]])
def test_real_file_has_the_known_number_of_neighbours(name):
    from dglframer.structures.periodic_graph import build_graph

    crystal = validate(read_structure(STRUCTURES / name))
    edges = build_graph(crystal, 5.0).edges
    neighbours = len(edges.src_E) - len(crystal.numbers_N)  # without the self edges
    assert neighbours == EXPECTED[name][NEIGHBOURS]


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("a.cif", True),
        ("a.CIF", True),
        ("a.vasp", True),
        ("POSCAR", True),
        ("POSCAR-mp-1.vasp", True),
        ("CONTCAR.gz.txt", True),
        ("a.txt", False),
        ("cif", False),
    ],
)
def test_structure_files_are_known_by_name(tmp_path, name, is_one):
    assert is_structure_file(tmp_path / name) == is_one


BAD_FILES = {
    "empty.cif": b"",
    "empty.vasp": b"",
    "blank.vasp": b"\n\n\n\n\n\n\n\n\n",
    "binary.cif": bytes(range(256)) * 20,
    "binary.vasp": bytes(range(256)) * 20,
    "header.cif": CIF[:200].encode(),
    "header.vasp": POSCAR[:40].encode(),
    "poscar.cif": POSCAR.encode(),
    "cif.vasp": CIF.encode(),
    "vasp4.vasp": POSCAR.replace(
        "Cs Cl\n", ""
    ).encode(),  # no symbols: elements must not be guessed
    "occupancy.cif": CIF.replace("_fract_z", "_fract_z\n_atom_site_occupancy")
    .replace("0 0 0", "0 0 0 0.5")
    .replace("0.5 0.5 0.5", "0.5 0.5 0.5 1")
    .encode(),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_file_becomes_a_problem(tmp_path, name):
    (tmp_path / name).write_bytes(BAD_FILES[name])
    record = read_structure(tmp_path / name)
    assert record.problem and "\n" not in record.problem
    with pytest.raises(Rejected):
        validate(record)


def test_absent_file_and_folder_become_problems(tmp_path):
    (tmp_path / "folder.cif").mkdir()
    for name in ("absent.cif", "folder.cif"):
        assert read_structure(tmp_path / name).problem.startswith("cannot be read")


def test_bad_file_does_not_stop_the_next(tmp_path):
    (tmp_path / "a.cif").write_bytes(b"\x00")
    (tmp_path / "b.cif").write_text(CIF)
    records = list(read_structures([tmp_path / "a.cif", tmp_path / "b.cif"]))
    assert [bool(record.problem) for record in records] == [True, False]


def test_file_is_read_as_it_stands(tmp_path):
    """No primitive cell: a conventional cell of bcc iron keeps its two atoms."""
    text = POSCAR.replace("Cs Cl\n1 1", "Fe\n2").format("bcc")
    (tmp_path / "fe.vasp").write_text(text)
    (tmp_path / "fe.cif").write_text(CIF.replace("Cs", "Fe").replace("Cl", "Fe"))
    for name in ("fe.vasp", "fe.cif"):
        assert list(read_structure(tmp_path / name).species) == ["Fe", "Fe"]


pieces = st.text(max_size=8) | st.sampled_from(
    [
        "loop_\n",
        "nan",
        "-1e999",
        "0",
        "_atom_site_occupancy",
        "'",
        ";\n",
        "?",
        "\n",
        "99999999",
        "Xx",
    ]
)


@settings(max_examples=400)
@given(
    text=st.sampled_from([CIF, POSCAR]),
    cuts=st.lists(
        st.tuples(st.integers(0, 460), st.integers(0, 40), pieces), min_size=1, max_size=4
    ),
)
def test_mutated_text_gives_a_crystal_or_a_reason(tmp_path_factory, text, cuts):
    suffix = "cif" if text is CIF else "vasp"
    for start, length, piece in cuts:
        text = text[:start] + piece + text[start + length :]
    path = tmp_path_factory.getbasetemp() / f"mutated.{suffix}"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    record = read_structure(path)
    assert isinstance(record, Record)
    try:
        validate(record)
    except Rejected as reason:
        assert str(reason)
