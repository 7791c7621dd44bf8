"""A disk that is full or cannot be written to: one message with the path, the space and what to do."""

import errno
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dglframer.common.errors import CannotWrite, UserError

FULL = "make room or choose another place, then give the same command again"
OTHER_PLACE = "choose another place, then give the same command again"
REASONS = {
    errno.ENOSPC: ("the disk is full", FULL),
    errno.EDQUOT: ("the quota is used up", FULL),
    errno.EROFS: ("the file system is read-only", OTHER_PLACE),
    errno.EACCES: ("permission denied", OTHER_PLACE),
    errno.EPERM: ("permission denied", OTHER_PLACE),
    errno.ENOTDIR: ("a part of the path is a file", OTHER_PLACE),
    errno.EISDIR: ("this is a folder", OTHER_PLACE),
    errno.ENAMETOOLONG: ("the name is too long", OTHER_PLACE),
    errno.EIO: ("the disk fails", OTHER_PLACE),
}
IN_TEXT = re.compile(r"\b(?:os error |errno )(\d+)", re.IGNORECASE)  # of safetensors, of Arrow
SQLITE = re.compile("disk is full|readonly database|unable to open database|disk I/O error")


def cannot_write(error: BaseException, path: Path) -> CannotWrite | None:
    """The message for an error of writing to ``path``; None for an error of another kind."""
    number = number_of(error, path)
    if number not in REASONS:
        return None
    reason, advice = REASONS[number]
    usage = shutil.disk_usage(existing(path))
    space = f"{usage.free / 1e6:,.1f} of {usage.total / 1e6:,.1f} MB free"
    return CannotWrite(f"{path}: {reason} ({space}); {advice}")


def number_of(error: BaseException | None, path: Path) -> int | None:
    """The system's number of an error, or of one that caused it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno:
            return error.errno
        if found := IN_TEXT.search(str(error)):
            return int(found[1])
        if SQLITE.search(str(error)):
            read_only = os.statvfs(existing(path)).f_flag & os.ST_RDONLY
            return errno.EROFS if read_only else errno.ENOSPC
        error = error.__cause__ or error.__context__
    return None


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    path = Path(os.path.abspath(path))
    return next(one for one in (path, *path.parents) if one.exists())


def place_of(error: BaseException, out: Path) -> Path:
    """Where an error of writing arose, as far as it says so, or else ``out``."""
    if isinstance(error, OSError) and error.filename:
        return Path(os.fsdecode(error.filename))
    if isinstance(error, sqlite3.Error):  # a scratch table
        return Path(os.environ.get("SQLITE_TMPDIR") or tempfile.gettempdir())
    return out


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn errors of writing to ``path`` into CannotWrite."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        problem = cannot_write(error, path)
        if problem is None:
            raise
        raise problem from None
