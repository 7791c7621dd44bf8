"""Downloads against a server on loopback that misbehaves, or is not there."""

import email.utils
import json
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from helpers import loopback
from helpers.jarvis_files import DATA, FILE_ID, MEMBER, jarvis_list
from helpers.loopback import Figshare

from dglframer.cli import main as cli
from dglframer.common.errors import DamagedFile, NetworkError, UserError
from dglframer.common.files import write_json
from dglframer.config.data import DatasetConfig
from dglframer.data.sources import describe, downloads, open_source, verify


@pytest.fixture
def figshare(tmp_path, monkeypatch):
    """The file of dft_3d_2021 in an older version of its article, and an empty cache."""
    held = Figshare({FILE_ID: DATA, 1: b"else"}, {FILE_ID: MEMBER + ".zip", 1: "else"}, newest=[1])
    with loopback.running(held.answer) as server:
        monkeypatch.setenv("DGLFRAMER_FIGSHARE_API", server.url + "/v2")
        monkeypatch.setenv("DGLFRAMER_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(downloads, "FIRST_WAIT_SECONDS", 0.001)
        yield held


@pytest.fixture
def cached(tmp_path) -> Path:
    return tmp_path / "cache" / f"figshare-{FILE_ID}-{MEMBER}.zip"


def opened(offline=False, **more):
    return open_source(DatasetConfig(source="dft_3d_2021", **more), offline=offline)


def fetched() -> bytes:
    (path,) = opened().files()
    return path.read_bytes()


def test_file_of_an_older_version_is_found_and_comes_whole(figshare, cached):
    description = describe(opened())
    assert cached.read_bytes() == DATA
    assert [entry["path"] for entry in description["files"]] == [str(cached)]
    assert description["licence"] == "public domain in the US (NIST)"
    assert str(FILE_ID) in description["notes"][0]
    assert not list(cached.parent.glob("*.part"))


def test_second_time_says_no_word_to_the_network(figshare, cached):
    fetched()
    figshare.heard.clear()
    assert fetched() == DATA and not figshare.heard


def test_long_article_is_listed_page_by_page(figshare):
    figshare.newest = [1] * 250 + [FILE_ID]
    assert fetched() == DATA
    assert not any("versions" in path for path, _ in figshare.heard)


# T1: bodies that end early, or are wrong


@pytest.mark.parametrize("reset", [False, True])
def test_cut_body_goes_on_where_it_stopped(figshare, reset):
    figshare.next["storage"] = [loopback.cut(1000, reset), loopback.cut(500, reset)]
    assert fetched() == DATA
    assert figshare.downloads() == [None, "bytes=1000-", "bytes=1500-"]


def test_next_run_goes_on_where_the_last_gave_up(figshare, cached, monkeypatch):
    monkeypatch.setattr(downloads, "ATTEMPTS", 2)
    figshare.next["storage"] = [loopback.cut(1000), loopback.cut(500)]
    with pytest.raises(NetworkError, match=r"/file/download/\d+: .*given up after 2 attempts"):
        fetched()
    assert not cached.exists() and Path(f"{cached}.part").read_bytes() == DATA[:1500]
    assert fetched() == DATA
    assert figshare.downloads()[-1] == "bytes=1500-"


def test_flipped_byte_is_put_aside_and_fetched_anew(figshare, cached):
    figshare.next["storage"] = [loopback.flipped]
    with pytest.raises(DamagedFile, match=r"md5 [0-9a-f]{32} and the repository states"):
        fetched()
    assert not cached.exists() and len(Path(f"{cached}.damaged").read_bytes()) == len(DATA)
    assert fetched() == DATA


def test_failure_is_one_message_an_exit_status_and_no_file(figshare, cached, monkeypatch, capsys):
    out, config = cached.parent.parent / "download.json", cached.parent.parent / "config.json"
    write_json(config, {"dataset": {"source": "dft_3d_2021"}})
    arguments = ["dglframer", "download", "--config", str(config), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", arguments)
    figshare.next["storage"] = [loopback.forbidden_page]
    assert cli.main() == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("dglframer: error: http://127.0.0.1:") and "status 200" in message
    assert not out.exists() and not cached.exists()
    assert cli.main() == 0 and out.is_file() and cached.is_file()


def test_server_without_ranges_starts_over(figshare):
    figshare.ignore_range = True
    figshare.next["storage"] = [loopback.cut(1000)]
    assert fetched() == DATA


def test_range_that_was_not_asked_for_starts_over(figshare):
    figshare.next["storage"] = [loopback.cut(1000), loopback.other_range]
    assert fetched() == DATA
    assert figshare.downloads() == [None, "bytes=1000-", None]


def test_refused_range_starts_over(figshare):
    figshare.next["storage"] = [loopback.cut(1000), loopback.status(416)]
    assert fetched() == DATA
    assert figshare.downloads() == [None, "bytes=1000-", None]


def test_part_of_another_file_is_dropped(figshare, cached):
    cached.parent.mkdir()
    Path(f"{cached}.part").write_bytes(b"x" * (len(DATA) + 1))
    assert fetched() == DATA


def test_whole_part_only_needs_its_name(figshare, cached):
    cached.parent.mkdir()
    Path(f"{cached}.part").write_bytes(DATA)
    assert fetched() == DATA and figshare.downloads() == []


# T2: answers that are no file


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (loopback.forbidden_page, "status 200 OK with 26 bytes of text/html"),
        (loopback.long_page, "bytes of text/html"),
        (loopback.status(403), "status 403 Forbidden"),
        (loopback.status(404), "status 404 Not Found"),
        (loopback.challenge, r"status 202 Accepted \(a firewall's challenge for browsers\)"),
        (loopback.status(302, Location="ftp://elsewhere/"), "unsupported protocol 'ftp://'"),
    ],
)
def test_answer_that_is_no_file_is_named_with_url_and_status(
    figshare, cached, monkeypatch, behaviour, words
):
    monkeypatch.setattr(downloads, "ATTEMPTS", 1)
    figshare.next["storage"] = [behaviour] * 30
    with pytest.raises(NetworkError, match=words) as error:
        fetched()
    assert "http://127.0.0.1" in str(error.value)
    assert not cached.exists() and not Path(f"{cached}.part").exists()


def test_page_for_the_list_of_files_is_named(figshare):
    figshare.next["articles"] = [loopback.forbidden_page]
    with pytest.raises(NetworkError, match=r"/articles/6815699/files\S*: status 200 .*no JSON"):
        fetched()


def test_list_of_another_form_is_named(figshare):
    def answer(handler, *_):
        loopback.send_json(handler, {"message": "gone"})

    figshare.next["articles"] = [answer]
    with pytest.raises(NetworkError, match=r"/articles/6815699: an answer of another form"):
        fetched()


def test_endless_redirects_are_an_error(figshare):
    here = loopback.status(302, Location=f"/v2/file/download/{FILE_ID}")
    figshare.next["file"] = [here] * 30
    with pytest.raises(NetworkError, match="redirect"):
        fetched()


def test_more_bytes_than_stated_are_refused(figshare, cached):
    def more(handler, body, start):
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(body + b"x")
        handler.close_connection = True

    figshare.next["storage"] = [more]
    with pytest.raises(NetworkError, match="sends more than"):
        fetched()
    assert not cached.exists()


def test_missing_file_names_the_article(figshare):
    del figshare.files[FILE_ID]
    with pytest.raises(NetworkError, match=rf"articles/6815699: no version .* file {FILE_ID}"):
        fetched()


@pytest.mark.parametrize("kind", ["storage", "file", "articles"])
@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_busy_server_is_asked_again(figshare, kind, code):
    figshare.next[kind] = [loopback.status(code)] * 3
    assert fetched() == DATA


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_obeyed(figshare, as_date):
    then = email.utils.formatdate(time.time() + 2, usegmt=True) if as_date else "1"
    figshare.next["storage"] = [loopback.status(429, Retry_After=then)]
    started = time.monotonic()
    assert fetched() == DATA
    assert time.monotonic() - started >= 1 - as_date * 0.1  # a date has no fractions of a second


def test_too_long_a_wait_is_an_error_now(figshare):
    figshare.next["storage"] = [loopback.status(429, Retry_After="86400")]
    with pytest.raises(NetworkError, match=r"429 Too Many Requests.*86400 s"):
        fetched()


def test_nobody_there_is_an_error(figshare, monkeypatch):
    monkeypatch.setattr(downloads, "ATTEMPTS", 2)
    monkeypatch.setenv("DGLFRAMER_FIGSHARE_API", "http://127.0.0.1:9/v2")
    with pytest.raises(NetworkError, match=r"http://127\.0\.0\.1:9/v2/articles/.*ConnectError"):
        fetched()


def test_dripping_server_is_left_and_the_rest_asked_anew(figshare, monkeypatch):
    monkeypatch.setattr(downloads, "WATCH_SECONDS", 0.2)
    figshare.next["storage"] = [loopback.drip]
    assert fetched() == DATA
    first, second = figshare.downloads()
    assert first is None and 0 < int(second.removeprefix("bytes=").rstrip("-")) < 200


def test_silent_server_is_left(figshare, monkeypatch):
    monkeypatch.setattr(downloads, "SILENCE_SECONDS", 0.2)
    figshare.next["storage"] = [lambda *_: time.sleep(1)]
    assert fetched() == DATA


def test_signed_url_of_the_storage_is_not_in_the_log(figshare, caplog):
    caplog.set_level("INFO", "dglframer")
    figshare.next["storage"] = [loopback.cut(1000), loopback.status(503)]
    fetched()
    assert "Signature" not in caplog.text and "again in" in caplog.text


# T3: what the repository states is what counts


def test_md5_mismatch_is_put_aside_and_the_old_file_stays(figshare, cached):
    fetched()
    figshare.md5[FILE_ID] = "0" * 32
    other = cached.with_name("other.zip")
    other.write_bytes(b"old")
    remote = downloads.RemoteFile("", 0, "")
    with httpx.Client(follow_redirects=True) as client:
        source = opened()
        remote = source.locate(client)
        with pytest.raises(DamagedFile, match=r"states 0{32}"):
            downloads.download(client, remote, other)
    assert other.read_bytes() == b"old" and Path(f"{other}.damaged").read_bytes() == DATA


def test_file_that_changed_in_the_cache_is_put_aside_and_fetched_anew(figshare, cached, caplog):
    fetched()
    cached.write_bytes(DATA[:-1] + b"x")
    assert fetched() == DATA
    assert "has changed since it was fetched" in caplog.text
    assert Path(f"{cached}.damaged").read_bytes() == DATA[:-1] + b"x"


def test_no_room_is_said_before_the_first_byte(figshare, monkeypatch):
    usage = type("Usage", (), {"free": len(DATA) - 1})
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match=f"{len(DATA)} bytes are needed and there is no room"):
        fetched()
    assert figshare.downloads() == []


def test_disk_that_fills_up_is_a_message(figshare, cached):
    cached.parent.mkdir()
    Path(f"{cached}.part").symlink_to("/dev/full")
    with pytest.raises(UserError, match="the disk is full"):
        fetched()


# T7, T8: two processes, and none on the network


def test_two_processes_download_once_and_both_succeed(figshare, tmp_path):
    figshare.next["storage"] = [lambda *a: (time.sleep(1), loopback.well(*a))]
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"dataset": {"source": "dft_3d_2021"}}))
    out = [tmp_path / "first.json", tmp_path / "second.json"]
    command = [sys.executable, "-m", "dglframer", "download", "--config", str(config), "--out"]
    running = [subprocess.Popen([*command, str(path)]) for path in out]
    assert [process.wait(60) for process in running] == [0, 0]
    assert out[0].read_bytes() == out[1].read_bytes()
    assert figshare.downloads() == [None]


def test_offline_with_the_file_opens_no_socket(figshare, monkeypatch):
    fetched()
    monkeypatch.setattr("socket.socket", None)
    (path,) = opened(offline=True).files()
    assert path.read_bytes() == DATA


def test_later_stages_read_what_the_download_brought(figshare, tmp_path, monkeypatch):
    """Whatever the cache is then, and without a socket."""
    write_json(tmp_path / "download.json", describe(opened()))
    monkeypatch.setenv("DGLFRAMER_CACHE", str(tmp_path / "elsewhere"))
    monkeypatch.setattr("socket.socket", None)
    files = verify(tmp_path / "download.json")
    source = open_source(DatasetConfig(source="dft_3d_2021"), local=files)
    assert source.files() == files and len(list(source.records())) == 400


def test_offline_without_the_file_says_where_it_should_be(figshare, cached):
    with pytest.raises(NetworkError, match=rf"offline, and {cached}.*dataset\.path"):
        opened(offline=True).files()
    assert not figshare.heard


def test_file_of_yours_is_taken_zipped_or_not(figshare, tmp_path):
    (tmp_path / "mine.zip").write_bytes(DATA)
    (tmp_path / "mine.json").write_text(json.dumps(jarvis_list()))
    for name in ("mine.zip", "mine.json"):
        source = opened(path=str(tmp_path / name))
        assert source.files() == [tmp_path / name] and len(list(source.records())) == 400
        assert name in source.notes()[0]
    assert not figshare.heard
