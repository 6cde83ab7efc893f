"""Where the dashboard listens, and whom it lets in by its options."""

from __future__ import annotations

import socket

import pytest

from tracelet.errors import StoreError
from tracelet.ui.server import Options, listen, rules


def test_a_port_in_use_is_told() -> None:
    """The port asked for, if it is taken, is an error that says what to type; any free one is found with 0."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StoreError, match="--port 0"):
            listen("127.0.0.1", port)
        with listen("127.0.0.1", 0) as free:
            assert free.getsockname()[1] not in (0, port)


def test_the_address_can_be_opened_before_anything_is_served() -> None:
    """A browser that is as quick as the line that names the address waits for the answer instead of being refused."""
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname(), timeout=10) as early:
        assert early.getpeername() == listener.getsockname()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_this_machine_needs_a_token_unless_told_otherwise(host: str) -> None:
    """On loopback, too, there is a token, new each time: other users of the machine reach it."""
    assert len(rules(Options(host=host)).token) >= 32
    assert rules(Options(host=host)).token != rules(Options(host=host)).token
    assert rules(Options(host=host, without_token=True)).token == ""
    assert rules(Options(host=host, token="asked")).token == "asked"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "gpu-box"])
def test_other_machines_need_a_token(host: str) -> None:
    """Beyond loopback there is always one, long and new each time."""
    first, second = rules(Options(host=host)), rules(Options(host=host))
    assert len(first.token) >= 32
    assert first.token != second.token
    assert first.beyond
    assert rules(Options(host=host, without_token=True)).token
