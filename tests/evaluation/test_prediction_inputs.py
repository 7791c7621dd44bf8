"""What dglframer predict takes: folders, lists, names of any kind; and a run of them that was killed."""

import contextlib
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from helpers.models import make_model
from helpers.predictions import CIF, CPU, POSCAR, predict, rows, structure_files
from pymatgen.core import Lattice, Structure

from dglframer.common.errors import DamagedFile, InUse, UserError
from dglframer.data.sources.file_ids import file_ids
from dglframer.evaluation.items import Wanted, read_items
from dglframer.evaluation.partial_rows import PartialRows
from dglframer.evaluation.predict import Reading, predict_files
from dglframer.evaluation.structure_inputs import find_inputs


@pytest.fixture
def model(tmp_path) -> Path:
    return make_model(tmp_path / "model")


@pytest.fixture
def files(tmp_path) -> list[Path]:
    return structure_files(tmp_path / "files")


def test_files_of_one_name_have_ids_of_their_own(tmp_path):
    paths = [tmp_path / run / "CONTCAR" for run in ("run1", "run2", "gone")]
    for path in paths[:2]:
        path.parent.mkdir()
        path.write_text(POSCAR)
    paths.append(tmp_path / "x.pdb")
    items = list(read_items(paths, file_ids(paths), (0, 0), Wanted(5.0)))
    assert [item.path for item in items] == list(map(str, paths))
    ids = ["run1/CONTCAR", "run2/CONTCAR", "gone/CONTCAR", "x.pdb"]
    assert [item.id for item in items] == ids
    assert [item.error for item in items] == [None, None, "no such file", "no such file"]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_name_that_is_not_utf8_is_a_row(model, files, tmp_path, suffix, workers):
    """File, folder, and a file that is not there; the others are predicted."""
    bad = [tmp_path / os.fsdecode(name) for name in (b"\xff.cif", b"\xfe/a.cif", b"\xfdnone.cif")]
    for path in bad[:2]:
        path.parent.mkdir(exist_ok=True)
        path.write_text(CIF)
    out = tmp_path / f"p.{suffix}"
    named = [files[0], *bad, files[0]]
    assert predict_files([model], named, out, CPU, Reading(10_000, workers=workers)) == 3
    found = rows(out)
    assert [row["prediction"] is not None for row in found] == [True, False, False, False, True]
    assert [row["path"] for row in found[1:4]] == [
        f"{tmp_path}/{name}" for name in (r"\udcff.cif", r"\udcfe/a.cif", r"\udcfdnone.cif")
    ]
    assert "not UTF-8" in found[1]["error"] and "not UTF-8" in found[2]["error"]


@pytest.fixture
def tree(tmp_path) -> Path:
    """A folder with folders: a CIF, a packed POSCAR, two frames in one file, JSON, and a note."""
    from ase.io import read, write

    folder = tmp_path / "tree"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "salt.cif").write_text(CIF)
    (folder / "a" / "CONTCAR.gz").write_bytes(gzip.compress(POSCAR.encode()))
    (folder / "notes.md").write_text("no structure")
    (tmp_path / "POSCAR").write_text(POSCAR)
    atoms = read(tmp_path / "POSCAR", format="vasp")
    write(folder / "a" / "b" / "frames.extxyz", [atoms, atoms])
    structure = Structure(Lattice.cubic(6.1), ["Cs"], [[0, 0, 0]])
    (folder / "one.json").write_text(json.dumps(structure.as_dict()))
    return folder


IN_TREE = {  # id: path, in order
    "frames-0": "a/b/frames.extxyz",
    "frames-1": "a/b/frames.extxyz",
    "CONTCAR": "a/CONTCAR.gz",
    "one": "one.json",
    "salt": "salt.cif",
}


@pytest.mark.parametrize("how", ["folder", "stdin", "list"])
def test_folders_and_lists_of_paths(model, tree, tmp_path, how):
    files = sorted({tree / path for path in IN_TREE.values()})
    text = "\n".join(map(str, files)) + "\n\n"
    (tmp_path / "paths.txt").write_text(text)
    given = {"folder": tree, "stdin": "-", "list": tmp_path / "paths.txt"}[how]
    out = tmp_path / "p.csv"
    assert predict(model, given, "--out", out, stdin=text)[0] == 0
    table = rows(out)
    assert {row["id"]: row["path"] for row in table} == {
        id: str(tree / path) for id, path in IN_TREE.items()
    }
    by_id = {row["id"]: row["prediction"] for row in table}
    alike = [by_id[id] for id in ("frames-0", "frames-1", "CONTCAR", "one")]
    assert alike == pytest.approx([alike[0]] * 4, abs=1e-6) and abs(by_id["salt"] - alike[0]) > 1e-6


def test_inputs_that_hold_nothing_are_named(model, files, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").write_text("\n")
    for given, message in (("empty", "no structure file in this folder"), ("empty.txt", "no path")):
        with pytest.raises(UserError, match=f"{given}: {message}"):
            find_inputs([files[0], tmp_path / given])
    status, error = predict(model, model, "--out", tmp_path / "p.csv")
    assert status == 2 and "is a model: after the models, give files of structures" in error


def test_periodicity_is_that_of_the_configuration(model, tmp_path):
    """A slab is refused, or a crystal if one says so."""
    text = '1\nLattice="4 0 0 0 4 0 0 0 9" pbc="T T F" Properties=species:S:1:pos:R:3\nCs 0 0 0\n'
    (tmp_path / "slab.extxyz").write_text(text)
    arguments = [model, tmp_path / "slab.extxyz", "--out", tmp_path / "p.csv"]
    assert predict(*arguments)[0] == 1
    assert "periodic along 2 of 3 axes" in rows(tmp_path / "p.csv")[0]["error"]
    assert predict(*arguments, "--periodicity", "assume_periodic")[0] == 0
    assert rows(tmp_path / "p.csv")[0]["prediction"] is not None


KILLED = """
import os, signal, sys
from dglframer.evaluation.ensemble import Ensemble
from dglframer.cli.main import main

once, calls = Ensemble.rows, []
def killed_at_the_fourth(*arguments):
    calls.append(arguments)
    if len(calls) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return once(*arguments)
Ensemble.rows = killed_at_the_fourth
main()
"""


def processes_in(folder: Path) -> list[psutil.Process]:
    """Those that work in a folder and have not ended."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd() == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@pytest.mark.parametrize(("name", "workers"), [("p.csv", 2), ("p.parquet", 0)])
def test_a_killed_run_goes_on_to_the_same_bytes(model, tree, tmp_path, name, workers):
    """Chunks of one structure; the kill falls between the two frames of a file and leaves half a line.

    The number of processes that read changes nothing, and they end with the run.
    """
    (tree / "a" / "b" / "broken.cif").write_text("data_nothing\n")
    arguments = [str(a) for a in (model, tree, tree, "--edges-per-batch", 1)]
    whole, out = tmp_path / f"whole_{name}", tmp_path / name
    assert predict(*arguments, "--out", whole)[0] == 1
    arguments += ["--workers", str(workers)]
    command = [sys.executable, "-c", KILLED, "predict", *arguments, "--out", str(out)]
    killed = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert ("processes that read the files: 2" in killed.stderr) == (workers == 2)
    deadline = time.monotonic() + 30
    while processes_in(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    partial = tmp_path / f"{name}.partial"
    kept = partial.read_bytes().splitlines(keepends=True)
    assert len(kept) == 4 and not out.exists()  # what is predicted, and three chunks
    partial.write_bytes(b"".join(kept) + kept[-1][:20])

    refused = predict(model, tree, "--edges-per-batch", 1, "--out", out)
    assert refused[0] == 2 and "is of a run with other inputs" in refused[1]
    status, said = predict(*arguments, "--out", out)
    assert status == 1 and "goes on after 4 rows" in said  # the broken file is in a chunk as well
    assert out.read_bytes() == whole.read_bytes() and not partial.exists()


def test_one_process_writes_a_table_at_a_time(tmp_path):
    what = {"models": "m", "inputs": "i", "settings": "s"}
    with PartialRows(tmp_path / "p.csv", what), pytest.raises(InUse, match="another process"):
        PartialRows(tmp_path / "p.csv", what)
    (tmp_path / "p.csv.partial").write_text("rubbish\n")
    with pytest.raises(DamagedFile, match="remove it to begin anew"):
        PartialRows(tmp_path / "p.csv", what)
