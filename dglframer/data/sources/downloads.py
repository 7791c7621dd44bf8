"""Fetching a file into the cache: once, whole, and with the hash that its repository states.

A file grows under the name ``*.part``, from where it was left, and gets its own name only when its
size and md5 are right. Beside it ``*.json`` keeps them, so that a file in the cache is checked
without a word to the network.
"""

import email.utils
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx
from filelock import FileLock, Timeout

from dglframer.common.disk import cannot_write
from dglframer.common.errors import DamagedFile, NetworkError, UserError
from dglframer.common.files import read_json, sync_folder, write_json
from dglframer.common.progress import progress
from dglframer.common.version import __version__

log = logging.getLogger(__name__)

ATTEMPTS = 8
FIRST_WAIT_SECONDS = 1.0  # doubled with every attempt, unless the server says how long
LONGEST_WAIT_SECONDS = 300.0
SILENCE_SECONDS = 30.0  # without a byte: the connection is given up
WATCH_SECONDS = 60.0  # in which at least FEWEST_BYTES must come
FEWEST_BYTES = 64 * 1024
PROGRESS_SECONDS = 10.0
BUSY = (408, 425, 429, 500, 502, 503, 504)
INSTEAD = "you can download it with a browser and name it in dataset.path"

T = TypeVar("T")


@dataclass(frozen=True)
class RemoteFile:
    """A file and what its repository says of it."""

    url: str
    bytes: int
    md5: str


class RetryLater(Exception):
    """A failure that may pass; ``wait`` is how long the server asks to wait, in seconds."""

    def __init__(self, problem: str, wait: float | None = None):
        super().__init__(problem)
        self.wait = wait


def cache_folder() -> Path:
    """Where downloads are kept: $DGLFRAMER_CACHE, else dglframer in the user's cache folder."""
    given = os.environ.get("DGLFRAMER_CACHE")
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(given) if given else Path(home) / "dglframer"


def fetch(name: str, locate: Callable[[httpx.Client], RemoteFile], offline: bool = False) -> Path:
    """The file ``name`` of the cache, downloaded from where ``locate`` says if it is not there.

    Raises NetworkError if it cannot be had, DamagedFile if what came has another hash.
    """
    path = cache_folder() / name
    if offline:
        if not is_whole(path):
            raise NetworkError(f"offline, and {path} is not there or not whole; {INSTEAD}")
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with one_process(path):
        if not is_whole(path):
            with open_client() as client:
                download(client, locate(client), path)
    return path


@contextmanager
def one_process(path: Path) -> Iterator[None]:
    """Let one process at a time work on ``path``; the others wait."""
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("%s: waiting for another process that fetches it", path)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def is_whole(path: Path) -> bool:
    """Whether the file is there and has the hash with which it was fetched; else put it aside."""
    facts = facts_file(path)
    if not path.is_file() or not facts.is_file():
        return False
    known = read_json(facts, "bytes", "md5")
    if path.stat().st_size == known["bytes"] and md5(path) == known["md5"]:
        return True
    log.warning("%s has changed since it was fetched: put aside", path)
    put_aside(path, path)
    return False


def open_client() -> httpx.Client:
    """A client that follows redirects and takes bodies as they are stored."""
    headers = {"User-Agent": f"dglframer/{__version__}", "Accept-Encoding": "identity"}
    return httpx.Client(follow_redirects=True, timeout=SILENCE_SECONDS, headers=headers)


def download(client: httpx.Client, remote: RemoteFile, path: Path) -> None:
    """Bring ``path`` here, going on with its .part; raises NetworkError, DamagedFile, UserError."""
    part = path.with_name(f"{path.name}.part")
    missing = remote.bytes - size(part)
    if shutil.disk_usage(path.parent).free < missing:
        raise UserError(f"{path.parent}: {missing} bytes are needed and there is no room for them")
    log.info("%s: fetching %.1f MB from %s", path.name, missing / 1e6, remote.url)
    patiently(lambda: go_on(client, remote, part), remote.url)
    found = md5(part)
    if found != remote.md5:
        aside = put_aside(part, path)
        raise DamagedFile(
            f"{remote.url}: what came has md5 {found} and the repository states {remote.md5}; "
            f"it is put aside as {aside}. Run again to fetch it anew"
        )
    with open(part, "rb") as handle:
        os.fsync(handle.fileno())
    write_json(facts_file(path), asdict(remote))
    os.replace(part, path)
    sync_folder(path.parent)


def patiently(action: Callable[[], T], url: str) -> T:
    """The result of ``action``, tried again after a growing wait while it raises RetryLater."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return action()
        except RetryLater as problem:
            wait = FIRST_WAIT_SECONDS * 2 ** (attempt - 1) if problem.wait is None else problem.wait
            if attempt == ATTEMPTS or wait > LONGEST_WAIT_SECONDS:
                raise NetworkError(
                    f"{url}: {problem}; given up after {attempt} attempts (the next would be in "
                    f"{wait:.0f} s). What has come is kept: run again to go on"
                ) from None
            log.warning("%s: %s; again in %.1f s", url, problem, wait)
            time.sleep(wait)
    raise AssertionError("unreachable")


def go_on(client: httpx.Client, remote: RemoteFile, part: Path) -> None:
    """Append to ``part`` what it lacks; raises RetryLater if that comes to an early end."""
    have = size(part)
    if have > remote.bytes:  # of another version of the file
        part.unlink()
        have = 0
    if have == remote.bytes:
        return
    headers = {"Range": f"bytes={have}-"} if have else {}
    with answering(client, remote.url, headers) as answer:
        if answer.status_code == 416 or not continues(answer, have):
            part.unlink()
            raise RetryLater(f"status {answer.status_code} with another range than was asked for")
        if answer.status_code == 200:
            have = 0  # all of it, whether a part was asked for or not
        check_announced(answer, remote.bytes - have)
        write_body(answer, part, "ab" if have else "wb", remote.bytes)
    if size(part) < remote.bytes:
        raise RetryLater(f"ended after {size(part)} of {remote.bytes} bytes")


def write_body(answer: httpx.Response, part: Path, mode: str, expected: int) -> None:
    """Write what comes; raises RetryLater if it drips, NetworkError if it is too much."""
    started = logged = watched = time.monotonic()
    came = 0
    try:
        with open(part, mode) as out, progress(part.stem, expected / 1e6) as advance:
            for chunk in answer.iter_raw():
                if out.tell() + len(chunk) > expected:
                    raise NetworkError(f"{answer.url}: sends more than the {expected} bytes stated")
                out.write(chunk)
                came += len(chunk)
                advance(out.tell() / 1e6, "MB")
                now = time.monotonic()
                if now - logged > PROGRESS_SECONDS:
                    log.info(
                        "%s: %.1f of %.1f MB, %.0f s",
                        *(part.stem, out.tell() / 1e6, expected / 1e6, now - started),
                    )
                    logged = now
                if now - watched > WATCH_SECONDS:
                    if came < FEWEST_BYTES:
                        raise RetryLater(f"only {came} bytes in {now - watched:.0f} s")
                    watched, came = now, 0
    except OSError as error:
        raise cannot_write(error, part) or UserError(f"{part}: {error}") from None


@contextmanager
def answering(
    client: httpx.Client, url: str, headers: dict[str, str] | None = None
) -> Iterator[httpx.Response]:
    """The streamed answer to a GET: 200, 206 or 416.

    Raises RetryLater for a broken connection or a busy server, NetworkError for anything else.
    """
    try:
        with client.stream("GET", url, headers=headers) as answer:
            if answer.status_code in BUSY:
                raise RetryLater(f"status {status(answer)}", retry_after(answer))
            if answer.status_code not in (200, 206, 416):
                raise NetworkError(f"{url}: status {status(answer)}; {INSTEAD}")
            yield answer
    except (httpx.UnsupportedProtocol, httpx.TooManyRedirects, httpx.InvalidURL) as error:
        raise NetworkError(f"{url}: {error}") from None
    except httpx.HTTPError as error:
        raise RetryLater(f"{type(error).__name__}: {error}") from None


def get_json(client: httpx.Client, url: str) -> Any:
    """The JSON that a URL answers with; raises NetworkError for a page or anything else."""

    def read() -> tuple[str, bytes]:
        with answering(client, url) as answer:
            return answer.headers.get("Content-Type", ""), answer.read()

    kind, body = patiently(read, url)
    try:
        return json.loads(body)
    except ValueError:
        raise NetworkError(f"{url}: status 200 with {len(body)} bytes of {kind}, no JSON") from None


def status(answer: httpx.Response) -> str:
    """The status with its name, and the mark of a firewall that wants to see a browser."""
    challenge = answer.headers.get("x-amzn-waf-action")
    known = f"{answer.status_code} {answer.reason_phrase}"
    return f"{known} (a firewall's {challenge} for browsers)" if challenge else known


def continues(answer: httpx.Response, have: int) -> bool:
    """Whether a 206 starts at byte ``have``; a 200 starts at 0 and is as good."""
    return answer.status_code == 200 or answer.headers.get("Content-Range", "").startswith(
        f"bytes {have}-"
    )


def check_announced(answer: httpx.Response, expected: int) -> None:
    """Raise NetworkError if the headers promise a web page or another number of bytes."""
    kind = answer.headers.get("Content-Type", "")
    length = answer.headers.get("Content-Length", str(expected))
    if kind.startswith("text/html") or length != str(expected):
        raise NetworkError(
            f"{answer.url}: status {status(answer)} with {length} bytes of {kind or 'something'} "
            f"where {expected} bytes of data are expected; {INSTEAD}"
        )


def retry_after(answer: httpx.Response) -> float | None:
    """Seconds to wait by the header Retry-After (a number or a date), None without it."""
    text = answer.headers.get("Retry-After")
    if text is None:
        return None
    if text.isdigit():
        return float(text)
    try:
        return max(
            0.0, (email.utils.parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
        )
    except (TypeError, ValueError):
        return None


def facts_file(path: Path) -> Path:
    """Where the origin, size and md5 of a file of the cache stand."""
    return path.with_name(f"{path.name}.json")


def put_aside(damaged: Path, path: Path) -> Path:
    """Rename a file that is not what it should be, for a look at it; returns its name."""
    aside = path.with_name(f"{path.name}.damaged")
    os.replace(damaged, aside)
    return aside


def size(path: Path) -> int:
    """Bytes of a file, 0 if there is none."""
    return path.stat().st_size if path.is_file() else 0


def md5(path: Path) -> str:
    """md5 of a file's bytes, hexadecimal: what repositories state."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
