"""Servers on loopback that behave as the real ones do, and misbehave on demand."""

import hashlib
import json
import socket
import struct
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

Handler = BaseHTTPRequestHandler


class Server(ThreadingHTTPServer):
    """Serves ``answer(handler)``; a connection that the client breaks is nothing to report."""

    daemon_threads = True

    def __init__(self, answer: Callable[[Handler], None]):
        class Answering(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                answer(self)

            def log_message(self, *args):
                pass

        super().__init__(("127.0.0.1", 0), Answering)

    def handle_error(self, request, client_address):
        pass

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def running(answer: Callable[[Handler], None]) -> Iterator[Server]:
    server = Server(answer)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def send(handler: Handler, status: int, body: bytes = b"", **headers: str) -> None:
    """A whole answer."""
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def send_json(handler: Handler, value: Any, status: int = 200) -> None:
    send(handler, status, json.dumps(value).encode(), Content_Type="application/json")


# What a file server may do instead: each takes the handler, the bytes asked for and their start.
Behaviour = Callable[[Handler, bytes, int], None]


def well(handler: Handler, body: bytes, start: int) -> None:
    """As S3: the whole, or the range with 206."""
    headers = {"Content_Type": "application/zip"}
    if start:
        headers["Content_Range"] = f"bytes {start}-{start + len(body) - 1}/{start + len(body)}"
    send(handler, 206 if start else 200, body, **headers)


def cut(after: int, reset: bool = False) -> Behaviour:
    """The connection ends (or is reset) after some bytes of the promised length."""

    def behave(handler: Handler, body: bytes, start: int) -> None:
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(body)))
        handler.send_header("Content-Range", f"bytes {start}-{start + len(body) - 1}/*")
        handler.end_headers()
        handler.wfile.write(body[:after])
        handler.wfile.flush()
        if reset:
            time.sleep(0.1)  # so that what was sent arrives before the reset does
            linger = struct.pack("ii", 1, 0)
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            handler.connection.close()
        handler.close_connection = True

    return behave


def flipped(handler: Handler, body: bytes, start: int) -> None:
    """The right length, and one byte wrong."""
    changed = bytearray(body)
    changed[len(body) // 2] ^= 0x20
    well(handler, bytes(changed), start)


def forbidden_page(handler: Handler, body: bytes, start: int) -> None:
    """A page that says 403, with the status 200."""
    send(handler, 200, b"<html>403 Forbidden</html>", Content_Type="text/html; charset=utf-8")


def long_page(handler: Handler, body: bytes, start: int) -> None:
    """A page of unknown length that nobody would tell from data by its status."""
    handler.send_response(200)
    handler.send_header("Content-Type", "text/html")
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(b"<html>" + b" " * len(body))
    handler.close_connection = True


def status(code: int, **headers: str) -> Behaviour:
    return lambda handler, body, start: send(handler, code, b"", **headers)


def challenge(handler: Handler, body: bytes, start: int) -> None:
    """The answer of figshare's firewall to programs: accepted, empty."""
    send(handler, 202, b"", x_amzn_waf_action="challenge")


def drip(handler: Handler, body: bytes, start: int) -> None:
    """A byte now and then."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    for k in range(len(body)):
        handler.wfile.write(body[k : k + 1])
        handler.wfile.flush()
        time.sleep(0.02)


def other_range(handler: Handler, body: bytes, start: int) -> None:
    """206 with another range than was asked for."""
    send(handler, 206, body, Content_Range=f"bytes {start + 1}-{start + len(body)}/*")


@dataclass
class Figshare:
    """Articles, files and downloads as figshare's API v2 has them, by a redirect to storage."""

    files: dict[int, bytes] = field(default_factory=dict)  # by file id
    names: dict[int, str] = field(default_factory=dict)
    newest: list[int] = field(default_factory=list)  # files of the newest version; 1 holds them all
    md5: dict[int, str] = field(default_factory=dict)  # what is stated instead of the truth
    next: dict[str, list[Behaviour]] = field(default_factory=lambda: defaultdict(list))
    heard: list[tuple[str, str | None]] = field(default_factory=list)  # path, Range
    ignore_range: bool = False

    def answer(self, handler: Handler) -> None:
        parts = urlsplit(handler.path)
        words = parts.path.strip("/").split("/")
        self.heard.append((parts.path, handler.headers.get("Range")))
        kind = "storage" if words[0] == "storage" else words[1]
        if kind == "storage":
            return self.send_file(handler, int(words[1]))
        if self.next[kind]:
            return self.next[kind].pop(0)(handler, b"", 0)
        match words[1:]:
            case ["file", "download", id]:
                where = f"/storage/{id}?X-Amz-Signature=secret"
                return send(handler, 302, Location=where)
            case ["articles", _, "files"]:
                query = parse_qs(parts.query)
                size, page = int(query["page_size"][0]), int(query["page"][0])
                listed = self.newest[(page - 1) * size : page * size]
                return send_json(handler, [self.stated(id) for id in listed])
            case ["articles", _, "versions"]:
                return send_json(handler, [{"version": 1}, {"version": 2}])
            case ["articles", _, "versions", version]:
                held = list(self.files) if version == "1" else self.newest
                return send_json(handler, {"files": [self.stated(id) for id in held]})
        send_json(handler, {"message": "not found"}, 404)

    def stated(self, id: int) -> dict[str, Any]:
        body = self.files[id]
        md5 = self.md5.get(id, hashlib.md5(body).hexdigest())
        facts = {"id": id, "name": self.names[id], "size": len(body), "is_link_only": False}
        return facts | {"supplied_md5": md5, "computed_md5": md5}

    def send_file(self, handler: Handler, id: int) -> None:
        asked = handler.headers.get("Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if self.ignore_range:
            start = 0
        behave = self.next["storage"].pop(0) if self.next["storage"] else well
        behave(handler, self.files[id][start:], start)

    def downloads(self) -> list[str | None]:
        """The Range of every request for a file's bytes."""
        return [range for path, range in self.heard if path.startswith("/storage")]
