"""What is written survives a power cut: the order of fsync and rename, as the system is really asked."""

import os
from pathlib import Path

import optuna
import pytest
import torch

from dglframer.common.files import atomic_folder, write_text
from dglframer.common.parquet import write_parquet
from dglframer.evaluation.partial_rows import PartialRows
from dglframer.training.checkpoints import Checkpoints
from dglframer.training.snapshot import Snapshot
from dglframer.tuning.journal import Journal


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """The fsyncs and renames from now on: ("fsync", name) and ("rename", name, new name)."""
    made: list[tuple[str, ...]] = []
    fsync, replace = os.fsync, os.replace

    def name(path) -> str:
        """Below ``tmp_path``, without the number of the process."""
        below = os.path.relpath(os.path.realpath(path), tmp_path.resolve())
        return below.replace(f".tmp-{os.getpid()}", ".tmp")

    def noted_fsync(descriptor: int) -> None:
        made.append(("fsync", name(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def noted_replace(old, new) -> None:
        made.append(("rename", name(old), name(new)))
        replace(old, new)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    return made


def published(file: str, folder: str = ".") -> list[tuple[str, ...]]:
    """A file on the disk under another name, then renamed, then the folder's entry on the disk."""
    below = "" if folder == "." else f"{folder}/"
    temporary = f"{below}.{file}.tmp"
    return [("fsync", temporary), ("rename", temporary, below + file), ("fsync", folder)]


def test_a_file_is_on_the_disk_before_it_has_its_name(calls, tmp_path):
    write_text(tmp_path / "a.txt", "text")
    assert calls == published("a.txt")
    calls.clear()
    import pyarrow as pa

    write_parquet(tmp_path / "t.parquet", pa.table({"id": ["a"]}))
    assert calls == published("t.parquet")


def test_a_folder_is_on_the_disk_with_its_files_before_it_has_its_name(calls, tmp_path):
    with atomic_folder(tmp_path / "out" / "folder") as temporary:
        for name in "ab":
            (temporary / name).write_text(name)
    *files, entry, rename, above = calls
    assert sorted(files) == [("fsync", f"out/.folder.tmp/{name}") for name in "ab"]
    assert entry == ("fsync", "out/.folder.tmp")
    assert rename == ("rename", "out/.folder.tmp", "out/folder")
    assert above == ("fsync", "out")


def test_a_checkpoint_is_on_the_disk_before_the_older_ones_go(calls, tmp_path, monkeypatch):
    from dglframer.training import checkpoints

    removed = checkpoints.shutil.rmtree

    def noted(path, *more, **options):
        if ".tmp-" not in str(path):
            calls.append(("remove", Path(path).name))
        removed(path, *more, **options)

    run = Checkpoints(tmp_path, {"seed": 0})
    for step in range(3):
        calls.clear()
        monkeypatch.setattr(checkpoints.shutil, "rmtree", noted)
        run.save(Snapshot({"w": torch.ones(2)}, {"step": step}), 0, step)
        monkeypatch.setattr(checkpoints.shutil, "rmtree", removed)
    kinds = [call[0] for call in calls if not call[-1].endswith("000002")]
    last = calls.index(("fsync", run.folder.name))
    assert ("remove", "epoch-000000-batch-00000000") in calls[last:]
    assert ("remove", "epoch-000000-batch-00000000") not in calls[:last]
    for name in ("tensors.safetensors", "state.json"):
        assert any(call[0] == "fsync" and call[1].endswith(name) for call in calls[:last]), kinds


def test_an_entry_of_the_journal_is_on_the_disk_when_its_worker_goes_on(calls, tmp_path):
    path = tmp_path / "study.journal"
    storage = optuna.storages.JournalStorage(Journal(path))
    study = storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], "study")
    before = len(calls)
    assert ("fsync", "study.journal") in calls
    storage.create_new_trial(study)
    assert ("fsync", "study.journal") in calls[before:]


def test_predicted_rows_are_on_the_disk_before_the_next_are_computed(calls, tmp_path):
    with PartialRows(tmp_path / "p.csv", {"models": "m"}) as partial:
        calls.clear()
        partial.append([{"id": "a"}], (0, 1))
        assert calls == [("fsync", "p.csv.partial")]
        assert (tmp_path / "p.csv.partial").read_bytes().endswith(b"\n")
