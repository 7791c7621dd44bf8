"""The structure files that a person names: files, folders, lists of paths."""

import logging
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from dglframer.common.errors import UserError
from dglframer.data.sources.file_ids import KNOWN
from dglframer.data.sources.folder import find_files
from dglframer.data.sources.structure_files import is_structure_file

log = logging.getLogger(__name__)

STDIN = Path("-")
LIST = ".txt"


def find_inputs(named: Sequence[Path]) -> list[Path]:
    """The files, in the order named; those of a folder and of its folders in order of path.

    ``-`` stands for the paths on standard input and ``NAME.txt`` for those in that file, one a line,
    which may be folders as well. Raises UserError if a folder or a list has no structure files.
    """
    files: list[Path] = []
    for path in named:
        if path == STDIN:
            files += from_list("standard input", sys.stdin)
        elif path.suffix == LIST and not is_structure_file(path) and path.is_file():
            with open(path, encoding="utf-8") as lines:
                files += from_list(str(path), lines)
        else:
            files += from_path(path)
    return files


def from_list(name: str, lines: Iterable[str]) -> list[Path]:
    """The files of a list of paths, one a line."""
    try:
        paths = [Path(line.rstrip("\r\n")) for line in lines if line.strip()]
    except UnicodeDecodeError:
        raise UserError(f"{name}: not a list of paths, it is no text in UTF-8") from None
    if not paths:
        raise UserError(f"{name}: no path in it")
    return [file for path in paths for file in from_path(path)]


def from_path(path: Path) -> list[Path]:
    """The path itself, or the structure files of the folder."""
    if not path.is_dir():
        return [path]
    found, others = find_files(path)
    if not found:
        raise UserError(f"{path}: no structure file in this folder; {KNOWN}")
    if others:
        log.info(
            "%s: files with other endings are left out, such as %s", path, min(others.values())
        )
    return found
