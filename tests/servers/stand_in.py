"""What stand-ins for tracking servers share: a server on loopback whose real client believes that it speaks to its own.

Started by tests with `serving(...)`; serves on threads of its own, all of which have ended when the `with` is left.
Never keeps a connection open for a second request, so that a proxy before it decides on every one.
"""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVar
from urllib.parse import unquote, urlsplit


class StandIn(ThreadingHTTPServer):
    """Answers with what `reply` returns: bytes as they are, anything else as JSON. Files by path in `files`."""

    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.location = 200, ""
        """Of every answer from now on; where to go instead, if it is a redirection."""
        self.authorization = ""
        """The credential of the last request."""
        self.files: dict[str, bytes] = {}
        """What was uploaded, by the path it was sent to."""

    @property
    def url(self) -> str:
        """Where the client is told to look."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def reply(self, method: str, path: str, body: bytes) -> object:
        """The answer to one request; None if there is nothing at this path."""
        raise NotImplementedError


class _Handler(BaseHTTPRequestHandler):
    server: StandIn
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        raw = self._chunks() if self.headers.get("Transfer-Encoding") == "chunked" else self._sized()
        raw = gzip.decompress(raw) if self.headers.get("Content-Encoding") == "gzip" else raw
        self.server.authorization = self.headers.get("Authorization", "")
        answer = self.server.reply(self.command, unquote(urlsplit(self.path).path), raw)
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.close_connection = True
        self.send_response(404 if answer is None else self.server.status)
        if self.server.location:
            self.send_header("Location", self.server.location)
        kind = "application/octet-stream" if isinstance(answer, bytes) else "application/json"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = _serve  # noqa: N815  # names of the base

    def _sized(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _chunks(self) -> bytes:
        found = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


Server = TypeVar("Server", bound=StandIn)


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """The stand-in at work, gone afterwards."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="stand-in")
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
