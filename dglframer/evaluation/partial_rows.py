"""The rows of a prediction under way, so that a run that was killed goes on where it stopped.

The file ``OUT.partial`` has a line of JSON that says what is predicted, then one for each chunk of
structures. A line that a kill cut short is removed.
"""

import fcntl
import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from dglframer.common.errors import DamagedFile, InUse, UserError
from dglframer.common.files import canonical_json, hash_of, sha256

Row = dict[str, Any]
Position = tuple[int, int]  # how many files are done, and how many structures of the next one


def description(
    model_folders: Sequence[Path], files: Sequence[Path], settings: dict[str, Any]
) -> dict[str, str]:
    """Hashes of what the rows depend on; of the structure files, names, sizes and times of change."""
    models = [
        sha256(folder / "model.json") for folder in model_folders
    ]  # it has that of the weights
    stats = [(str(path), path.stat() if path.is_file() else None) for path in files]
    inputs = [(path, *((s.st_size, s.st_mtime_ns) if s else ())) for path, s in stats]
    return {"models": hash_of(models), "inputs": hash_of(inputs), "settings": hash_of(settings)}


class PartialRows:
    """An append-only file beside ``out``; one process has it at a time."""

    def __init__(self, out: Path, what: dict[str, str]):
        """Open it, or make it; raises UserError if it is of other models, inputs or settings."""
        self.path = out.with_name(f"{out.name}.partial")
        out.parent.mkdir(parents=True, exist_ok=True)
        self.handle = open(self.path, "a+b")  # noqa: SIM115  (closed by __exit__)
        try:
            fcntl.flock(self.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.handle.close()
            raise InUse(f"{self.path}: another process writes to it") from None
        self.handle.seek(0)
        whole = [line for line in self.handle if line.endswith(b"\n")]
        self.handle.truncate(sum(map(len, whole)))
        try:
            header, *self.parts = [json.loads(line) for line in whole] or [what]
            changed = [key for key in what if header[key] != what[key]]
        except (ValueError, KeyError, TypeError):
            raise DamagedFile(f"{self.path}: damaged; remove it to begin anew") from None
        if changed and self.parts:
            raise UserError(
                f"{self.path} is of a run with other {', '.join(changed)}: repeat that command to go "
                "on with it, or remove the file to begin anew"
            )
        if not self.parts:
            self.handle.truncate(0)
            self.append_line(what)

    @property
    def position(self) -> Position:
        """Where to go on."""
        return tuple(self.parts[-1]["position"]) if self.parts else (0, 0)

    @property
    def rows(self) -> list[Row]:
        """All rows so far, in order."""
        return [row for part in self.parts for row in part["rows"]]

    def append(self, rows: list[Row], position: Position) -> None:
        """Add the rows of the structures up to ``position``."""
        part = {"position": position, "rows": rows}
        self.append_line(part)
        self.parts.append(part)

    def append_line(self, value: dict[str, Any]) -> None:
        """Write one line through to the disk."""
        self.handle.write(canonical_json(value).encode() + b"\n")
        self.handle.flush()
        os.fsync(self.handle.fileno())

    def __enter__(self) -> "PartialRows":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the file if all went well."""
        if kind is None:
            self.path.unlink()
        self.handle.close()
