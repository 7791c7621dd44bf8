"""Frames of xyz and extxyz files: each is a structure or a reason, and none is lost."""

import gzip

import ase.io
import numpy as np
import pytest
from ase import Atoms

from dglframer.common.errors import DamagedFile, Rejected
from dglframer.data.sources.structure_files import read_structures
from dglframer.data.sources.xyz_frames import xyz_frames
from dglframer.structures.crystal import validate

LATTICE = 'Lattice="4 0 0 0 4 0 0 0 4" '


def frame(symbols: str, comment: str = LATTICE) -> str:
    rows = [f"{symbol} {k} {k} {k}" for k, symbol in enumerate(symbols.split())]
    return f"{len(rows)}\n{comment}\n" + "\n".join(rows) + "\n"


def found(tmp_path, text: str | bytes, name: str = "a.extxyz") -> list[str]:
    """The formula of each frame, or the reason."""
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    read = list(xyz_frames(path))
    return [str(one) if isinstance(one, Rejected) else str(one.symbols) for one in read]


GOOD, OTHER = frame("Na Cl"), frame("Cs Br", "")
SHORT, LONG = "3" + GOOD[1:], "1" + GOOD[1:]
BROKEN = GOOD.replace("Na 0 0 0", "Na 0 0 x")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD, ["NaCl"]),
        (GOOD + OTHER, ["NaCl", "CsBr"]),
        (GOOD + "\n \n" + OTHER + "\n\n", ["NaCl", "CsBr"]),
        ("\n" + GOOD, ["NaCl"]),
        (GOOD.rstrip(), ["NaCl"]),
        (GOOD.replace("\n", "\r\n"), ["NaCl"]),
        (b"\xef\xbb\xbf" + GOOD.encode(), ["NaCl"]),
        (gzip.compress((GOOD + OTHER).encode(), mtime=0), ["NaCl", "CsBr"]),
        (SHORT + OTHER, ["3 atoms announced, 2 lines of atoms found", "CsBr"]),
        (GOOD + SHORT, ["NaCl", "3 atoms announced, 2 lines of atoms found"]),
        (LONG + OTHER, ["more lines than the 1 atoms announced: 'Cl 1 1 1'", "CsBr"]),
        (GOOD + LONG, ["NaCl", "more lines than the 1 atoms announced: 'Cl 1 1 1'"]),
        (BROKEN + OTHER, ["ValueError: could not convert string to float: 'x'", "CsBr"]),
        ("frames:\n" + GOOD, ["the number of atoms expected, not 'frames:'", "NaCl"]),
        ("<html>\n", ["the number of atoms expected, not '<html>'"]),
        (frame("Na Qq") + OTHER, ["KeyError: 'Qq'", "CsBr"]),
        (GOOD.replace("4 0 0 0 4", "4 0 0 4"), ["ValueError: Got info item Lattice, expecting"]),
        ("", []),
        (frame("H O") + "VEC1 5 0 0\nVEC2 0 5 0\nVEC3 0 0 5\n" + OTHER, ["HO", "CsBr"]),
    ],
)
def test_every_frame_is_a_structure_or_a_reason(tmp_path, text, expected):
    got = found(tmp_path, text)
    assert len(got) == len(expected)
    assert all(one.startswith(start) for one, start in zip(got, expected, strict=True))


def test_frames_are_those_of_ase(tmp_path):
    rng = np.random.default_rng(0)
    frames = [
        Atoms(
            rng.integers(1, 90, n),
            rng.normal(size=(n, 3)),
            cell=np.eye(3) * 9 + rng.random((3, 3)),
            pbc=[k % 2, 1, k % 3],
            info={"gap": float(k), "name": f"a b {k}", "vector": [1.5, k, 2]},
        )
        for k, n in enumerate([1, 12, 3, 110])
    ]
    ase.io.write(tmp_path / "a.extxyz", frames)
    for mine, theirs in zip(xyz_frames(tmp_path / "a.extxyz"), frames, strict=True):
        assert mine == ase.io.read(tmp_path / "a.extxyz", frames.index(theirs))
        assert mine.info.keys() == theirs.info.keys()


@pytest.mark.parametrize("comment", ["", LATTICE, 'Properties=tag:I:1:species:S:1:pos:R:3 T="a"'])
def test_heavy_hydrogen_is_hydrogen(tmp_path, comment):
    text = frame("D T O", comment)
    if "tag" in comment:
        text = "".join(
            f"7 {line}\n" if line[0] in "DTO" else f"{line}\n" for line in text.splitlines()
        )
    assert found(tmp_path, text) == ["H2O"]


@pytest.mark.parametrize(
    "comment",
    [
        'lattice="4 0 0 0 4 0 0 0 4"',
        'cell="4 4 4"',
        'unit_cell="4 4 4 90 90 90"',
        LATTICE + 'PBC="F F F"',
        LATTICE + 'Pbc="T T F"',
    ],
)
def test_cell_under_another_name_is_no_molecule_in_silence(tmp_path, comment):
    (reason,) = found(tmp_path, frame("Na Cl", comment))
    assert "is not read: the names are Lattice" in reason


def test_cell_under_two_names_is_read(tmp_path):
    assert found(tmp_path, frame("Na Cl", LATTICE + 'cell="4 4 4" virial_box=3')) == ["NaCl"]


@pytest.mark.parametrize(
    ("comment", "id"),
    [
        ("id=001", "001"),
        ("id=1e5 gap=2", "1e5"),
        ("gap=2 material_id=0.50", "0.50"),
        ("jid=T", "T"),
        ('id="two words"', "two words"),
        ('id="1 2" gap=3', "1 2"),
        ('id=""', "a"),
        ("id=", "a"),
        ("pid=7", "a"),
        ("", "a"),
    ],
)
def test_id_is_what_is_written(tmp_path, comment, id):
    (tmp_path / "a.xyz").write_text(frame("Na Cl", comment))
    (record,) = read_structures([tmp_path / "a.xyz"])
    assert record.id == id and list(validate(record).numbers_N) == [11, 17]


def test_damaged_gzip_is_named(tmp_path):
    packed = gzip.compress(GOOD.encode() * 1000)
    with pytest.raises(DamagedFile, match=r"a\.extxyz\.gz: damaged gzip data"):
        found(tmp_path, packed[:-20], "a.extxyz.gz")
