"""The session's end of delivery: brings up whoever delivers, and waits for what is left when the run has stopped.

Called by the session on the user's thread. Imports the couriers only for `delivery="inline"`; the SDKs never.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tracelet import guard
from tracelet.agent.delivery.wait_for_delivery import Waiting
from tracelet.agent.process.configuration import Order, Posting
from tracelet.agent.process.supervisor import Keeper
from tracelet.collectors.process_tree import root_pid
from tracelet.journal.records import Started
from tracelet.settings import Settings

if TYPE_CHECKING:
    from tracelet.agent.nodes.rendezvous import Meeting


class Deliverer(Protocol):
    """Who has the couriers: a `Keeper` of the agent, or `Inline`."""

    def start(self) -> None:
        """Begin."""

    def add(self, postings: Sequence[Posting]) -> None:
        """More backends for the same run."""

    def revive(self) -> bool:
        """Whether somebody delivers, which is mended if need be and possible."""

    def stop(self) -> None:
        """Let go."""


class Dispatch:
    """One run's delivery, as the training process sees it."""

    def __init__(
        self,
        settings: Settings,
        started: Started,
        journal: Path,
        postings: Sequence[Posting],
        collectors: Sequence[str],
        several_nodes: Callable[[], bool],
    ) -> None:
        self.folder = journal.parent
        self._settings = settings
        # Started by Lightning, the first rank of each node takes itself for rank 0 until the ranks have met.
        self._leads = started.rank == 0 and started.node_rank == 0
        self._first_here = started.local_rank == 0
        self._journal = journal
        self._several_nodes = several_nodes
        self._postings = list(postings) if self._leads else []
        self._collectors = list(collectors)
        self._deliverer: Deliverer | None = None
        self._pid = os.getpid()
        self._began = time.time()
        self.samples = False
        """Whether the machine is sampled by the agent."""

    @property
    def postings(self) -> Sequence[Posting]:
        """The backends that the run is delivered to, with their credentials."""
        return tuple(self._postings)

    def start(self) -> None:
        """Bring up the agent, or the couriers here; without either the journal is as complete, and `sync` delivers."""
        with guard.guard("starting the delivery"):
            deliverer = self._made()
            if deliverer is not None:
                deliverer.start()
                self._deliverer = deliverer
                self.samples = isinstance(deliverer, Keeper)

    def _made(self) -> Deliverer | None:
        way = self._settings.delivery
        if way == "agent" and self._first_here and sys.executable and os.name == "posix":
            return Keeper(self.folder, self._order())
        if (way == "inline" and self._postings) or (way == "agent" and os.name != "posix" and self._postings):
            from tracelet.agent.delivery.inline import Inline

            return Inline(self.folder, self._postings, self._settings.rank_deadline)
        return None

    def _order(self) -> Order:
        return Order(
            journal=self._journal.name, pid=root_pid(), interval=self._settings.metrics_interval,
            collectors=self._collectors, linger=self._settings.agent_linger, rank_deadline=self._settings.rank_deadline,
            backends=list(self._postings),
            path=[os.fsencode(entry) for entry in sys.path if os.path.isabs(entry)],
        )  # fmt: skip

    def add(self, postings: Sequence[Posting]) -> None:
        """More backends for a run that goes on already."""
        known = {posting.name for posting in self._postings}
        fresh = [posting for posting in postings if posting.name not in known] if self._leads else []
        self._postings += fresh
        if self._deliverer is not None and fresh:
            with guard.guard("adding backends"):
                self._deliverer.add(fresh)

    def meeting(self, rank: int) -> Meeting | None:
        """What joins this node to the others; None where there are none, or where no agent could speak to theirs."""
        apart = self._first_here and self._settings.gather_nodes and self._several_nodes()
        if not apart or not isinstance(self._deliverer, Keeper):
            return None
        from tracelet.agent.nodes.rendezvous import Meeting

        return Meeting(self.folder, rank == 0, self._deliverer.direct)

    def finish(self, deadline: float) -> None:
        """Wait for the deliveries, to the moment `deadline` of the monotonic clock at the longest, and let go."""
        deliverer, self._deliverer = self._deliverer, None
        if deliverer is None or self._pid != os.getpid():
            return
        with guard.guard("waiting for the delivery"):
            try:
                if self._postings:
                    names = [posting.name for posting in self._postings]
                    waiting = Waiting(
                        self.folder, names, self._settings.quiet, deliverer.revive, self._began,
                        lasting=isinstance(deliverer, Keeper),
                    )  # fmt: skip
                    waiting.wait(max(0.0, deadline - time.monotonic()))
                if isinstance(deliverer, Keeper) and deliverer.directed:
                    self._wait_for_nodes(deliverer, deadline)
            finally:
                deliverer.stop()

    def _wait_for_nodes(self, keeper: Keeper, deadline: float) -> None:
        from tracelet.agent.nodes.wait_for_nodes import wait_for_nodes

        if not wait_for_nodes(self.folder, keeper.receives, deadline, keeper.revive) and not self._settings.quiet:
            what = "the data of other nodes" if keeper.receives else "the data of this node"
            sys.stderr.write(
                f"tracelet: {what} is not complete on rank 0's node yet. Nothing is lost: each node keeps its data.\n"
            )
