"""A reverse proxy on loopback that breaks on demand: what stands between a courier and a real server in delivery tests.

Started by tests, inside a `with`; serves on threads of its own, which have all ended when the `with` is left. Forwards
what it is given unchanged; never keeps a connection open for a second request, so that a new mode counts at once.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import urlsplit

MODES = ("pass", "500", "429", "garbage", "hang", "slow", "refuse", "lost")
"""`lost` forwards the request and drops the answer: the server has it, and the client cannot know."""
SLOW = 0.5
"""Seconds that `slow` adds to every request."""
UPSTREAM_TIMEOUT = 60.0
HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "host"})


class FaultyProxy:
    """`with FaultyProxy("http://127.0.0.1:5000") as proxy: proxy.mode = "500"`."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        self.requests: list[tuple[str, str, str]] = []
        """(mode, method, path) of every request that came."""
        self.closing = threading.Event()
        self._changed = threading.Event()
        self._mode = "pass"
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._own_port = 0
        self._listen()

    @property
    def url(self) -> str:
        """Where clients find it; the same in every mode."""
        return f"http://127.0.0.1:{self._own_port}"

    @property
    def mode(self) -> str:
        """What happens to the next request."""
        return self._mode

    @mode.setter
    def mode(self, mode: str) -> None:
        if mode not in MODES:
            raise ValueError(f"{mode!r} is none of {', '.join(MODES)}")
        self._mode = mode
        self._changed.set()
        self._changed = threading.Event()
        if mode == "refuse":
            self._close()
        elif self._server is None:
            self._listen()

    def wait_until_changed(self) -> None:
        """Used by a request that hangs: returns when the mode changes or the proxy ends."""
        self._changed.wait()

    def _listen(self) -> None:
        self._server = _Server(self, self._own_port)
        self._own_port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="faulty-proxy"
        )
        self._thread.start()

    def _close(self) -> None:
        server, self._server = self._server, None
        if server is not None and self._thread is not None:
            server.shutdown()
            self._thread.join()
            server.server_close()

    def __enter__(self) -> FaultyProxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._changed.set()
        self._close()


class _Server(ThreadingHTTPServer):
    # Threads are joined in server_close(): a hanging request is let go first.
    daemon_threads = False
    block_on_close = True
    request_queue_size = 64

    def __init__(self, proxy: FaultyProxy, port: int) -> None:
        self.proxy = proxy
        super().__init__(("127.0.0.1", port), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has gone away is no news here."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        proxy = self.server.proxy
        mode = proxy.mode
        proxy.requests.append((mode, self.command, self.path))
        self.close_connection = True
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if mode in ("500", "429"):
            self._answer(int(mode), b'{"error_code": "INTERNAL_ERROR", "message": "injected"}', "application/json")
        elif mode == "garbage":
            self._answer(200, b"<html>\xff\x00 this is not what you asked for", "text/html")
        elif mode == "hang":
            proxy.wait_until_changed()
        else:
            if mode == "slow":
                proxy.closing.wait(SLOW)
            self._forward(body, silently=mode == "lost")

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = _serve  # noqa: N815  # names of the base

    def _forward(self, body: bytes, *, silently: bool) -> None:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        connection = http.client.HTTPConnection(
            self.server.proxy.host, self.server.proxy.port, timeout=UPSTREAM_TIMEOUT
        )
        try:
            connection.request(self.command, self.path, body or None, headers)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            self._answer(502, b"the server behind the proxy does not answer", "text/plain")
            return
        finally:
            connection.close()
        if not silently:
            self._answer(answer.status, content, answer.headers.get("Content-Type", ""), answer.headers.items())

    def _answer(self, status: int, body: bytes, kind: str, headers: Iterable[tuple[str, str]] = ()) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in HOP_BY_HOP | {"content-length", "content-type"}:
                self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Requests are counted, not printed."""
