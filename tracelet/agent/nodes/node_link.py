"""This node's link to the agents of other nodes: it receives their journals, sends its own, or neither.

Used by the agent's main thread; `apply` also by the thread that reads configuration from the training.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from tracelet.agent.nodes.journal_receiver import JournalReceiver
from tracelet.agent.nodes.journal_sender import JournalSender
from tracelet.agent.process.configuration import AgentConfig, Leader
from tracelet.guard import guard


class NodeLink:
    """One node's part in transferring a run's journals."""

    def __init__(self, folder: Path, log: Callable[[str], None]) -> None:
        self.folder = folder
        self._log = log
        self._lock = threading.Lock()
        self._leader: Leader | None = None
        self.receiver: JournalReceiver | None = None
        self.sender: JournalSender | None = None

    def apply(self, config: AgentConfig) -> None:
        """Do what the configuration asks for, unless it is done already."""
        with self._lock, guard("joining the nodes of the run"):
            if config.receive and self.receiver is None:
                receiver = JournalReceiver(self.folder, self._log, config.listen_address)
                receiver.start()
                self.receiver = receiver
            if config.leader is not None and config.leader != self._leader:
                self._leader = config.leader
                self._start_sender()

    def _start_sender(self) -> None:
        before = self.sender
        if self._leader is None or (before is not None and before.shared):
            return
        if before is not None:
            before.stop()
        self.sender = JournalSender(self.folder, self._leader, self._log)
        self.sender.start()

    def update(self, missing: bool) -> None:
        """Called periodically; `missing`: whether there are ranks without a journal here."""
        if self.receiver is not None:
            self.receiver.missing = missing
            self.receiver.update_endpoint()

    def expects_more(self) -> bool:
        """Whether other nodes may still send something."""
        return self.receiver is not None and self.receiver.expects_more()

    @property
    def busy(self) -> bool:
        """Whether something is still to be sent or received."""
        return self.expects_more() or (self.sender is not None and self.sender.is_alive())

    def training_ended(self) -> None:
        """Nothing more will be written on this node."""
        if self.receiver is not None:
            self.receiver.training_ended()
        if self.sender is not None:
            self.sender.training_ended.set()

    def training_started(self) -> None:
        """Another training of the same run has started on this node."""
        if self.receiver is not None:
            self.receiver.training_started()
        with self._lock:
            if self.sender is not None and self.sender.training_ended.is_set():
                self._start_sender()

    def stop(self) -> None:
        """Close all connections."""
        if self.sender is not None:
            self.sender.stop()
        if self.receiver is not None:
            with guard("leaving the nodes of the run"):
                self.receiver.stop()
