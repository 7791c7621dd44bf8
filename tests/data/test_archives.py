"""Zip archives that cannot be trusted: paths out of them, bombs, damage."""

import struct
from pathlib import Path

import pytest
from helpers.jarvis_files import DATA, MEMBER, zipped

from dglframer.common.errors import DamagedFile
from dglframer.data.sources.archives import open_member
from dglframer.data.sources.json_stream import list_entries


def archive(tmp_path, members) -> Path:
    path = tmp_path / "some.zip"
    path.write_bytes(members if isinstance(members, bytes) else zipped(members))
    return path


@pytest.mark.parametrize("bad", ["../outside.json", "/etc/outside", "a/../../b", "..\\outside"])
def test_path_out_of_the_archive_is_refused(tmp_path, bad):
    path = archive(tmp_path, {"good.json": "[]", bad: "[]"})
    with (
        pytest.raises(DamagedFile, match=r"some\.zip: refused, it holds the path"),
        open_member(path, "good.json"),
    ):
        pass
    assert list(tmp_path.iterdir()) == [path]


def test_bomb_is_refused_before_it_is_read(tmp_path):
    path = archive(tmp_path, {"good.json": b" " * 10_000_000})
    with (
        pytest.raises(DamagedFile, match=r"refused, .* unpacks to 10000000 bytes, "),
        open_member(path),
    ):
        pass


def test_bomb_with_a_small_declared_size_gives_no_more_than_that(tmp_path):
    """The directory says 1000 bytes; the data hold ten million."""
    content = bytearray(zipped({"good.json": b" " * 10_000_000}))
    directory = content.index(b"PK\x01\x02")
    struct.pack_into("<I", content, directory + 24, 1000)
    path = archive(tmp_path, bytes(content))
    with pytest.raises(DamagedFile, match="damaged"), open_member(path) as stream:
        for _ in range(10):
            assert len(stream.read(1000)) <= 1000


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<html>403</html>", "not a zip"),
        (b"", "not a zip"),
        (DATA[:-100], "not a zip"),
        (zipped({"other.json": "[]"}), f"{MEMBER} expected in it, it holds other.json"),
        (zipped({}), "it holds none"),
    ],
)
def test_archive_without_the_member_is_named(tmp_path, content, words):
    with pytest.raises(DamagedFile, match=words), open_member(archive(tmp_path, content), MEMBER):
        pass


def test_flipped_byte_in_the_member_is_noticed_while_reading(tmp_path):
    content = bytearray(DATA)
    content[len(content) // 2] ^= 1
    with pytest.raises(DamagedFile, match="damaged"):
        list(list_entries(archive(tmp_path, bytes(content)), MEMBER))
