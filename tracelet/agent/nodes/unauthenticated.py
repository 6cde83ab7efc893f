"""Connections that have not proved to know the launch's secret: few for each address, and dropped at random when full.

Used by `journal_receiver`: `admit` on its accepting thread, `discard` on the thread of a connection. A stranger that
says nothing holds a place until it times out. Whoever comes later takes the place of a random one, so strangers cannot
keep a node out: a node proves itself within milliseconds, and reconnects if it was dropped.
"""

from __future__ import annotations

import random
import socket
import threading
from contextlib import suppress

MAX_UNAUTHENTICATED = 256
"""At once, each a descriptor and a thread."""
MAX_PER_ADDRESS = 32
"""Of one address. More nodes than these come from one address only through a gateway, and not in one moment."""


class Unauthenticated:
    """The set of them."""

    def __init__(self) -> None:
        self._addresses: dict[socket.socket, str] = {}
        self._lock = threading.Lock()
        self._random = random.Random()

    def admit(self, connection: socket.socket, address: str) -> None:
        """Take it in, and close another one if there are too many."""
        with self._lock:
            neighbors = [known for known, its_address in self._addresses.items() if its_address == address]
            victim = None
            if len(neighbors) >= MAX_PER_ADDRESS:
                victim = self._random.choice(neighbors)
            elif len(self._addresses) >= MAX_UNAUTHENTICATED:
                victim = self._random.choice(list(self._addresses))
            self._addresses[connection] = address
            if victim is not None:
                del self._addresses[victim]
        if victim is not None:
            with suppress(OSError):  # it has just closed; its thread notices either way
                victim.shutdown(socket.SHUT_RDWR)

    def discard(self, connection: socket.socket) -> None:
        """It has proved itself, or is closed."""
        with self._lock:
            self._addresses.pop(connection, None)

    def __len__(self) -> int:
        return len(self._addresses)
