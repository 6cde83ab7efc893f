"""What the agent has to do with agents of other nodes: it listens for them, or forwards to the leading one, or neither.

Used by the agent's main thread; `obey` also by the one that reads the training's orders.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from tracelet.agent.nodes.journal_receiver import Receiver
from tracelet.agent.nodes.journal_sender import Forwarder
from tracelet.agent.process.configuration import Leader, Order
from tracelet.guard import guard


class Exchange:
    """One node's part in bringing a run together."""

    def __init__(self, folder: Path, log: Callable[[str], None]) -> None:
        self.folder = folder
        self._log = log
        self._lock = threading.Lock()
        self._leader: Leader | None = None
        self.receiver: Receiver | None = None
        self.forwarder: Forwarder | None = None

    def obey(self, order: Order) -> None:
        """Begin what the training asks for, unless that is done already."""
        with self._lock, guard("joining the nodes of the run"):
            if order.receive and self.receiver is None:
                receiver = Receiver(self.folder, self._log)
                receiver.start()
                self.receiver = receiver
            if order.leader is not None and order.leader != self._leader:
                self._leader = order.leader
                self._forward()

    def _forward(self) -> None:
        before = self.forwarder
        if self._leader is None or (before is not None and before.shared):
            return
        if before is not None:
            before.cease()
        self.forwarder = Forwarder(self.folder, self._leader, self._log)
        self.forwarder.start()

    def look(self, missing: bool) -> None:
        """Again and again; `missing`: whether there are ranks without a journal here."""
        if self.receiver is not None:
            self.receiver.missing = missing
            self.receiver.settle()

    def awaits(self) -> bool:
        """Whether other nodes may still bring something."""
        return self.receiver is not None and self.receiver.awaits()

    @property
    def busy(self) -> bool:
        """Whether there is still something to be brought, by us or to us."""
        return self.awaits() or (self.forwarder is not None and self.forwarder.is_alive())

    def ending(self) -> None:
        """Nothing more will be written on this node."""
        if self.receiver is not None:
            self.receiver.training_ended()
        if self.forwarder is not None:
            self.forwarder.ending.set()

    def begin(self) -> None:
        """Another training of the same run has begun on this node."""
        if self.receiver is not None:
            self.receiver.training_begins()
        with self._lock:
            if self.forwarder is not None and self.forwarder.ending.is_set():
                self._forward()

    def stop(self) -> None:
        """Let go of all connections."""
        if self.forwarder is not None:
            self.forwarder.cease()
        if self.receiver is not None:
            with guard("leaving the nodes of the run"):
                self.receiver.stop()
