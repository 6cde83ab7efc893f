"""A server on loopback that gives the same answer to everything."""

from __future__ import annotations

from tests.servers.stand_in import StandIn


class Answering(StandIn):
    """`status` and `body` are the answer from now on."""

    def __init__(self, body: bytes = b"{}") -> None:
        super().__init__()
        self.body = body

    def reply(self, method: str, path: str, body: bytes) -> object:
        """The same whatever is asked."""
        return self.body
