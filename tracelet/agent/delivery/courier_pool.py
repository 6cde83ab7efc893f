"""The couriers of one run, one per backend. Used by the agent, by inline delivery and by `tracelet sync`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from tracelet.agent.delivery.courier import Courier
from tracelet.agent.delivery.rank_aggregation import DEADLINE, RankAggregator
from tracelet.agent.process.configuration import BackendConfig

STOP_TIMEOUT = 2.0
"""Seconds that couriers get to end their current call before they are abandoned."""


class CourierPool:
    """Couriers that run in parallel and independently."""

    def __init__(
        self,
        folder: Path,
        log: Callable[[str], None],
        follow: bool = True,
        rank_deadline: float = DEADLINE,
        expects_more: Callable[[], bool] = bool,
        repair: bool = False,
    ) -> None:
        self.folder = folder
        self.couriers: dict[str, Courier] = {}
        self._log = log
        self._follow = follow
        self._repair = repair
        self._aggregator = RankAggregator(folder, rank_deadline, expects_more)
        self._reported_overdue: set[str] = set()

    def start(self, backend_configs: Iterable[BackendConfig], restart: bool = False) -> None:
        """Start a courier for each backend that has none yet; with `restart` also if its courier has ended."""
        for config in backend_configs:
            known = self.couriers.get(config.name)
            if known is None or (restart and not known.is_alive()):
                courier = Courier(self.folder, config, self._log, self._follow, self._aggregator, self._repair)
                self.couriers[config.name] = courier
                courier.start()

    @property
    def busy(self) -> bool:
        """Whether any courier still works."""
        # One that a configuration line has just brought may not have started yet, on the thread that starts it.
        return any(courier.ident is None or courier.is_alive() for courier in tuple(self.couriers.values()))

    def wake(self) -> None:
        """Wake all couriers now."""
        for courier in self.couriers.values():
            courier.wake()

    def report_overdue(self) -> None:
        """Report once for each backend that it was called and does not return."""
        for name, courier in self.couriers.items():
            if courier.overdue() and name not in self._reported_overdue:
                self._reported_overdue.add(name)
                self._log(
                    f"{name}: accepts requests but does not respond; its courier waits, other backends are not affected"
                )

    def wait(self, deadline: float, give_up: threading.Event | None = None) -> bool:
        """Wait until all have finished, at most until `deadline` (monotonic clock). False if some have not."""
        for courier in tuple(self.couriers.values()):
            while courier.is_alive() and time.monotonic() < deadline and not (give_up and give_up.is_set()):
                courier.join(min(0.2, max(0.0, deadline - time.monotonic())))
        return not self.busy

    def stop(self, timeout: float = STOP_TIMEOUT) -> None:
        """Stop all after their current call; abandon one that hangs."""
        for courier in self.couriers.values():
            courier.stop()
        self.wait(time.monotonic() + timeout)
        if not self.busy:
            self._aggregator.close()
