"""Files read by processes beside the prediction: in order, through deaths, to an end."""

import os
from pathlib import Path

import numpy as np
import psutil
import pytest
from helpers.crystals import CIF, POSCAR

from dglframer.data.sources.file_ids import file_ids
from dglframer.evaluation import reader_processes
from dglframer.evaluation.items import Item, Wanted, chunks, read_items
from dglframer.evaluation.reader_processes import read_in_processes, usual_processes

WANTED = Wanted(5.0)
DEADLY = """
import builtins, os, signal
true_open = builtins.open
def deadly_open(file, *arguments, **known):
    if "deadly" in str(file):
        os.kill(os.getpid(), signal.SIGKILL)
    return true_open(file, *arguments, **known)
builtins.open = deadly_open
"""


@pytest.fixture
def files(tmp_path) -> list[Path]:
    """Good and bad files, among them one of many structures."""
    frame = '1\nLattice="6 0 0 0 6 0 0 0 6" Properties=species:S:1:pos:R:3\nCs 0 0 0\n'
    for name, text in (
        ("a.cif", CIF),
        ("b.extxyz", frame * 7),
        ("c.vasp", POSCAR),
        ("d.cif", "data_nothing\n"),
        ("e.extxyz", frame * 2 + "rubbish\n"),
        ("f.vasp", POSCAR),
        ("g.cif", CIF),
    ):
        (tmp_path / name).write_text(text)
    return [*sorted(tmp_path.iterdir()), tmp_path / "absent.cif"]


def same(one: Item, other: Item) -> bool:
    if one._replace(crystal=None, graph=None) != other._replace(crystal=None, graph=None):
        return False
    if one.graph is None or other.graph is None:
        return one.graph is other.graph is None
    return np.array_equal(one.graph.vectors_E3, other.graph.vectors_E3)


@pytest.mark.parametrize(("n_processes", "start", "edges"), [(1, (0, 0), 1), (3, (1, 4), 10_000)])
def test_the_items_are_those_of_one_process(files, n_processes, start, edges):
    ids = file_ids(files)
    alone = list(read_items(files, ids, start, WANTED))
    together = list(read_in_processes(files, ids, start, WANTED, n_processes, edges))
    assert len(together) == len(alone) == (15 if start == (0, 0) else 10)
    assert all(map(same, together, alone))


@pytest.mark.parametrize("n_processes", [1, 2])
def test_the_file_that_kills_its_process_is_named_and_the_others_are_read(
    files, tmp_path, monkeypatch, n_processes
):
    """Also where it is not the first of a message, and twice."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(DEADLY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    for name in ("bb_deadly.vasp", "g_deadly.vasp"):
        (tmp_path / name).write_text(POSCAR)
    paths = sorted(path for path in tmp_path.iterdir() if path.is_file())
    ids = file_ids(paths)
    alone = list(read_items(paths, ids, (0, 0), WANTED))
    together = list(read_in_processes(paths, ids, (0, 0), WANTED, n_processes, 10_000))
    assert [item.id for item in together] == [item.id for item in alone]
    for one, other in zip(together, alone, strict=True):
        if "deadly" in one.id:
            k = ids.index(one.id)
            assert one.next == (k + 1, 0)
            assert one.error == "the process that read it was ended by signal 9 (SIGKILL)"
        else:
            assert same(one, other)


def test_no_process_outlives_the_reading(files):
    before = set(psutil.Process().children())
    items = read_in_processes(files, file_ids(files), (0, 0), WANTED, 2, 1)
    next(items)
    started = set(psutil.Process().children()) - before
    assert len(started) == 2
    items.close()
    assert not any(process.is_running() for process in started)


def test_little_to_read_starts_no_process(files, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8))
    assert usual_processes(files, threads=1) == 0
    monkeypatch.setattr(reader_processes, "BYTES_PER_PROCESS", 200)
    assert usual_processes(files, threads=1) == 7
    assert usual_processes(files, threads=5) == 3
    assert usual_processes(files, threads=9) == 0


def test_chunks_end_before_they_have_too_many_edges(files, monkeypatch):
    items = list(read_items(files, file_ids(files), (0, 0), WANTED))
    cs = items[1].n_edges
    assert [len(chunk) for chunk in chunks(items[1:8], 3 * cs)] == [3, 3, 1]
    assert [len(chunk) for chunk in chunks(items[1:8], 1)] == [1] * 7
    monkeypatch.setattr("dglframer.evaluation.items.MAX_ITEMS", 5)
    assert [len(chunk) for chunk in chunks(items, 10**9)] == [5, 5, 5]
