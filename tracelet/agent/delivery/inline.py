"""Delivery by threads of the training process, if no other process is allowed. Started by the session.

Runs the same couriers as the agent. `tracelet sync` delivers the rest if the process ends first.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tracelet import guard
from tracelet.agent.delivery.courier_pool import CourierPool
from tracelet.agent.delivery.rank_aggregation import DEADLINE
from tracelet.agent.process.configuration import BackendConfig


class InlineDelivery:
    """The couriers in the training process."""

    def __init__(self, folder: Path, backend_configs: Sequence[BackendConfig], rank_deadline: float = DEADLINE) -> None:
        self.folder = folder
        self._backend_configs = list(backend_configs)
        self._courier_pool = CourierPool(folder, self._log, rank_deadline=rank_deadline)
        self._pid = os.getpid()

    def start(self) -> None:
        """Start the couriers."""
        self._courier_pool.start(self._backend_configs)

    def add(self, backend_configs: Sequence[BackendConfig]) -> None:
        """Add backends for the same run."""
        if self._pid == os.getpid():
            self._courier_pool.start(backend_configs)

    def ensure_running(self) -> bool:
        """Whether any courier still runs."""
        self._courier_pool.wake()
        return self._courier_pool.busy

    def stop(self) -> None:
        """Stop the couriers; abandon one whose backend hangs."""
        if self._pid == os.getpid():
            self._courier_pool.stop()

    @staticmethod
    def _log(sentence: str) -> None:
        guard.logger.info("tracelet: %s", sentence)
