"""Receives the journals of nodes that do not share rank 0's file system, and stores them as `JournalCopies`.

Runs in the agent of rank 0's node when a training spans several nodes: one thread listens, and one serves each node.
The port and the secret of the launch are in RUN/endpoint.json, which only its owner may read. A restarted agent reuses
both, so that the other nodes find it again.
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

from tracelet.agent.nodes.journal_copies import JournalCopies
from tracelet.agent.nodes.protocol import (
    Channel,
    CopyStatus,
    EndOfData,
    Message,
    OfferJournal,
    Received,
    Register,
    Segments,
    SharedFolder,
    TryLater,
    accept,
)
from tracelet.agent.nodes.unauthenticated import Unauthenticated
from tracelet.guard import guard
from tracelet.journal.compaction import compact
from tracelet.store.pids import is_alive, process_start
from tracelet.store.process_status import SILENCE_TIMEOUT

ENDPOINT = "endpoint.json"
BACKLOG = 1024
"""Pending connections."""
RETRY_INTERVAL = 0.1
"""Seconds to wait while no connection can be accepted."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The address on which the agent of rank 0's node listens."""

    port: int
    secret: str
    pid: int
    process_started: float
    settled: bool = False
    """Whether nothing more is expected from other nodes."""


@dataclass
class ConnectedNode:
    """A node that has connected."""

    host: str
    last_seen: float
    done: bool = False
    shared: bool = False


class JournalReceiver:
    """Listens from `start` to `stop`."""

    def __init__(self, folder: Path, log: Callable[[str], None], address: str = "") -> None:
        self.folder = folder
        self._address = address
        """The interface to listen on; empty: all of them."""
        self.copies = JournalCopies(folder)
        self.missing = True
        """Whether there are ranks without a journal here; set by the agent."""
        self._log = log
        self._nodes: dict[str, ConnectedNode] = {}
        self._listener: socket.socket | None = None
        self._connections: set[socket.socket] = set()
        self._unauthenticated = Unauthenticated()
        self._lock = threading.Lock()
        self._ended = 0.0
        self._endpoint: Endpoint | None = None

    def start(self) -> None:
        """Listen, and save the address. OSError if that is impossible."""
        before = read_endpoint(self.folder)
        secret = before.secret if before is not None else os.urandom(32).hex()
        self._listener = _listen(self._address, before.port if before is not None else 0)
        port = int(self._listener.getsockname()[1])
        self._write_endpoint(
            Endpoint(port=port, secret=secret, pid=os.getpid(), process_started=process_start(os.getpid()))
        )
        threading.Thread(target=self._accept, name="tracelet-nodes", daemon=True).start()
        self._log(f"listening for other nodes on port {port} of {self._address or 'all interfaces'}")

    def stop(self) -> None:
        """Stop listening, and compact the copies."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with suppress(OSError):  # wakes the accepting thread on systems where closing does not
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            with suppress(OSError):  # the other side may have closed it
                connection.shutdown(socket.SHUT_RDWR)
        (self.folder / ENDPOINT).unlink(missing_ok=True)
        for path in self.copies.paths():
            with guard(f"compacting {path.name}"):
                if path.exists():
                    compact(path)

    def training_ended(self) -> None:
        """The training on this node has ended: from now on the wait for other nodes is limited."""
        self._ended = self._ended or time.monotonic()

    def training_started(self) -> None:
        """Another training of the same run has started on this node."""
        self._ended = 0.0

    def expects_more(self) -> bool:
        """Whether more may come: a live node has not sent `EndOfData`, or ranks are missing."""
        now = time.monotonic()
        with self._lock:
            present = [connected for connected in self._nodes.values() if not connected.shared]
        if any(not connected.done and now - connected.last_seen < SILENCE_TIMEOUT for connected in present):
            return True
        return self.missing and not (self._ended and now - self._ended > SILENCE_TIMEOUT)

    def update_endpoint(self) -> None:
        """Save whether more may come: the training reads it at its end."""
        told = self._endpoint
        if told is not None and told.settled == self.expects_more():
            with guard("writing down whether nodes are awaited"):
                self._write_endpoint(msgspec.structs.replace(told, settled=not told.settled))

    def _write_endpoint(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        beside = self.folder / f".{ENDPOINT}.new"
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.encode(endpoint))
        os.replace(beside, self.folder / ENDPOINT)

    def _accept(self) -> None:
        while (listener := self._listener) is not None:
            try:
                connection, address = listener.accept()
            except OSError:
                time.sleep(RETRY_INTERVAL)
                continue  # closed, which the loop checks; the client has disconnected; or no more files can be opened
            serving = threading.Thread(
                target=self._serve, args=(connection, str(address[0])), name="tracelet-node", daemon=True
            )
            with self._lock:
                self._connections.add(connection)
            self._unauthenticated.admit(connection, str(address[0]))
            if not _try_start(serving):
                self._remove(connection)
                connection.close()  # a node reconnects
                time.sleep(RETRY_INTERVAL)

    def _serve(self, connection: socket.socket, address: str) -> None:
        try:
            with connection, guard("taking in what another node recorded"):
                self._handle(connection, address)
        finally:
            self._remove(connection)

    def _remove(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.discard(connection)
        self._unauthenticated.discard(connection)

    def _handle(self, connection: socket.socket, address: str) -> None:
        connected: ConnectedNode | None = None
        try:
            assert self._endpoint is not None  # it listens
            channel = accept(connection, bytes.fromhex(self._endpoint.secret))
            self._unauthenticated.discard(connection)
            register = channel.receive()
            if isinstance(register, Register):
                connected = self._register(register)
                self._receive_all(channel, register.node, connected)
        except OSError as error:
            who = connected.host if connected is not None else address
            self._log(f"the connection from {who} was closed: {error}")

    def _register(self, register: Register) -> ConnectedNode:
        with self._lock:
            connected = self._nodes.setdefault(register.node, ConnectedNode(register.host, 0.0))
            connected.last_seen, connected.done = time.monotonic(), False
        self._log(f"{register.host} is forwarding its data")
        return connected

    def _receive_all(self, channel: Channel, node: str, connected: ConnectedNode) -> None:
        channel.send(CopyStatus(0, 0))
        while not connected.done:
            message = channel.receive()
            connected.last_seen = time.monotonic()
            answer = self._answer(node, connected, message)
            channel.send(answer)

    def _answer(self, node: str, connected: ConnectedNode, message: Message) -> Message:
        if isinstance(message, Segments):
            return Received([self.copies.append(node, segment) for segment in message.segments])
        if isinstance(message, OfferJournal):
            answer = self.copies.offer(node, message)
            if isinstance(answer, SharedFolder) and not connected.shared:
                connected.shared = connected.done = True
                self._log(f"{connected.host} shares the run's folder; nothing to forward")
            return answer
        if isinstance(message, EndOfData):
            connected.done = True
            self._log(f"{connected.host} has forwarded all its data")
            return CopyStatus(0, 0)
        return TryLater("unexpected message")


def _try_start(thread: threading.Thread) -> bool:
    """Start the thread; False if the system has no room for another one."""
    try:
        thread.start()
    except RuntimeError:
        return False
    return True


def _listen(address: str, port: int) -> socket.socket:
    """A socket that listens on this port if it is free, else on another one; at this address if it is one of ours."""
    if address:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        for attempt in (port, 0):
            with suppress(OSError):
                return socket.create_server((address, attempt), family=family, backlog=BACKLOG)
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        return socket.create_server(("", port), family=family, dualstack_ipv6=both, backlog=BACKLOG)
    except OSError:
        if port:
            return _listen("", 0)
        if both:  # IPv6 is compiled in, and disabled
            return socket.create_server(("", 0), backlog=BACKLOG)
        raise


def read_endpoint(folder: Path, must_be_alive: bool = False) -> Endpoint | None:
    """The content of the file; None without a file. `must_be_alive`: only if its agent is alive."""
    try:
        found = msgspec.json.decode((folder / ENDPOINT).read_bytes(), type=Endpoint)
    except (OSError, msgspec.MsgspecError):
        return None
    return found if not must_be_alive or is_alive(found.pid, found.process_started) else None
