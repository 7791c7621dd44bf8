"""Names that are not UTF-8 are a rejected row each, and the other crystals are read."""

import json
import os

import ase.io
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ase import Atoms
from helpers.crystals import POSCAR

from dglframer.cli.main import parser
from dglframer.common.parquet import read_parquet

CELL = [[4.2, 0.0, 0.0], [0.0, 4.2, 0.0], [0.0, 0.0, 4.2]]
SITES = [[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]]
ATOMS = {"lattice_mat": CELL, "coords": SITES, "elements": ["Cs", "Cl"], "cartesian": False}


def folder(root):
    """Good files, one with the byte ff in its name, and one in such a folder."""
    (root / os.fsdecode(b"\xfe")).mkdir(parents=True)
    names = (b"good.vasp", b"bad\xff.vasp", b"bad\xff.cif", b"\xfe/POSCAR", b"\xfe/POSCAR_1")
    for name in names:
        (root / os.fsdecode(name)).write_text(POSCAR.format("x"))
    (root / "id_prop.csv").write_text("id,gap\ngood,1.5\n")
    return {"source": "folder", "path": str(root)}


def json_list(root):
    """Half a character in an id, and in a date."""
    entries = [
        {"jid": "good", "atoms": ATOMS, "gap": 1.5},
        {"jid": "bad\udcff", "atoms": ATOMS, "gap": 1.5},
        {"jid": "\ud800", "atoms": ATOMS, "gap": 1.5},
        {"jid": "also good", "atoms": ATOMS, "gap": 1.5, "last_updated": "\ud800"},
        {"jid": "worse", "atoms": ATOMS | {"elements": ["\ud800", "Cl"]}, "gap": 1.5},
    ]
    root.mkdir()
    (root / "list.json").write_text(json.dumps(entries))
    return {"source": "json", "path": str(root / "list.json")}


def parquet(root):
    """Bytes in a column of texts that are none; Arrow writes them."""
    ids = pa.array([b"good", b"bad\xff"]).view(pa.string())
    lists = {"numbers": [[55, 17]] * 2, "lattice": [[x for row in CELL for x in row]] * 2}
    lists |= {"frac_coords": [[x for row in SITES for x in row]] * 2, "gap": [1.5, 1.5]}
    root.mkdir()
    pq.write_table(pa.table({"id": ids, **lists}), root / "own.parquet")
    return {"source": "parquet", "path": str(root / "own.parquet")}


def frames(root):
    """A name with the byte ff for the file itself."""
    root.mkdir()
    atoms = Atoms("CsCl", cell=CELL, scaled_positions=SITES, pbc=True, info={"gap": 1.5})
    ase.io.write(root / "good.extxyz", [atoms, atoms], format="extxyz")
    return {"source": "ase", "path": str((root / "good.extxyz").rename(root / "b\udcff.extxyz"))}


GOOD = {folder: ["good"], json_list: ["also good", "good"], parquet: ["good"], frames: []}
BAD = {
    folder: ["POSCAR", "POSCAR_1", r"bad\udcff.cif", r"bad\udcff.vasp"],
    json_list: [r"\ud800", r"bad\udcff", "worse"],
    parquet: [r"bad\udcff"],
    frames: [r"b\udcff-0", r"b\udcff-1"],
}


@pytest.mark.parametrize("make", GOOD, ids=lambda make: make.__name__)
def test_each_is_a_rejected_row(tmp_path, make):
    dataset = {**make(tmp_path / "data"), "targets": ["gap"], "target_units": {"gap": "eV"}}
    dataset["max_rejected_fraction"] = 1.0
    (tmp_path / "config.json").write_text(json.dumps({"dataset": dataset}))
    given = ["--config", str(tmp_path / "config.json")]
    found, out = str(tmp_path / "download.json"), str(tmp_path / "crystals.parquet")
    rejected = str(tmp_path / "rejected.parquet")

    def run(*words):
        args = parser().parse_args([words[0], *given, *words[1:]])
        return args.run(args)

    run("download", "--out", found)
    stage = ("crystals", "--download", found, "--rejected", rejected, "--out", out)
    if GOOD[make]:
        run(*stage)
        table = read_parquet(out)
        assert table["id"].to_pylist() == GOOD[make]
        table.validate(full=True)
    else:
        with pytest.raises(Exception, match="no crystal is left"):
            run(*stage)
    rows = read_parquet(rejected)
    rows.validate(full=True)
    assert rows["id"].to_pylist() == BAD[make]
    for id, reason in zip(rows["id"].to_pylist(), rows["reason"].to_pylist(), strict=True):
        assert id == "worse" or "not UTF-8" in reason, (id, reason)
