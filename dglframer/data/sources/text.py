"""Text files as people have them: gzipped or not, with a byte order mark or without."""

import codecs
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from dglframer.common.errors import DamagedFile

GZIP = b"\x1f\x8b"
MAX_BYTES = 1 << 28  # of one file that is read whole; a CIF of 100,000 sites has 10 MB
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked if it is gzipped (by its content, whatever its name).

    Raises DamagedFile, also while reading, for damaged gzip data.
    """
    with open(path, "rb") as file:
        start = file.read(len(GZIP))
        file.seek(0)
        if start != GZIP:
            yield file
            return
        try:
            with gzip.open(file) as unpacked:
                yield cast(IO[bytes], unpacked)
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise DamagedFile(f"{path}: damaged gzip data ({error})") from None


def read_text(path: Path, errors: str = "replace") -> str:
    """The whole text: UTF-8, or UTF-16 if its byte order mark says so.

    ``errors`` as in ``bytes.decode``. Raises DamagedFile for damaged gzip data and for text of more
    than MAX_BYTES.
    """
    with open_bytes(path) as stream:
        content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise DamagedFile(f"{path}: more than {MAX_BYTES >> 20} MB of text")
    return content.decode(encoding_of(content), errors)


def encoding_of(start: bytes) -> str:
    """The encoding that the first bytes of a text tell."""
    return "utf-16" if start.startswith(UTF_16) else "utf-8-sig"
