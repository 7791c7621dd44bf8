"""The rows of a prediction under way, so that a run that was killed goes on where it stopped.

The file ``OUT.partial`` has a line of JSON that says what is predicted, then one for each chunk of
structures. A line that a kill cut short is removed. Memory holds one line at a time.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from dglframer.common.errors import DamagedFile, InUse, UserError
from dglframer.common.files import canonical_json, hash_of, sha256
from dglframer.evaluation.items import Position
from dglframer.evaluation.prediction_rows import Row
from dglframer.networks.named import Place


def description(
    places: Sequence[Place], files: Sequence[Path], settings: dict[str, Any]
) -> dict[str, str]:
    """Hashes of what the rows depend on; of the structure files, names, sizes and times of change."""
    # model.json has the hash of the weights.
    models = [(sha256(place.folder / "model.json"), place.target) for place in places]
    inputs = hashlib.sha256()
    for path in files:
        stat = path.stat() if path.is_file() else None
        known = (stat.st_size, stat.st_mtime_ns) if stat else ()
        inputs.update(f"{canonical_json([str(path), *known])}\n".encode())
    return {
        "models": hash_of(models),
        "inputs": inputs.hexdigest(),
        "settings": hash_of(settings),
    }


class PartialRows:
    """An append-only file beside ``out``; one process has it at a time.

    ``position`` says where to go on, ``n_rows`` how many rows there are.
    """

    def __init__(self, out: Path, what: dict[str, str]):
        """Open it, or make it; raises UserError if it is of other models, inputs or settings."""
        self.path = out.with_name(f"{out.name}.partial")
        self.position: Position = (0, 0)
        self.n_rows = 0
        out.parent.mkdir(parents=True, exist_ok=True)
        self.handle = open(self.path, "a+b")  # noqa: SIM115  (closed by __exit__)
        try:
            fcntl.flock(self.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.handle.close()
            raise InUse(f"{self.path}: another process writes to it") from None
        self.handle.truncate(sum(len(line) for line in self.lines()))
        changed = self.read_state(what)
        if changed and self.n_rows:
            raise UserError(
                f"{self.path} is of a run with other {', '.join(changed)}: repeat that command to go "
                "on with it, or remove the file to begin anew"
            )
        if not self.n_rows:
            self.handle.truncate(0)
            self.append_line(what)

    def read_state(self, what: dict[str, str]) -> list[str]:
        """Read where the last run stopped; returns the keys in which its description is another."""
        try:
            lines = map(json.loads, self.lines())
            header = next(lines, what)
            for part in lines:
                first, second = part["position"]
                self.position = (first, second)
                self.n_rows += len(part["rows"])
            return [key for key in what if header[key] != what[key]]
        except (ValueError, KeyError, TypeError):
            raise DamagedFile(f"{self.path}: damaged; remove it to begin anew") from None

    def lines(self) -> Iterator[bytes]:
        """The lines that are whole."""
        self.handle.seek(0)
        for line in self.handle:
            if line.endswith(b"\n"):
                yield line

    def rows(self) -> Iterator[Row]:
        """All rows so far, in order."""
        lines = self.lines()
        next(lines)
        for line in lines:
            yield from json.loads(line)["rows"]

    def append(self, rows: list[Row], position: Position) -> None:
        """Add the rows of the structures up to ``position``."""
        self.append_line({"position": position, "rows": rows})
        self.position = position
        self.n_rows += len(rows)

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
