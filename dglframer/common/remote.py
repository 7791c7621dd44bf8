"""Files in object storage (``s3://bucket/key``), read as files on this machine are.

pyarrow brings the client: no other package is needed. Keys and endpoint are those of the environment
(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION, AWS_ENDPOINT_URL) or of ``~/.aws``.
"""

import os
from pathlib import Path, PosixPath
from typing import Any

SCHEME = "s3"


class RemotePath(PosixPath):
    """A path as ``s3://bucket/key``; ``/``, ``name``, ``parent`` are those of any path. For reading only."""

    def __str__(self) -> str:
        return f"{SCHEME}://{self.key}"

    def __fspath__(self) -> str:
        return str(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self),)

    @property
    def key(self) -> str:
        """Bucket and key, without the scheme."""
        return "/".join(self.parts[1:])

    @property
    def storage(self) -> Any:
        """pyarrow's file system; its own errors are OSErrors."""
        from pyarrow import fs

        return fs.FileSystem.from_uri(f"{SCHEME}://{self.key}")[0]

    def is_file(self, **_: Any) -> bool:
        return bool(self.storage.get_file_info(self.key).is_file)

    def size(self) -> int:
        """Bytes; raises FileNotFoundError."""
        info = self.storage.get_file_info(self.key)
        if not info.is_file:
            raise FileNotFoundError(str(self))
        return int(info.size)

    def open(self, mode: str = "rb", *_: Any, **__: Any) -> Any:
        """A file of bytes that reads what it is asked for; raises FileNotFoundError."""
        if mode != "rb":
            raise ValueError(f"{self}: files in object storage are read, not written")
        return self.storage.open_input_file(self.key)

    def read_bytes(self) -> bytes:
        with self.open() as file:
            return bytes(file.read())

    def read_text(self, encoding: str | None = "utf-8", *_: Any, **__: Any) -> str:
        return self.read_bytes().decode(encoding or "utf-8")


def location(text: str | os.PathLike[str]) -> Path:
    """The path that a text names: of this machine, or of object storage."""
    if isinstance(text, RemotePath):
        return text
    found = os.fspath(text)
    return RemotePath(found) if found.startswith(f"{SCHEME}://") else Path(found)


def size_of(path: Path) -> int:
    """The bytes of a file; raises FileNotFoundError."""
    return path.size() if isinstance(path, RemotePath) else path.stat().st_size
