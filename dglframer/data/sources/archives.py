"""Reading the one expected member of a zip archive, without unpacking and without trusting it."""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from dglframer.common.errors import DamagedFile

LARGEST_RATIO = 200  # numbers in JSON shrink by 3 to 10
LARGEST_BYTES = 64 * 2**30


@contextmanager
def open_member(path: Path, name: str | None = None) -> Iterator[IO[bytes]]:
    """The bytes of a member as a stream; without a name the archive must hold one file only.

    Raises DamagedFile for what is no zip, for an archive that holds a path out of its folder or
    something else than expected, for a member that unpacks to too much, and, while reading, for
    damaged data.
    """
    try:
        with (
            zipfile.ZipFile(path) as archive,
            archive.open(expected(archive, path, name)) as stream,
        ):
            yield stream
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise DamagedFile(f"{path}: damaged or not a zip archive ({error})") from None


def expected(archive: zipfile.ZipFile, path: Path, name: str | None) -> zipfile.ZipInfo:
    """The member to read; raises DamagedFile as ``open_member`` does."""
    members = [member for member in archive.infolist() if not member.is_dir()]
    for member in members:
        inside = PurePosixPath(member.filename.replace("\\", "/"))
        if inside.is_absolute() or ".." in inside.parts:
            raise DamagedFile(f"{path}: refused, it holds the path {member.filename!r}")
    named = [member for member in members if name is None or member.filename == name]
    if len(named) != 1:
        held = ", ".join(member.filename for member in members[:5])
        raise DamagedFile(f"{path}: {name or 'one file'} expected in it, it holds {held or 'none'}")
    (member,) = named
    ratio = member.file_size / max(member.compress_size, 1)
    if ratio > LARGEST_RATIO or member.file_size > LARGEST_BYTES:
        raise DamagedFile(
            f"{path}: refused, {member.filename} unpacks to {member.file_size} bytes, "
            f"{ratio:.0f} times its size"
        )
    if member.flag_bits & 1:
        raise DamagedFile(f"{path}: {member.filename} is encrypted")
    return member
