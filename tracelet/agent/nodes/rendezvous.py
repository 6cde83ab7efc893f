"""How the nodes of a training find each other: rank 0 publishes an address and a secret in the training's own store.

Runs on one thread in the training process of rank 0 and of the first rank of each other node, once torch has connected
the ranks. It opens its own connection to torch's TCPStore and closes it as soon as the address is published or read. It
does not touch the training's connection, calls no collective, and nothing waits for it. From then on the nodes' agents
talk to each other.
"""

from __future__ import annotations

import ipaddress
import itertools
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from tracelet.agent.nodes.journal_receiver import read_endpoint
from tracelet.agent.process.configuration import AgentConfig, Leader
from tracelet.guard import guard, logger, say

PREFIX = "tracelet"
ENDPOINT_POLL = 0.1
"""Seconds between two checks for the port on which this node's agent listens."""
FIRST_POLL, MAX_POLL = 0.2, 2.0
"""Seconds between two checks for rank 0's entry."""
TIMEOUT = 120.0
"""Seconds for rank 0 to publish it: its process is as far as ours, only its agent may still be starting."""
STORE_TIMEOUT = 5.0
"""Seconds for the store to answer; it does so at once or not at all."""
STOP_TIMEOUT = 3.0
"""Seconds to wait at the end of a run so short that the nodes have not connected yet: as long as that takes."""
_run_numbers = itertools.count()
"""The runs of a process do this one after another, in the same order in all ranks."""


class Rendezvous:
    """For one run: publish or read the address, and configure the agent."""

    def __init__(self, folder: Path, is_leader: bool, configure: Callable[[AgentConfig], None]) -> None:
        self.folder = folder
        self._is_leader = is_leader
        self._configure = configure
        self._key = f"{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{next(_run_numbers)}"
        self._run_ending = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tracelet-rendezvous", daemon=True)
        self._store_address = store_address()

    def start(self) -> None:
        """Start, if the ranks have connected through a TCPStore."""
        if self._store_address is not None:
            self._thread.start()

    def stop(self) -> None:
        """Abandon what cannot finish within a moment."""
        self._run_ending.set()
        if self._thread.is_alive():
            self._thread.join(STOP_TIMEOUT)
        self._stopping.set()

    def _run(self) -> None:
        assert self._store_address is not None  # otherwise it was not started
        with guard("meeting the other nodes"):
            try:
                if self._is_leader:
                    self._publish(*self._store_address)
                else:
                    self._fetch(*self._store_address)
            except (OSError, RuntimeError) as error:  # torch's own errors are RuntimeErrors: the store is closed
                logger.debug("tracelet: the other nodes were not met: %s", error)

    def _publish(self, host: str, port: int) -> None:
        """On rank 0: have our agent listen, and publish its address."""
        own = _own_address(host, port)
        self._configure(AgentConfig(receive=True, listen_address=listen_address(host, own)))
        deadline = time.monotonic() + TIMEOUT
        while (endpoint := read_endpoint(self.folder, must_be_alive=True)) is None:
            if self._stopping.wait(ENDPOINT_POLL) or time.monotonic() > deadline:
                return
        hosts = [host, own, socket.gethostname()]
        leader = Leader(addresses=[(one, endpoint.port) for one in dict.fromkeys(hosts) if one], secret=endpoint.secret)
        store = _store(host, port)
        if store is not None:
            store.set(self._key, msgspec.json.encode(leader).decode())

    def _fetch(self, host: str, port: int) -> None:
        """On another node: wait for the address, and have our agent send there."""
        store, pause, deadline = None, FIRST_POLL, time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            # Ask the system first, because torch prints a page of warnings if its store is closed.
            if not _is_reachable(host, port):
                return
            store = store or _store(host, port)
            if store is None or store.check([self._key]):
                break
            if self._stopped_within(pause):
                return
            pause = min(MAX_POLL, pause * 1.5)
        else:
            say(
                f"rank 0's node did not publish its address; the data of this node stays in {self.folder}. If that "
                "folder is not shared, copy its journals to the run's folder on rank 0's node."
            )
            return
        if store is not None:
            leader = msgspec.json.decode(store.get(self._key), type=Leader)
            here = (host, leader.addresses[0][1]) if leader.addresses else None
            known = [here, *leader.addresses] if here else []
            self._configure(AgentConfig(leader=Leader(addresses=list(dict.fromkeys(known)), secret=leader.secret)))

    def _stopped_within(self, pause: float) -> bool:
        """Wait; at the end of the run, which waits for us, only as long as rank 0 may take to publish."""
        return self._run_ending.wait(pause) and self._stopping.wait(ENDPOINT_POLL)


def listen_address(host: str, own: str) -> str:
    """The interface on which the other nodes come, as torch's store is reached on it; empty if it cannot be told."""
    try:
        loopback = not own or ipaddress.ip_address(own.partition("%")[0]).is_loopback
    except ValueError:
        return ""
    # Debian gives a machine's own name a loopback address, which says nothing about the way from other machines.
    return "" if loopback and host not in ("localhost", "127.0.0.1", "::1") else own


def store_address() -> tuple[str, int] | None:
    """Host and port of the TCPStore of this process's group; None without one."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not getattr(distributed, "is_initialized", bool)():
        return None
    store: Any = None
    with suppress(AttributeError, ValueError, RuntimeError):  # private, and removed when the group ends
        store = distributed.distributed_c10d._get_default_store()
        while isinstance(store, distributed.PrefixStore):
            store = store.underlying_store
        if isinstance(store, distributed.TCPStore):
            return str(store.host), int(store.port)
    return None


def _store(host: str, port: int) -> Any:
    """Our own connection to the store, with our own key prefix; None if nothing answers."""
    if not _is_reachable(host, port):
        return None
    distributed = sys.modules["torch.distributed"]
    patience = timedelta(seconds=STORE_TIMEOUT)
    store = distributed.TCPStore(host, port, is_master=False, timeout=patience, wait_for_workers=False)
    return distributed.PrefixStore(PREFIX, store)


def _is_reachable(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), STORE_TIMEOUT).close()
    except OSError:
        return False
    return True


def _own_address(host: str, port: int) -> str:
    """This machine's address on the route to the store; sends nothing."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    except OSError:
        return ""
