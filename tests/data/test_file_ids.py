"""Ids of files: endings are taken off, nothing else; files of one name are told apart."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dglframer.data.sources.file_ids import ending, file_ids, is_poscar, numbered, without_ending


@pytest.mark.parametrize(
    ("name", "id", "known"),
    [
        ("a.cif", "a", ".cif"),
        ("a.b.CIF", "a.b", ".cif"),
        ("a.cif.gz", "a", ".cif"),
        ("a.mcif", "a", ".mcif"),
        ("mp-1.vasp.GZ", "mp-1", ".vasp"),
        ("a.extxyz.gz", "a", ".extxyz"),
        ("a.json.gz", "a", ".json"),
        ("a.jsonl", "a", ".jsonl"),
        ("a.db", "a", ".db"),
        ("a.db.gz", "a.db.gz", ""),
        ("POSCAR", "POSCAR", ""),
        ("POSCAR.gz", "POSCAR", ""),
        ("POSCAR_0.25", "POSCAR_0.25", ""),
        ("POSCAR_0.25.gz", "POSCAR_0.25", ""),
        ("POSCAR-mp-1.vasp", "POSCAR-mp-1", ".vasp"),
        ("POSCAR_1.cif", "POSCAR_1", ".cif"),
        ("CONTCAR.relax", "CONTCAR.relax", ""),
        ("x=0.25", "x=0.25", ""),
        ("notes.txt", "notes.txt", ""),
        ("x.tar.gz", "x.tar.gz", ""),
    ],
)
def test_endings(name, id, known):
    assert (without_ending(name), ending(Path(name))) == (id, known)
    assert is_poscar(Path(name)) == (known == ".vasp" or (not known and name[:3] in ("POS", "CON")))


@pytest.mark.parametrize(
    ("paths", "ids"),
    [
        (["a.cif", "b.vasp"], ["a", "b"]),
        (["run1/CONTCAR", "run2/CONTCAR"], ["run1/CONTCAR", "run2/CONTCAR"]),
        (["x/1/POSCAR", "y/1/POSCAR", "y/2/POSCAR"], ["x/1/POSCAR", "y/1/POSCAR", "2/POSCAR"]),
        (["POSCAR_0.25", "POSCAR_0.50"], ["POSCAR_0.25", "POSCAR_0.50"]),
        (["a.cif", "a.vasp", "b.cif"], ["a.cif", "a.vasp", "b"]),
        (["a.cif", "a.cif.gz"], ["a.cif", "a.cif.gz"]),
        (["x/a.cif", "y/a.vasp"], ["x/a", "y/a"]),
        (["x/a.cif", "x/a.vasp", "y/a.cif"], ["x/a.cif", "x/a.vasp", "y/a"]),
        (["a.cif", "./a.cif"], ["a", "a"]),
        ([], []),
    ],
)
def test_ids_are_the_shortest_that_tell_files_apart(paths, ids):
    assert file_ids([Path(path) for path in paths]) == ids


def test_folders_above_the_root_are_no_part_of_an_id(tmp_path):
    paths = [tmp_path / "POSCAR", tmp_path / "run" / "POSCAR"]
    assert file_ids(paths, tmp_path) == ["POSCAR", "run/POSCAR"]
    assert file_ids(paths) == [f"{tmp_path.name}/POSCAR", "run/POSCAR"]


parts = st.sampled_from(["a", "b", "POSCAR", "a.cif", "a.vasp", "a.cif.gz", "b.0.5"])


@given(st.sets(st.lists(parts, min_size=1, max_size=4).map("/".join), max_size=12))
def test_no_two_files_have_one_id(paths):
    ids = file_ids([Path(path) for path in sorted(paths)])
    assert len(set(ids)) == len(paths)


def test_several_structures_are_numbered():
    assert list(numbered("x", "a")) == [("x", "a")]
    assert list(numbered("x", "abc")) == [("x-0", "a"), ("x-1", "b"), ("x-2", "c")]
    assert list(numbered("x", "")) == []
