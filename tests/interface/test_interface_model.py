"""Models in Python: the numbers of the command line, for whatever holds a structure."""

import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from helpers.crystals import CIF, POSCAR
from helpers.models import make_model
from helpers.paths import ROOT
from jarvis.core.atoms import Atoms as JarvisAtoms
from pymatgen.core import Molecule, Structure

import dglframer
from dglframer.common.errors import UserError


@pytest.fixture
def files(tmp_path) -> list[Path]:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a.cif").write_text(CIF)
    (folder / "b.cif").write_text("data_nothing\n")
    frame = '1\nLattice="{0} 0 0 0 {0} 0 0 0 {0}" Properties=species:S:1:pos:R:3\nCs 0 0 0\n'
    (folder / "c.extxyz").write_text(frame.format(4.5) + frame.format(4.8))
    (folder / "d.vasp").write_text(POSCAR)
    return sorted(folder.iterdir())


@pytest.fixture
def own_settings():
    """Two threads and algorithms of any kind, as a caller may have set torch."""
    before = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    torch.set_num_threads(2)
    torch.set_deterministic_debug_mode("default")
    yield
    torch.set_num_threads(before[0])
    torch.set_deterministic_debug_mode(before[1])


@pytest.mark.usefixtures("own_settings")
def test_the_numbers_are_those_of_the_command_line_to_the_bit(files, tmp_path):
    """Two seeds, predictions and vectors; whatever the caller has set in torch, which comes back."""
    seeds = [make_model(tmp_path / "models" / f"seed-{k}", k) for k in (0, 1)]
    out, vectors = tmp_path / "p.parquet", tmp_path / "v.parquet"
    command = [sys.executable, "-m", "dglframer", "predict"]
    subprocess.run([*command, tmp_path / "models", files[0].parent, "--out", out], check=False)
    only = [seeds[0], files[0].parent, "--out", tmp_path / "q.csv", "--embed", vectors]
    subprocess.run([*command, *only], check=False)

    model = dglframer.load(tmp_path / "models", device="cpu")
    table = model.predict(files, table="pyarrow")
    assert table.equals(pq.read_table(out))
    assert model.predict([files[0].parent], table="pyarrow").equals(table)
    assert torch.get_num_threads() == 2 and torch.get_deterministic_debug_mode() == 0
    frame = model.predict(str(files[0].parent))
    assert isinstance(frame, pd.DataFrame) and list(frame["id"]) == ["a", "b", "c-0", "c-1", "d"]

    embedded = model.members[0].embed(files, errors="nan")
    expected = pq.read_table(vectors)["embedding"].to_pylist()
    assert embedded.shape == (5, 16) and embedded.dtype == np.float32
    for mine, theirs in zip(embedded, expected, strict=True):
        assert np.isnan(mine).all() if theirs is None else mine.tolist() == theirs


@pytest.mark.parametrize(
    "kind", ["pymatgen", "ase", "jarvis", "dict", "ase dict", "jarvis dict", "entry"]
)
def test_a_structure_is_what_its_file_is(kind, tmp_path):
    (tmp_path / "x.vasp").write_text(POSCAR)
    atoms = ase.io.read(tmp_path / "x.vasp", format="vasp")
    pymatgen = Structure(atoms.cell.array, atoms.symbols, atoms.get_scaled_positions())
    cell = pymatgen.lattice.matrix
    jarvis = JarvisAtoms(cell, pymatgen.frac_coords, list(atoms.symbols), cartesian=False)
    given = {
        "pymatgen": pymatgen,
        "ase": atoms,
        "jarvis": jarvis,
        "dict": pymatgen.as_dict(),
        "ase dict": atoms.todict(),
        "jarvis dict": jarvis.to_dict(),
        "entry": {"jid": "mine", "atoms": jarvis.to_dict()},
    }[kind]
    model = dglframer.load(make_model(tmp_path / "model"), device="cpu")
    [of_file] = model.predict(tmp_path / "x.vasp")["prediction"]
    one, many = model.predict(given), model.predict([given, tmp_path / "x.vasp"])
    assert one["prediction"][0] == pytest.approx(of_file, abs=1e-6)
    assert list(one["id"]) == ["mine" if kind == "entry" else "0"] and one["path"].isna().all()
    assert list(many["path"].isna()) == [True, False] and many["error"].isna().all()


def test_bad_structures_are_rows_with_an_error(tmp_path):
    model = dglframer.load(make_model(tmp_path / "model"), device="cpu")
    disordered = Structure(4 * np.eye(3), [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]])
    slab = ase.Atoms("Cs", cell=[4, 4, 9], pbc=[True, True, False])
    table = model.predict([disordered, slab, Molecule(["H", "H"], [[0, 0, 0], [0, 0, 0.75]])])
    assert "partial occupancy" in table["error"][0] and "2 of 3 axes" in table["error"][1]
    assert table["prediction"].notna().tolist() == [False, False, True]
    assert model.predict(slab, assume_periodic=True)["error"].isna().all()
    broken = slab.todict() | {"positions": [[0, 0, 0], [1, 1, 1]]}
    assert "cannot be read" in model.predict(broken)["error"][0]
    with pytest.raises(UserError, match="0: partial occupancy"):
        model.embed(disordered)


def test_what_is_no_structure_is_refused(tmp_path):
    model = dglframer.load(make_model(tmp_path / "model"), device="cpu")
    for wrong in (3, [None], [ase.Atoms]):
        with pytest.raises(UserError, match="is no structure: give structures of pymatgen"):
            model.predict(wrong)


def test_vectors_of_atoms_pool_to_those_of_the_crystal(files, tmp_path):
    """The settings pool by the mean; a structure that cannot be used has none."""
    model = dglframer.load(make_model(tmp_path / "model"), device="cpu")
    atoms = model.embed(files, atoms=True, errors="nan")
    assert [one.shape for one in atoms] == [(2, 16), (0, 16), (1, 16), (1, 16), (2, 16)]
    crystals = model.embed(files, errors="nan")
    for one, pooled in zip(atoms, crystals, strict=True):
        if len(one):
            np.testing.assert_allclose(one.mean(0), pooled, rtol=0, atol=1e-6)
    assert model.embed([]).shape == (0, 16)


def test_an_ensemble_has_the_vectors_of_its_first_member(files, tmp_path):
    model = dglframer.load(make_model(tmp_path / "0"), make_model(tmp_path / "1", 1), device="cpu")
    first, other = (member.embed(files[0]) for member in model.members)
    assert np.array_equal(model.embed(files[0]), first) and not np.allclose(first, other)
    [atoms], [expected] = (one.embed(files[0], atoms=True) for one in (model, model.members[0]))
    assert np.array_equal(atoms, expected)


def test_what_an_ensemble_cannot_do(files, tmp_path):
    model = dglframer.load(make_model(tmp_path / "0"), make_model(tmp_path / "1", 1), device="cpu")
    assert "2 members" in repr(model) and model.targets[0].unit == "eV" and model.cutoff == 5.0
    assert model.predict(files[0], abstain_above=0.0)["abstained"].all()
    with pytest.raises(UserError, match="abstain_above"):
        model.members[0].predict(files, abstain_above=0.1)


def test_tables_have_types_without_rows(tmp_path):
    model = dglframer.load(make_model(tmp_path / "model"), device="cpu")
    table = model.predict([], table="pyarrow")
    assert len(table) == 0 and table.schema.field("prediction").type == pa.float64()


def test_the_lines_of_the_readme_run(tmp_path, monkeypatch):
    """With a file and structures of the reader's, and the shipped model that it names."""
    monkeypatch.chdir(tmp_path)
    Path("a.cif").write_text(CIF)
    structure = Structure(4 * np.eye(3), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    [block] = (ROOT / "README.md").read_text(encoding="utf-8").split("```python\n")[1:]
    names = {"structure": structure, "structures": [structure, structure]}
    exec(block.partition("```")[0], names)
    assert names["table"]["error"].isna().all() and len(names["table"]) == 2
    assert names["vectors"].shape == (2, 128)
