"""The couriers of one run: one for each backend. Used by the agent, by inline delivery and by `tracelet sync`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from tracelet.agent.delivery.courier import Courier
from tracelet.agent.delivery.rank_aggregation import DEADLINE, Gatherer
from tracelet.agent.process.configuration import Posting

LEAVE_TAKING = 2.0
"""Seconds that couriers get to end the call they are making before they are left behind."""


class Crew:
    """Couriers that work side by side and know nothing of each other."""

    def __init__(
        self,
        folder: Path,
        log: Callable[[str], None],
        follow: bool = True,
        rank_deadline: float = DEADLINE,
        awaits: Callable[[], bool] = bool,
    ) -> None:
        self.folder = folder
        self.couriers: dict[str, Courier] = {}
        self._log = log
        self._follow = follow
        self._gatherer = Gatherer(folder, rank_deadline, awaits)
        self._late: set[str] = set()

    def hire(self, postings: Iterable[Posting], again: bool = False) -> None:
        """Start a courier for each backend that has none yet; `again`: or whose courier has ended."""
        for posting in postings:
            known = self.couriers.get(posting.name)
            if known is None or (again and not known.is_alive()):
                courier = Courier(self.folder, posting, self._log, self._follow, self._gatherer)
                self.couriers[posting.name] = courier
                courier.start()

    @property
    def busy(self) -> bool:
        """Whether any courier still works."""
        # One that an order has brought this moment may not have begun yet, on the thread that hires it.
        return any(courier.ident is None or courier.is_alive() for courier in tuple(self.couriers.values()))

    def nudge(self) -> None:
        """Have all look now."""
        for courier in self.couriers.values():
            courier.nudge()

    def inspect(self) -> None:
        """Say, once for each, which backend has been called and does not return."""
        for name, courier in self.couriers.items():
            if courier.overdue() and name not in self._late:
                self._late.add(name)
                self._log(
                    f"{name}: accepts requests but does not respond; its courier waits, other backends are not affected"
                )

    def wait(self, deadline: float, give_up: threading.Event | None = None) -> bool:
        """Wait until all have finished, to the moment `deadline` of the monotonic clock. False: not all have."""
        for courier in tuple(self.couriers.values()):
            while courier.is_alive() and time.monotonic() < deadline and not (give_up and give_up.is_set()):
                courier.join(min(0.2, max(0.0, deadline - time.monotonic())))
        return not self.busy

    def dismiss(self, patience: float = LEAVE_TAKING) -> None:
        """Have all stop after the call they are making; one that hangs is left behind."""
        for courier in self.couriers.values():
            courier.cease()
        self.wait(time.monotonic() + patience)
        if not self.busy:
            self._gatherer.close()
