"""The fault-injecting proxy does to a request what its mode says, and leaves nothing behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import requests

from tests.servers.proxy import MODES, SLOW, FaultyProxy


class Echo(BaseHTTPRequestHandler):
    seen: list[bytes] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append(body)
        self.send_response(201)
        self.send_header("X-Path", self.path)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def proxy() -> Iterator[FaultyProxy]:
    Echo.seen = []
    with HTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        with FaultyProxy(f"http://127.0.0.1:{server.server_address[1]}") as proxy:
            yield proxy
        server.shutdown()
        thread.join()


def post(proxy: FaultyProxy, timeout: float = 10) -> requests.Response:
    return requests.post(proxy.url + "/a?b=c", data=b"hello", timeout=timeout)


def test_pass_and_slow_forward_everything(proxy: FaultyProxy) -> None:
    """Status, headers, query and body go through unchanged; `slow` takes its time."""
    for mode in ("pass", "slow"):
        proxy.mode = mode
        began = time.monotonic()
        answer = post(proxy)
        assert (answer.status_code, answer.content, answer.headers["X-Path"]) == (201, b"hello", "/a?b=c")
        assert mode == "pass" or time.monotonic() - began >= SLOW


@pytest.mark.parametrize("mode", ["500", "429", "garbage"])
def test_wrong_answers_never_reach_the_server(proxy: FaultyProxy, mode: str) -> None:
    """The client gets the injected answer and the server behind sees nothing."""
    proxy.mode = mode
    assert post(proxy).status_code == (200 if mode == "garbage" else int(mode))
    assert Echo.seen == []
    assert proxy.requests == [(mode, "POST", "/a?b=c")]


@pytest.mark.parametrize(("mode", "seen"), [("hang", []), ("refuse", []), ("lost", [b"hello"])])
def test_no_answer_at_all(proxy: FaultyProxy, mode: str, seen: list[bytes]) -> None:
    """A hanging, refusing or losing proxy fails the client; only `lost` lets the server have the request."""
    proxy.mode = mode
    with pytest.raises((requests.ConnectionError, requests.Timeout)):
        post(proxy, timeout=1)
    assert Echo.seen == seen
    proxy.mode = "pass"
    assert post(proxy).status_code == 201


def test_unknown_mode_is_refused(proxy: FaultyProxy) -> None:
    """A mistyped mode is an error and changes nothing."""
    with pytest.raises(ValueError, match="none of"):
        proxy.mode = "explode"
    assert proxy.mode == "pass"
    assert "pass" in MODES
