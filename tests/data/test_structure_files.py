"""Reading CIF and POSCAR files: the right crystal or a reason, and never an exception."""

import gzip
import json
import re

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


STRUCTURES_OF_ONE = {
    "a.cif": CIF,
    "a.mcif": CIF,
    "a.vasp": POSCAR.format("x"),
    "POSCAR_a": POSCAR.format("x"),
    "a.extxyz": '2\nLattice="4.2 0 0 0 4.2 0 0 0 4.2"\nCs 0 0 0\nCl 2.1 2.1 2.1\n',
    "a.xyz": '2\nLattice="4.2 0 0 0 4.2 0 0 0 4.2"\nCs 0 0 0\nCl 2.1 2.1 2.1\n',
    "a.xsf": "CRYSTAL\nPRIMVEC\n4.2 0 0\n0 4.2 0\n0 0 4.2\nPRIMCOORD\n2 1\n"
    "55 0 0 0\n17 2.1 2.1 2.1\n",
    "a.json": json.dumps(
        {
            "lattice_mat": [[4.2, 0, 0], [0, 4.2, 0], [0, 0, 4.2]],
            "elements": ["Cs", "Cl"],
            "coords": [[0, 0, 0], [0.5, 0.5, 0.5]],
            "cartesian": False,
        }
    ),
}
STRUCTURES_OF_ONE["a.jsonl"] = STRUCTURES_OF_ONE["a.json"] + "\n"


@pytest.mark.parametrize("name", STRUCTURES_OF_ONE)
@pytest.mark.parametrize("packing", [bytes, gzip.compress])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_every_text_form_is_read_gzipped_and_with_a_byte_order_mark(tmp_path, name, packing, mark):
    ending = "" if packing is bytes else ".gz"
    (tmp_path / (name + ending)).write_bytes(packing(mark + STRUCTURES_OF_ONE[name].encode()))
    (record,) = read_structures([tmp_path / (name + ending)])
    assert record.id == ("POSCAR_a" if name == "POSCAR_a" else "a")
    crystal = validate(record)
    assert list(crystal.numbers_N) == [55, 17]
    np.testing.assert_allclose(crystal.lattice_33, 4.2 * np.eye(3), atol=1e-12)
    np.testing.assert_allclose(crystal.coords_N3, [[0, 0, 0], [0.5] * 3], atol=1e-12)


@pytest.mark.parametrize("name", ["a.vasp", "a.cif"])
def test_text_in_utf_16_is_read(tmp_path, name):
    (tmp_path / name).write_bytes(STRUCTURES_OF_ONE[name].encode("utf-16"))
    assert list(validate(read_structure(tmp_path / name)).numbers_N) == [55, 17]


@pytest.mark.parametrize("name", ["a.pdb", "a", "XDATCAR", "a.cif.bak", "a.traj.gz"])
def test_unknown_ending_says_which_there_are(tmp_path, name):
    (tmp_path / name).write_text(POSCAR.format("x"))
    (record,) = read_structures([tmp_path / name])
    assert record.problem.startswith("unknown ending: read are .cif, .mcif, .vasp, ")
    assert record.problem.endswith("names that begin with POSCAR or CONTCAR")


@pytest.mark.parametrize("name", STRUCTURES_OF_ONE)
def test_damaged_gzip_is_a_problem(tmp_path, name):
    text = STRUCTURES_OF_ONE[name] + " " * 9999
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(text.encode())[:-9])
    (record,) = read_structures([tmp_path / f"{name}.gz"])
    assert re.match("cannot be read: .*(damaged gzip data|end-of-stream)", record.problem)


def test_several_structures_are_several_records_and_a_broken_one_is_a_problem(tmp_path):
    good = STRUCTURES_OF_ONE["a.extxyz"]
    (tmp_path / "a.extxyz").write_text(good.replace("Cl 2.1", "Cl x") + good)
    one = STRUCTURES_OF_ONE["a.json"]
    (tmp_path / "b.json").write_text(f"[{one}, {{}}, {one}")  # it ends too early
    records = list(read_structures([tmp_path / "a.extxyz", tmp_path / "b.json"]))
    problems = {record.id: record.problem for record in records}
    assert list(problems) == ["a-0", "a-1", "b-0", "b-1", "b-2", "b-3"]
    assert problems["a-0"].startswith("cannot be read: ValueError: could not convert string")
    assert problems["b-1"] == "neither atoms nor structure"
    assert problems["b-3"].endswith("(the end for a comma after 3 entries)")
    assert [problems[id] for id in ("a-1", "b-0", "b-2")] == [""] * 3


@pytest.mark.parametrize("name", ["a.json", "a.extxyz", "a.jsonl"])
def test_file_without_structures_is_a_problem(tmp_path, name):
    (tmp_path / name).write_text("[]" if name == "a.json" else "")
    (record,) = read_structures([tmp_path / name])
    assert record.id == "a" and record.problem.startswith("cannot be read: ")


def test_files_of_one_name_are_told_apart(tmp_path):
    paths = [tmp_path / "run1" / "CONTCAR", tmp_path / "run2" / "CONTCAR", tmp_path / "x.extxyz"]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_text(STRUCTURES_OF_ONE["a.vasp"])
    paths[2].write_text(STRUCTURES_OF_ONE["a.extxyz"] * 2)
    ids = [record.id for record in read_structures(paths)]
    assert ids == ["run1/CONTCAR", "run2/CONTCAR", "x-0", "x-1"]


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
    name=st.sampled_from(list(STRUCTURES_OF_ONE)),
    cuts=st.lists(
        st.tuples(st.integers(0, 460), st.integers(0, 40), pieces), min_size=1, max_size=4
    ),
)
def test_mutated_text_gives_a_crystal_or_a_reason(tmp_path_factory, name, cuts):
    text = STRUCTURES_OF_ONE[name]
    for start, length, piece in cuts:
        text = text[:start] + piece + text[start + length :]
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    records = list(read_structures([path]))
    assert records and all(isinstance(record, Record) for record in records)
    for record in records:
        try:
            validate(record)
        except Rejected as reason:
            assert str(reason)
