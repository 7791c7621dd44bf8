"""The journal of a study on a shared file system: Optuna's, but a torn end does not spoil the rest.

One JSON object per line, appended under Optuna's lock file. A writer that dies, or a full disk, may
leave half a line at the end: the next writer cuts it off, since nothing after it was ever confirmed.
(Optuna alone would append to the half line, and the journal would be unreadable from there on.)
"""

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from dglframer.common.errors import DamagedFile

log = logging.getLogger(__name__)

LOCK_SECONDS = 30  # a lock file that nobody touched for so long belongs to a dead writer


class Journal(JournalFileBackend):
    """Optuna's journal file with repair of its end; raises DamagedFile naming a line within."""

    def __init__(self, path: Path, lock_seconds: int = LOCK_SECONDS):
        self.path = path
        self.lock = JournalFileSymlinkLock(str(path), grace_period=lock_seconds)
        super().__init__(str(path), lock_obj=self.lock)
        self.lock.acquire()
        try:
            with open(path, "r+b") as handle:
                cut_torn_end(handle, path)
            check(path)
        finally:
            self.lock.release()

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append all lines or, if that fails, none."""
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
        """The entries from a number on; half a line at the end is not there yet."""
        try:
            yield from super().read_logs(log_number_from)
        except ValueError:
            check(self.path)
            raise


def write_all(handle: Any, data: bytes) -> None:
    """Append ``data`` to an unbuffered file; a short write goes on until there is an error."""
    handle.seek(0, os.SEEK_END)
    while data:
        data = data[handle.write(data) :]


def cut_torn_end(handle: Any, path: Path, block: int = 1 << 16) -> int:
    """Cut off a last line without its end; returns the length of the file."""
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
        log.warning("%s: the last line was cut off while it was written; removed", path)
        handle.truncate(kept)
    return kept


def check(path: Path) -> None:
    """Raise DamagedFile naming the first line that is not an entry of a journal.

    A last line of zeros or other garbage with an end (a power cut on some file systems) is damage
    too: nobody can tell what was confirmed.
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


def damage(path: Path, number: int, what: str) -> str:
    """What is wrong, and what can be done."""
    return (
        f"{path}, line {number}: not an entry of a journal ({what}). The study up to there can be"
        f" kept with `head -n {number - 1}` into a new file; without the file, tuning starts afresh"
    )
