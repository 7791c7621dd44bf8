"""The objects of a JSON file, one in memory at a time: a list, JSON lines, or a frame of pandas.

(ijson would do that as well, but refuses NaN, which Python's own writer puts into such files.)
"""

import io
import json
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from dglframer.common.errors import DamagedFile
from dglframer.data.sources.archives import open_member
from dglframer.data.sources.text import open_bytes

CHUNK = 1 << 20  # characters read at once
LARGEST_ENTRY = 1 << 26  # characters; more is a damaged file

Entry = dict[str, Any]


def list_entries(path: Path, member: str | None = None) -> Iterator[Entry]:
    """The objects of a JSON list, zipped, gzipped or plain.

    Raises DamagedFile naming ``path`` where it is no such list, or ends early.
    """
    with open_json(path, member) as stream:
        yield from read_list(stream, path)


def entries(path: Path) -> Iterator[Entry]:
    """The objects of a list, of JSON lines, the rows of a frame, or the one object of the file.

    A frame is what pandas writes with ``orient="split"`` and matbench hands out. Raises DamagedFile.
    """
    with open_json(path, None) as stream:
        yield from read_entries(stream, path)


@contextmanager
def open_json(path: Path, member: str | None) -> Iterator[IO[bytes]]:
    """The bytes of the JSON, whether it is zipped, gzipped or neither."""
    opened = open_member(path, member) if zipfile.is_zipfile(path) else open_bytes(path)
    with opened as stream:
        yield stream


class JsonText:
    """Text that is decoded value by value; ``stream`` is read as far as needed."""

    def __init__(self, stream: IO[bytes], path: Path):
        self.text = io.TextIOWrapper(stream, encoding="utf-8-sig")
        self.path = path
        self.decoder = json.JSONDecoder()
        self.buffer, self.start, self.n_read = "", 0, 0

    def more(self) -> bool:
        """Read on; false at the end."""
        new = self.text.read(max(CHUNK, len(self.buffer) - self.start))
        self.buffer, self.start = self.buffer[self.start :] + new, 0
        return bool(new)

    def next_sign(self) -> str:
        """The next character that is no blank; "" at the end."""
        while True:
            rest = self.buffer[self.start : self.start + 64].lstrip()
            if rest:
                self.start = self.buffer.index(rest[0], self.start)
                return rest[0]
            self.start = min(self.start + 64, len(self.buffer))
            if self.start == len(self.buffer) and not self.more():
                return ""

    def take(self, sign: str, name: str) -> None:
        """Go past a sign; raises DamagedFile if another stands there."""
        if self.next_sign() != sign:
            raise self.wrong(f"{self.next_sign() or 'the end'} for {name}")
        self.start += 1

    def value(self, first: str = "", name: str = "a value") -> Any:
        """Decode the next value, which begins with ``first``."""
        if not (sign := self.next_sign()) or (first and sign != first):
            raise self.wrong(f"{sign or 'the end'} for {name}")
        while True:
            try:
                value, end = self.decoder.raw_decode(self.buffer, self.start)
                length = end - self.start
                may_go_on = isinstance(value, int | float) and len(self.buffer) - end < 4  # 1.5e-
                if not (may_go_on and self.more()):
                    self.start += length
                    return value
            except json.JSONDecodeError as error:
                if len(self.buffer) - self.start > LARGEST_ENTRY or not self.more():
                    raise self.wrong(str(error)) from None

    def items(self, first: str, name: str) -> Iterator[Any]:
        """The values of a list, each of which begins with ``first``."""
        self.take("[", "a list")
        is_first = True
        while self.next_sign() != "]":
            if not is_first:
                self.take(",", "a comma")
            is_first = False
            value = self.value(first, name)
            self.n_read += 1
            yield value
        self.start += 1

    def wrong(self, what: str) -> DamagedFile:
        return DamagedFile(
            f"{self.path}: no JSON list of objects ({what} after {self.n_read} entries)"
        )


def read_list(stream: IO[bytes], path: Path) -> Iterator[Entry]:
    """The objects of a JSON list; raises DamagedFile as ``list_entries`` does."""
    text = JsonText(stream, path)
    try:
        if text.next_sign() != "[":
            raise text.wrong("it does not begin with [")
        yield from text.items("{", "an object")
    except UnicodeDecodeError as error:
        raise text.wrong(str(error)) from None


def read_entries(stream: IO[bytes], path: Path) -> Iterator[Entry]:
    """The objects of any of the forms that ``entries`` takes."""
    text = JsonText(stream, path)
    try:
        if text.next_sign() == "{":
            yield from first_object(text)
            while text.next_sign():  # JSON lines
                entry = text.value("{", "an object")
                text.n_read += 1
                yield entry
        elif text.next_sign() == "[":
            yield from text.items("{", "an object")
        else:
            raise text.wrong("it begins with neither [ nor {")
    except UnicodeDecodeError as error:
        raise text.wrong(str(error)) from None


def first_object(text: JsonText) -> Iterator[Entry]:
    """The first object, or the rows of the frame that it is.

    Rows are read one at a time where the columns come first, as pandas and matminer write them.
    """
    text.take("{", "an object")
    entry: Entry = {}
    while text.next_sign() != "}":
        if entry:
            text.take(",", "a comma")
        key = text.value('"', "a key")
        text.take(":", "a colon")
        if key == "data" and "columns" in entry and text.next_sign() == "[":
            yield from frame_rows(text, entry, text.items("[", "a row"))
            entry["data"] = None
        else:
            entry[key] = text.value()
    text.start += 1
    if "columns" not in entry or "data" not in entry:
        text.n_read += 1
        yield entry
    elif entry["data"] is not None:
        yield from frame_rows(text, entry, entry["data"])


def frame_rows(text: JsonText, frame: Entry, rows: Iterable[list]) -> Iterator[Entry]:
    """The rows of a frame by column; an index of texts is their id."""
    columns = frame["columns"]
    index = frame.get("index") or ()
    for k, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(columns):
            raise text.wrong(f"a row that does not fit the columns {columns}")
        id = index[k] if k < len(index) else None
        yield ({"id": id} if isinstance(id, str) else {}) | dict(zip(columns, row, strict=True))
