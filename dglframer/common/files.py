"""Files written whole or not at all, their hashes, and JSON."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dglframer.common.disk import writing
from dglframer.common.errors import DamagedFile
from dglframer.common.remote import location


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; fsync and rename it when the block ends well.

    A crash leaves the old file, or none, and never half of the new one. Raises CannotWrite where the
    disk is full or read-only.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.touch()
            mode = temporary.stat().st_mode
            yield temporary
            sync_file(temporary, mode)
            os.replace(temporary, path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside ``path``; fsync its files and rename it at the end.

    A crash leaves the old folder, or none, and perhaps a folder ``.*.tmp-*`` with unfinished files.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        try:
            yield temporary
            mode = temporary.stat().st_mode & 0o666
            for file in temporary.rglob("*"):
                if file.is_dir():
                    sync_folder(file)
                else:
                    sync_file(file, mode)
            sync_folder(temporary)
            shutil.rmtree(path, ignore_errors=True)
            os.replace(temporary, path)
            sync_folder(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def sync_file(file: Path, mode: int) -> None:
    """fsync a file and give it the permissions of the umask; safetensors writes for its owner alone."""
    with open(file, "rb") as handle:
        os.fchmod(handle.fileno(), mode)
        os.fsync(handle.fileno())


def remove_left_overs(folder: Path) -> None:
    """Remove the unfinished files and folders of writers that were killed.

    Nobody else may write in this folder meanwhile.
    """
    for path in folder.glob(".*.tmp-*"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def hash_of(value: Any) -> str:
    """sha256 of the canonical JSON of ``value``."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def sha256(path: Path) -> str:
    """sha256 of a file's bytes, hexadecimal."""
    with location(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write ``text`` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as readable JSON, keys in the order given; NaN is refused."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path, *keys: str) -> Any:
    """Read JSON; raises DamagedFile naming the file if it is missing, not JSON, or lacks one of ``keys``."""
    try:
        value = json.loads(location(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DamagedFile(f"{path}: no such file") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, nested without end
        raise DamagedFile(f"{path}: not valid JSON ({error})") from None
    check_keys(path, value, *keys)
    return value


def check_keys(path: Path, value: Any, *keys: str) -> None:
    """Raise DamagedFile unless ``value``, the content of ``path``, has all ``keys``."""
    missing = [key for key in keys if not isinstance(value, dict) or key not in value]
    if missing:
        raise DamagedFile(f"{path}: not a file of this program, it has no {', '.join(missing)}")


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Read one JSON value per line; raises DamagedFile."""
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedFile(f"{path}: missing or not JSON lines ({error})") from None
