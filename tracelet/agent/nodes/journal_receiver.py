"""The leading node's ear: takes in the journals of nodes that do not share its file system.

Part of the agent of rank 0's node, in a training over several nodes. One thread listens and one serves each node; what
arrives goes to the `Mirror`. Where it listens, and the secret of the launch, stand in RUN/endpoint.json, which only its
owner may read: an agent that is started again takes up both, so that nodes find it where it was.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tracelet.agent.nodes.journal_copies import Mirror
from tracelet.agent.nodes.protocol import (
    Channel,
    Farewell,
    Hello,
    Kept,
    Later,
    Load,
    Message,
    Offer,
    Shared,
    Taken,
    accepted,
)
from tracelet.guard import guard
from tracelet.journal.compaction import compact
from tracelet.store.process_liveness import is_alive, process_start
from tracelet.store.process_status import SILENCE_TIMEOUT

ENDPOINT = "endpoint.json"
BACKLOG = 1024
"""Nodes that may knock at the same moment."""
MOST_STRANGERS = 256
"""Connections at once that have not proved themselves, each a descriptor and a thread; others wait in the backlog."""
PAUSE = 0.1
"""Seconds to wait when nobody can be let in."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where the agent of rank 0's node listens."""

    port: int
    secret: str
    pid: int
    process_started: float
    settled: bool = False
    """Whether nothing is expected from other nodes any more."""


@dataclass
class Guest:
    """A node that has connected."""

    host: str
    heard: float
    done: bool = False
    shared: bool = False


class Receiver:
    """Listens from `start` to `stop`."""

    def __init__(self, folder: Path, log: Callable[[str], None]) -> None:
        self.folder = folder
        self.mirror = Mirror(folder)
        self.missing = True
        """Whether there are ranks of which no journal is here; told by the agent."""
        self._log = log
        self._guests: dict[str, Guest] = {}
        self._listening: socket.socket | None = None
        self._connections: set[socket.socket] = set()
        self._strangers: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._ended = 0.0
        self._told: Endpoint | None = None

    def start(self) -> None:
        """Listen, and write down where. OSError where that is impossible."""
        before = read_endpoint(self.folder)
        secret = before.secret if before is not None else os.urandom(32).hex()
        self._listening = _listen(before.port if before is not None else 0)
        port = int(self._listening.getsockname()[1])
        self._tell(Endpoint(port=port, secret=secret, pid=os.getpid(), process_started=process_start(os.getpid())))
        threading.Thread(target=self._accept, name="tracelet-nodes", daemon=True).start()
        self._log(f"listening for other nodes on port {port}")

    def stop(self) -> None:
        """Hear nobody any more, and make the copies small."""
        listening, self._listening = self._listening, None
        if listening is not None:
            with suppress(OSError):  # wakes the thread that accepts, where closing does not
                listening.shutdown(socket.SHUT_RDWR)
            listening.close()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            with suppress(OSError):  # it may have been closed by the other side
                connection.shutdown(socket.SHUT_RDWR)
        (self.folder / ENDPOINT).unlink(missing_ok=True)
        for path in self.mirror.paths():
            with guard(f"compacting {path.name}"):
                if path.exists():
                    compact(path)

    def training_ended(self) -> None:
        """On this node: from now on the others are waited for within limits."""
        self._ended = self._ended or time.monotonic()

    def training_begins(self) -> None:
        """Another one, of the same run, on this node."""
        self._ended = 0.0

    def awaits(self) -> bool:
        """Whether more may come: a node that lives has not said farewell, or ranks have not been heard of yet."""
        now = time.monotonic()
        with self._lock:
            present = [guest for guest in self._guests.values() if not guest.shared]
        if any(not guest.done and now - guest.heard < SILENCE_TIMEOUT for guest in present):
            return True
        return self.missing and not (self._ended and now - self._ended > SILENCE_TIMEOUT)

    def settle(self) -> None:
        """Write down whether more may come: the training, at its end, looks there."""
        told = self._told
        if told is not None and told.settled == self.awaits():
            with guard("writing down whether nodes are awaited"):
                self._tell(msgspec.structs.replace(told, settled=not told.settled))

    def _tell(self, endpoint: Endpoint) -> None:
        self._told = endpoint
        beside = self.folder / f".{ENDPOINT}.new"
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.encode(endpoint))
        os.replace(beside, self.folder / ENDPOINT)

    def _accept(self) -> None:
        while (listening := self._listening) is not None:
            if len(self._strangers) >= MOST_STRANGERS:
                time.sleep(PAUSE)
                continue
            try:
                connection, address = listening.accept()
            except OSError:
                time.sleep(PAUSE)
                continue  # closed, which the loop sees; the one who knocked is gone; no more files may be opened
            serving = threading.Thread(
                target=self._serve, args=(connection, str(address[0])), name="tracelet-node", daemon=True
            )
            with self._lock:
                self._connections.add(connection)
                self._strangers.add(connection)
            if not _begun(serving):
                self._forget(connection)
                connection.close()  # a node knocks again
                time.sleep(PAUSE)

    def _serve(self, connection: socket.socket, address: str) -> None:
        try:
            with connection, guard("taking in what another node recorded"):
                self._converse(connection, address)
        finally:
            self._forget(connection)

    def _forget(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.discard(connection)
            self._strangers.discard(connection)

    def _converse(self, connection: socket.socket, address: str) -> None:
        guest: Guest | None = None
        try:
            assert self._told is not None  # it listens
            channel = accepted(connection, bytes.fromhex(self._told.secret))
            with self._lock:
                self._strangers.discard(connection)
            hello = channel.receive()
            if isinstance(hello, Hello):
                guest = self._greet(hello)
                self._listen_to(channel, hello.node, guest)
        except OSError as error:
            who = guest.host if guest is not None else address
            self._log(f"the connection from {who} was closed: {error}")

    def _greet(self, hello: Hello) -> Guest:
        with self._lock:
            guest = self._guests.setdefault(hello.node, Guest(hello.host, 0.0))
            guest.heard, guest.done = time.monotonic(), False
        self._log(f"{hello.host} is forwarding its data")
        return guest

    def _listen_to(self, channel: Channel, node: str, guest: Guest) -> None:
        channel.send(Kept(0, 0))
        while not guest.done:
            message = channel.receive()
            guest.heard = time.monotonic()
            answer = self._answer(node, guest, message)
            channel.send(answer)

    def _answer(self, node: str, guest: Guest, message: Message) -> Message:
        if isinstance(message, Load):
            return Taken([self.mirror.take(node, piece) for piece in message.pieces])
        if isinstance(message, Offer):
            answer = self.mirror.offer(node, message)
            if isinstance(answer, Shared) and not guest.shared:
                guest.shared = guest.done = True
                self._log(f"{guest.host} shares the run's folder; nothing to forward")
            return answer
        if isinstance(message, Farewell):
            guest.done = True
            self._log(f"{guest.host} has forwarded all its data")
            return Kept(0, 0)
        return Later("unexpected message")


def _begun(thread: threading.Thread) -> bool:
    """Start it; False where the system has no room for another one."""
    try:
        thread.start()
    except RuntimeError:
        return False
    return True


def _listen(port: int) -> socket.socket:
    """A socket that listens on this port if it can be had, on any other one if not."""
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        return socket.create_server(("", port), family=family, dualstack_ipv6=both, backlog=BACKLOG)
    except OSError:
        if port:
            return _listen(0)
        if both:  # IPv6 is compiled in, and switched off
            return socket.create_server(("", 0), backlog=BACKLOG)
        raise


def read_endpoint(folder: Path, living: bool = False) -> Endpoint | None:
    """What stands in the file; None where there is none. `living`: only of an agent that is there."""
    try:
        found = msgspec.json.decode((folder / ENDPOINT).read_bytes(), type=Endpoint)
    except (OSError, msgspec.MsgspecError):
        return None
    return found if not living or is_alive(found.pid, found.process_started) else None
