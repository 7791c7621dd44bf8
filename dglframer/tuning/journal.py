"""The journal of a study on a shared file system: Optuna's journal, which also survives a torn end.

It holds one JSON object per line, appended under Optuna's lock file. If a writer dies or the disk is
full, half a line may be left at the end. The next writer cuts it off; no worker was told that it was
written. (Optuna would append to the half line, and nothing from there on could be read.)
"""

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from dglframer.common.errors import DamagedFile

log = logging.getLogger(__name__)

LOCK_SECONDS = 20  # after this time without a change, a lock file belongs to a dead writer


class Journal(JournalFileBackend):
    """Optuna's journal file, whose torn end is repaired; raises DamagedFile naming a damaged line."""

    def __init__(self, path: Path, lock_seconds: int = LOCK_SECONDS):
        self.path = path
        # Optuna's lock by a symbolic link dangles if the path is relative, and waits for ever then.
        self.lock = JournalFileOpenLock(str(path), grace_period=lock_seconds)
        super().__init__(str(path), lock_obj=self.lock)
        self.lock.acquire()
        try:
            with open(path, "r+b") as handle:
                cut_torn_end(handle, path)
            check(path)
        finally:
            self.lock.release()

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append all lines, or none if an error occurs."""
        lines = [json.dumps(entry, separators=(",", ":")) + "\n" for entry in logs]
        self.lock.acquire()
        try:
            with open(self.path, "r+b", buffering=0) as handle:
                end = cut_torn_end(handle, self.path)
                try:
                    write_all(handle, "".join(lines).encode())
                    os.fsync(handle.fileno())
                except OSError:
                    handle.truncate(end)
                    raise
        finally:
            self.lock.release()

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        """The entries from a number on, without half a line at the end."""
        try:
            yield from super().read_logs(log_number_from)
        except ValueError:
            check(self.path)
            raise


def write_all(handle: Any, data: bytes) -> None:
    """Append ``data`` to an unbuffered file; continues after a short write."""
    handle.seek(0, os.SEEK_END)
    while data:
        data = data[handle.write(data) :]


def cut_torn_end(handle: Any, path: Path, block: int = 1 << 16) -> int:
    """Cut off a last line without a newline; returns the length of the file."""
    length = handle.seek(0, os.SEEK_END)
    kept = length
    while kept:
        start = max(0, kept - block)
        handle.seek(start)
        newline = handle.read(kept - start).rfind(b"\n")
        kept = start + newline + 1
        if newline >= 0:
            break
    if kept < length:
        log.warning(
            "%s: the last line is incomplete and was cut off; its writer was interrupted", path
        )
        handle.truncate(kept)
    return kept


def check(path: Path) -> None:
    """Raise DamagedFile naming the first line that is not an entry of a journal.

    A last line of zeros or other garbage that ends with a newline is damage, too. (A power cut can
    leave it on some file systems.) It may stand for an entry that a worker was told is written.
    """
    with open(path, "rb") as handle:
        for number, line in enumerate(handle, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                entry = json.loads(line)
            except ValueError as error:
                raise DamagedFile(damage(path, number, str(error))) from None
            if not isinstance(entry, dict) or "op_code" not in entry:
                raise DamagedFile(damage(path, number, "no op_code"))


def damage(path: Path, number: int, reason: str) -> str:
    """The message about a damaged line, with two ways to go on."""
    return (
        f"{path}, line {number}: not an entry of a journal ({reason}). To keep the study up to there,"
        f" write `head -n {number - 1}` of it to a new file; to start tuning afresh, remove the file"
    )
