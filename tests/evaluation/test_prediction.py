"""dglframer predict and the model directory: many files, some bad, and damaged models."""

import contextlib
import csv
import gzip
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import torch
from helpers.crystals import TARGETS, crystal, write_crystals
from helpers.models import SMALL, make_model
from pymatgen.core import Lattice, Structure
from safetensors.torch import load_file, save_file

from dglframer.common.errors import DamagedFile, InUse, UserError
from dglframer.data.sources.file_ids import file_ids
from dglframer.evaluation.demands import Demands
from dglframer.evaluation.items import Wanted, read_items
from dglframer.evaluation.partial_rows import PartialRows
from dglframer.evaluation.predict import Reading, predict_files
from dglframer.evaluation.structure_inputs import find_inputs
from dglframer.networks.model_directory import load_model, members
from dglframer.networks.published_checkpoint import read_checkpoint

CPU = torch.device("cpu")
CIF = """data_NaCl
_cell_length_a 3.99
_cell_length_b 3.99
_cell_length_c 3.99
_cell_angle_alpha 60
_cell_angle_beta 60
_cell_angle_gamma 60
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Na1 Na 0 0 0
Cl1 Cl 0.5 0.5 0.5
"""
POSCAR = """Cs
1.0
6.1 0 0
0 6.1 0
0 0 6.1
Cs
1
direct
0 0 0
"""


@pytest.fixture
def model(tmp_path) -> Path:
    return make_model(tmp_path / "model")


@pytest.fixture
def files(tmp_path) -> list[Path]:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "salt.cif").write_text(CIF)
    (folder / "caesium.vasp").write_text(POSCAR)
    (folder / "broken.cif").write_text("data_nothing\n")
    (folder / "disordered.cif").write_text(
        CIF.replace("_z\n", "_z\n_atom_site_occupancy\n")
        .replace("Na1 Na 0 0 0", "Na1 Na 0 0 0 0.5\nK1 K 0 0 0 0.5")
        .replace("0.5 0.5 0.5\n", "0.5 0.5 0.5 1\n")
    )
    return [folder / n for n in ("salt.cif", "broken.cif", "disordered.cif", "caesium.vasp")]


def rows(path: Path) -> list[dict]:
    table = pyarrow.csv.read_csv(path) if path.suffix == ".csv" else pq.read_table(path)
    return table.to_pylist()


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_bad_files_get_a_row_and_the_others_are_predicted(model, files, tmp_path, suffix):
    out = tmp_path / f"p{suffix}"
    arguments = [model, *files, tmp_path / "absent.cif", "--out", out]
    command = [sys.executable, "-m", "dglframer", "predict", *map(str, arguments)]
    assert subprocess.run(command, capture_output=True).returncode == 1
    table = rows(out)
    assert list(table[0]) == [
        "id",
        "path",
        "prediction",
        "unit",
        "spread",
        "low",
        "high",
        "abstained",
        "warning",
        "error",
    ]
    by_id = {row["id"]: row for row in table}
    assert [row["path"] for row in table] == [str(path) for path in arguments[1:6]]
    assert list(by_id) == ["salt", "broken", "disordered", "caesium", "absent"]
    for id in ("salt", "caesium"):
        assert by_id[id]["prediction"] is not None and not by_id[id]["error"]
        assert by_id[id]["unit"] == "eV"
    assert "partial occupancy" in by_id["disordered"]["error"]
    assert "no such file" in by_id["absent"]["error"]
    assert all(by_id[id]["prediction"] is None for id in ("broken", "disordered", "absent"))


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


def test_good_files_exit_with_zero(model, files, tmp_path):
    assert (
        predict_files([model], [files[0], files[3]], tmp_path / "p.csv", CPU, Reading(10_000)) == 0
    )


def test_batching_does_not_change_predictions(model, files, tmp_path):
    predict_files([model], files, tmp_path / "a.parquet", CPU, Reading(10_000))
    predict_files([model], files, tmp_path / "b.parquet", CPU, Reading(1))
    for a, b in zip(rows(tmp_path / "a.parquet"), rows(tmp_path / "b.parquet"), strict=True):
        assert a["prediction"] == pytest.approx(b["prediction"], abs=1e-6)


def test_ensemble_is_mean_and_spread_and_members_keep_their_cutoff(files, tmp_path):
    members = [make_model(tmp_path / str(seed), seed, cutoff) for seed, cutoff in ((0, 5), (1, 7))]
    alone = []
    for member in members:
        predict_files([member], files[:1], tmp_path / "one.parquet", CPU, Reading(10_000))
        [row] = rows(tmp_path / "one.parquet")
        assert row["spread"] is None
        alone.append(row["prediction"])
    predict_files(members, files[:1], tmp_path / "both.parquet", CPU, Reading(10_000))
    [row] = rows(tmp_path / "both.parquet")
    assert row["prediction"] == pytest.approx(sum(alone) / 2, abs=1e-6)
    assert row["spread"] == pytest.approx(abs(alone[0] - alone[1]) / 2**0.5, abs=1e-6)


def test_members_with_different_cutoffs_have_graphs_of_their_own(files, tmp_path):
    """The mean is that of their predictions alone, whichever stands first."""
    members = [make_model(tmp_path / str(cutoff), cutoff=cutoff) for cutoff in (3.5, 6.0)]
    alone = []
    for member in members:
        predict_files([member], files[:1], tmp_path / "one.parquet", CPU, Reading(10_000))
        alone.append(rows(tmp_path / "one.parquet")[0]["prediction"])
    assert abs(alone[0] - alone[1]) > 1e-3
    for order in (members, members[::-1]):
        predict_files(order, files[:1], tmp_path / "both.parquet", CPU, Reading(10_000))
        [row] = rows(tmp_path / "both.parquet")
        assert row["prediction"] == pytest.approx(sum(alone) / 2, abs=1e-6)
        assert row["spread"] == pytest.approx(abs(alone[0] - alone[1]) / 2**0.5, abs=1e-6)


def test_it_abstains_where_the_members_disagree(files, tmp_path):
    """The threshold lies between the spreads of the two crystals."""
    members = [make_model(tmp_path / str(seed), seed) for seed in (0, 1)]
    both = [files[0], files[3], files[1]]
    predict_files(members, both, tmp_path / "all.parquet", CPU, Reading(10_000))
    spreads = [row["spread"] for row in rows(tmp_path / "all.parquet")[:2]]
    threshold = sum(spreads) / 2
    out = tmp_path / "some.csv"
    assert (
        predict_files(members, both, out, CPU, Reading(10_000), Demands(threshold)) == 1
    )  # the broken file
    result = rows(out)
    for row, spread in zip(result[:2], spreads, strict=True):
        assert row["abstained"] == (spread > threshold) == (row["prediction"] is None)
        assert row["spread"] == pytest.approx(spread) and not row["error"]
    assert sum(row["abstained"] for row in result) == 1
    assert result[2]["error"] and not result[2]["abstained"]


def test_abstaining_needs_several_models(model, files, tmp_path):
    with pytest.raises(UserError, match="abstain_above"):
        predict_files([model], files, tmp_path / "p.csv", CPU, Reading(10_000), Demands(0.1))


def test_members_must_predict_the_same(files, tmp_path):
    members = [make_model(tmp_path / unit, unit=unit) for unit in ("eV", "meV")]
    with pytest.raises(UserError, match="meV"):
        predict_files(members, files, tmp_path / "p.csv", CPU, Reading(10_000))


def test_parquet_of_crystals(model, tiny_run, tmp_path):
    predict_files([model], [tiny_run.crystals], tmp_path / "p.parquet", CPU, Reading(10_000))
    assert [row["id"] for row in rows(tmp_path / "p.parquet")] == [c.id for c in tiny_run.valid]


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


def test_no_text_of_the_csv_is_a_formula(model, tmp_path):
    """A spreadsheet would run it; Parquet has the ids as they are."""
    names = ["=cmd|x", "+1", "@SUM", "-2", "plain", "a=b"]
    cell = (4.2 * np.eye(3), [[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]])
    labels = dict.fromkeys(TARGETS, 0.0)
    crystals = [crystal(name, "Cs Cl", *cell, **labels) for name in sorted(names)]
    write_crystals(tmp_path / "c.parquet", crystals)
    for suffix in ("csv", "parquet"):
        predict_files(
            [model], [tmp_path / "c.parquet"], tmp_path / f"p.{suffix}", CPU, Reading(10_000)
        )
    assert [row["id"] for row in rows(tmp_path / "p.parquet")] == sorted(names)
    lines = list(csv.reader((tmp_path / "p.csv").read_text().splitlines()))[1:]
    assert [line[0] for line in lines] == ["'+1", "'-2", "'=cmd|x", "'@SUM", "a=b", "plain"]
    assert all(float(line[2]) for line in lines)


def damage(model: Path, how: str) -> None:
    weights, description = model / "model.safetensors", model / "model.json"
    content = json.loads(description.read_text())
    if how == "flipped byte":
        data = bytearray(weights.read_bytes())
        data[-5] ^= 1
        weights.write_bytes(data)
    elif how == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif how == "no weights":
        weights.unlink()
    elif how == "pickle for weights":
        weights.write_bytes(pickle.dumps({"a": 1}))
    elif how == "not json":
        description.write_text("{")
    elif how == "newer format":
        description.write_text(json.dumps(content | {"format_version": 99}))
    elif how == "no targets":
        content.pop("targets")
        description.write_text(json.dumps(content))
    elif how == "unknown setting":
        content["settings"]["depth"] = 3
        description.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "how",
    "flipped byte,truncated,no weights,pickle for weights,not json,newer format,no targets,"
    "unknown setting".split(","),
)
def test_damaged_model_is_named(model, how):
    damage(model, how)
    with pytest.raises(DamagedFile, match=str(model)):
        load_model(model)


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_file_of_the_model_in_place_of_its_folder(model, name):
    with pytest.raises(UserError, match=f"give its folder, {model}$"):
        load_model(model / name)


def test_weights_of_another_shape_are_named(model):
    """The hash agrees, the shapes do not."""
    from dglframer.common.files import sha256

    weights = load_file(model / "model.safetensors")
    weights["embedding.weight"] = weights["embedding.weight"][:, :8].contiguous()
    save_file(weights, model / "model.safetensors")
    content = json.loads((model / "model.json").read_text())
    content["weights_sha256"] = sha256(model / "model.safetensors")
    (model / "model.json").write_text(json.dumps(content))
    with pytest.raises(DamagedFile, match=r"model\.safetensors"):
        load_model(model)


class Malicious:
    def __reduce__(self):
        return (Path.touch, (Path("dglframer-was-here"),))


def test_checkpoint_with_code_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Malicious()}, "evil.ckpt")
    with pytest.raises(DamagedFile, match=r"evil\.ckpt: refused.*getattr") as error:
        read_checkpoint(Path("evil.ckpt"))
    for advice in ("weights_only", "safe_globals", "torch.load", "\n"):
        assert advice not in str(error.value)
    assert not Path("dglframer-was-here").exists()


@pytest.mark.parametrize(
    "content", [{}, [1, 2], {"state_dict": {}, "hyper_parameters": {}}], ids=str
)
def test_other_torch_files_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(DamagedFile, match=r"other\.ckpt"):
        read_checkpoint(tmp_path / "other.ckpt")


def test_text_is_no_checkpoint(tmp_path):
    (tmp_path / "text.ckpt").write_text("hello")
    with pytest.raises(DamagedFile, match=r"text\.ckpt: refused.*damaged") as error:
        read_checkpoint(tmp_path / "text.ckpt")
    assert "weights_only" not in str(error.value)


def test_out_must_have_a_known_suffix(model, files, tmp_path):
    with pytest.raises(UserError, match=r"\.csv or \.parquet"):
        predict_files([model], files, tmp_path / "p.xlsx", CPU, Reading(10_000))


def test_a_run_that_nobody_watches_writes_its_table(model, files, tmp_path):
    """dglframer predict ... 2>&1 | head -1"""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "dglframer", "predict", model, files[0], "--out", "p.csv"]
    done = subprocess.run(command, stdout=write, stderr=write, cwd=tmp_path, check=False)
    os.close(write)
    assert done.returncode == 0
    assert len(rows(tmp_path / "p.csv")) == 1


def predict(*arguments, stdin=""):
    """(exit status, error output) of dglframer predict."""
    command = [sys.executable, "-m", "dglframer", "predict", *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


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


def test_a_folder_of_seeds_is_an_ensemble(files, tmp_path):
    """Named as a folder, or one by one before the structures or with --model."""
    seeds = [make_model(tmp_path / "models" / f"seed-{k}", k) for k in (0, 1, 2, 10)]
    assert members(tmp_path / "models") == seeds and members(seeds[1]) == [seeds[1]]
    ways = ([tmp_path / "models"], seeds, [seeds[0], "--model", seeds[1]])
    tables = []
    for k, models in enumerate(ways):
        out = tmp_path / f"{k}.csv"
        words = [*models[:1], *models[1:], files[0]] if k < 2 else [seeds[0], files[0], *models[1:]]
        assert predict(*words, "--out", out)[0] == 0
        tables.append(rows(out))
    assert tables[0] == tables[1] and tables[0][0]["spread"] > 0
    assert tables[2][0]["spread"] > 0 and tables[2] != tables[0]


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


def test_without_out_the_table_goes_to_standard_output(model, files, tmp_path):
    command = [sys.executable, "-m", "dglframer", "predict", model, *files[:2]]
    done = subprocess.run(command, capture_output=True, cwd=tmp_path, check=False)
    assert done.returncode == 1
    predict_files([model], files[:2], tmp_path / "p.csv", CPU, Reading())
    assert done.stdout == (tmp_path / "p.csv").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["files", "model", "p.csv"]


def test_embeddings_are_what_the_head_sees(model, files, tmp_path):
    """In a file of their own, and the predictions stay as they are."""
    out, vectors = tmp_path / "p.csv", tmp_path / "v.parquet"
    predict_files([model], files, out, CPU, Reading(), embed=vectors)
    predict_files([model], files, tmp_path / "alone.csv", CPU, Reading())
    assert out.read_bytes() == (tmp_path / "alone.csv").read_bytes()
    table = pq.read_table(vectors)
    assert table.schema.field("embedding").type == pa.list_(pa.float32())
    loaded = load_model(model)
    for row, prediction in zip(table.to_pylist(), rows(out), strict=True):
        assert (row["id"], row["path"]) == (prediction["id"], prediction["path"])
        if row["error"]:
            assert row["embedding"] is None and row["error"] == prediction["error"]
            continue
        assert len(row["embedding"]) == SMALL.width
        with torch.no_grad():
            output = loaded.network.head(torch.tensor([row["embedding"]]))
        assert float(loaded.denormalise(output)) == pytest.approx(
            prediction["prediction"], abs=1e-6
        )


def test_embeddings_are_of_one_model_and_in_parquet(model, files, tmp_path):
    with pytest.raises(UserError, match="give one model"):
        predict_files([model, model], files, None, CPU, Reading(), embed=tmp_path / "v.parquet")
    with pytest.raises(UserError, match=r"must end in \.parquet"):
        predict_files([model], files, None, CPU, Reading(), embed=tmp_path / "v.csv")


LOADED = """
import sys
from dglframer.cli.main import main

main()
print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


def test_a_prediction_loads_only_what_it_needs(model, files):
    """The fixed cost of a call: these take seconds to load."""
    command = [sys.executable, "-c", LOADED, "predict", model, files[0], "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = set(done.stderr.splitlines()[-1].split())
    heavy = "sympy pandas dgl pymatgen jarvis ase optuna sklearn matplotlib e3nn snakemake pyarrow"
    assert "torch" in loaded and not loaded & set(heavy.split())


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


def test_model_directories_can_be_moved(model, files, tmp_path):
    shutil.move(model, tmp_path / "elsewhere")
    assert (
        predict_files([tmp_path / "elsewhere"], files[:1], tmp_path / "p.csv", CPU, Reading(1000))
        == 0
    )
