"""Checkpoints of a training: its two newest states. Each is complete or absent.

A checkpoint is a folder ``epoch-E-batch-B`` with tensors.safetensors and state.json. It is written
under another name, fsynced and renamed. Trainings with different settings or data lie side by side,
each in a folder named by the hash of its identity.json. Nothing is pickled.
"""

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import safetensors
from safetensors.torch import load_file, save_file

from dglframer.common.errors import DamagedFile, UserError
from dglframer.common.files import (
    atomic_folder,
    hash_of,
    read_json,
    remove_left_overs,
    sha256,
    write_json,
    write_text,
)
from dglframer.training.snapshot import Snapshot

log = logging.getLogger(__name__)

FORMAT_VERSION = 1
KEPT = 2  # newest checkpoints; if the last is damaged, the one before is used

WhenChanged = Literal["refuse", "fresh"]


class Checkpoints:
    """The checkpoints of one training, in a folder of the run directory."""

    def __init__(self, run_directory: Path, identity: Mapping[str, Any]):
        self.identity = {"checkpoint_format": FORMAT_VERSION, **identity}
        self.folder = Path(run_directory) / hash_of(self.identity)[:12]

    def all(self) -> list[Path]:
        """The folders of the checkpoints, oldest first."""
        return sorted(self.folder.glob("epoch-*"))

    def save(self, snapshot: Snapshot, epoch: int, batch: int) -> Path:
        """Write a checkpoint, then remove all but the two newest.

        Raises UserError if it cannot be written; the older ones then stay.
        """
        folder = self.folder / f"epoch-{epoch:06d}-batch-{batch:08d}"
        tensors = {k: v.detach().cpu().contiguous() for k, v in snapshot.tensors.items()}
        try:
            with atomic_folder(folder) as temporary:
                save_file(tensors, temporary / "tensors.safetensors")
                digest = sha256(temporary / "tensors.safetensors")
                state = {"tensors_sha256": digest, "values": snapshot.values}
                write_json(temporary / "state.json", {"sha256": hash_of(state), **state})
        except (OSError, safetensors.SafetensorError) as error:
            raise UserError(f"{folder}: the checkpoint cannot be written ({error})") from None
        for older in self.all()[:-KEPT]:
            shutil.rmtree(older)
        return folder

    def newest(self) -> Path | None:
        """The newest checkpoint that is not damaged; each damaged one is reported and removed."""
        for folder in reversed(self.all()):
            try:
                read_snapshot(folder)
                return folder
            except DamagedFile as error:
                log.warning("damaged checkpoint: %s; removed, using the one before it", error)
                shutil.rmtree(folder)
        return None

    def write_nonfinite(self, steps: Sequence[Mapping[str, Any]]) -> None:
        """Write nonfinite.jsonl: the steps that were left out, with the ids of their crystals."""
        lines = "".join(json.dumps(step) + "\n" for step in steps)
        write_text(self.folder / "nonfinite.jsonl", lines)


def open_checkpoints(
    run_directory: Path,
    identity: Mapping[str, Any],
    restart: bool = False,
    when_changed: WhenChanged = "refuse",
) -> Checkpoints:
    """The checkpoints of the training with this identity; the caller holds the lock.

    If the directory holds only other trainings: raises a UserError that names every difference, or
    (``fresh``) begins beside them. ``restart`` first removes all checkpoints in the directory.
    """
    if restart:
        for folder in run_folders(run_directory):
            shutil.rmtree(folder)
    checkpoints = Checkpoints(run_directory, identity)
    others = [one for one in run_folders(run_directory) if one != checkpoints.folder]
    if others and not checkpoints.folder.is_dir():
        newest = max(others, key=lambda one: (one / "identity.json").stat().st_mtime)
        lines = differences(read_json(newest / "identity.json"), checkpoints.identity)
        changes = "".join(f"\n  {line}" for line in lines)
        if when_changed == "refuse":
            raise UserError(
                f"{run_directory} holds checkpoints of another training:{changes}\n"
                "To continue it, restore these settings. To begin anew, choose another directory, "
                "or discard it with --restart."
            )
        log.info("starting anew beside the checkpoints of another training:%s", changes)
    write_json(checkpoints.folder / "identity.json", checkpoints.identity)
    remove_left_overs(checkpoints.folder)
    return checkpoints


def run_folders(run_directory: Path) -> list[Path]:
    """The folders of a run directory that hold checkpoints, one for each training."""
    found = {path.parent for path in Path(run_directory).glob("*/epoch-*")}
    return sorted(folder for folder in found if (folder / "identity.json").is_file())


def read_snapshot(folder: Path) -> Snapshot:
    """Read and verify one checkpoint; raises DamagedFile naming the file."""
    content = read_json(folder / "state.json")
    path = folder / "tensors.safetensors"
    digest = content.pop("sha256", None) if isinstance(content, dict) else None
    if digest is None or digest != hash_of(content):
        raise DamagedFile(f"{folder}/state.json: not the content that was written")
    if not path.is_file() or sha256(path) != content["tensors_sha256"]:
        raise DamagedFile(f"{path}: missing, or not the content that was written")
    return Snapshot(load_file(path), content["values"])


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A line for each key whose values differ: ``settings.training.epochs: 30 before, 40 now``."""
    old, new = flat(before), flat(now)
    keys = dict.fromkeys([*old, *new])
    shown = {key: (old.get(key, "absent"), new.get(key, "absent")) for key in keys}
    return [f"{key}: {a} before, {b} now" for key, (a, b) in shown.items() if a != b]


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as a single one with dotted keys."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            result |= flat(value, f"{prefix}{key}.")
        else:
            result[prefix + key] = value
    return result
