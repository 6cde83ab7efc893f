"""Delivery by threads of the training process, for places that allow no other process. Started by the session.

The same couriers as the agent's. What is not delivered when the process ends waits for `tracelet sync`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tracelet import guard
from tracelet.agent.delivery.courier_pool import Crew
from tracelet.agent.delivery.rank_aggregation import DEADLINE
from tracelet.agent.process.configuration import Posting


class Inline:
    """The training's side of its own couriers."""

    def __init__(self, folder: Path, postings: Sequence[Posting], rank_deadline: float = DEADLINE) -> None:
        self.folder = folder
        self._postings = list(postings)
        self._crew = Crew(folder, self._log, rank_deadline=rank_deadline)
        self._pid = os.getpid()

    def start(self) -> None:
        """Start the couriers."""
        self._crew.hire(self._postings)

    def add(self, postings: Sequence[Posting]) -> None:
        """More backends for the same run."""
        if self._pid == os.getpid():
            self._crew.hire(postings)

    def revive(self) -> bool:
        """Whether anything still delivers."""
        self._crew.nudge()
        return self._crew.busy

    def stop(self) -> None:
        """Have the couriers stop; one whose backend hangs is left behind."""
        if self._pid == os.getpid():
            self._crew.dismiss()

    @staticmethod
    def _log(sentence: str) -> None:
        guard.logger.info("tracelet: %s", sentence)
