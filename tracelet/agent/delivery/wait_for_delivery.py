"""The last step of `stop_logging()`: waits for deliveries to finish, shows progress, and reports the rest.

Runs on the user's thread, or at interpreter exit. Reads only the deliveries' state files, never waits longer than its
timeout, and stops waiting on Ctrl-C.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import msgspec

from tracelet.store import delivery_state
from tracelet.store.delivery_state import DONE, MISCONFIGURED, OFFLINE, WAITING, Delivery

POLL = 0.1
"""Seconds between two checks."""
CHECK_INTERVAL = 2.0
"""Seconds between two checks whether a courier still runs."""
QUIET_SECONDS = 1.5
"""Seconds of silent waiting: most deliveries finish within them."""


class DeliveryWait:
    """One wait for the deliveries of one run."""

    def __init__(
        self,
        folder: Path,
        backends: Sequence[str],
        quiet: bool,
        is_delivering: Callable[[], bool],
        since: float = 0.0,
        continues: bool = True,
    ) -> None:
        self.folder = folder
        self.backends = list(backends)
        self._quiet = quiet
        self._is_delivering = is_delivering
        self._since = since
        self._continues = continues
        """Whether delivery continues after the wait: the agent's does, that of our own threads does not."""
        self._last_check = 0.0
        self._total = 0

    def states(self) -> dict[str, Delivery]:
        """The current states of the deliveries, including those that have not begun."""
        return {name: self._state(name) for name in self.backends}

    def _state(self, name: str) -> Delivery:
        found = delivery_state.read(self.folder, name) or Delivery(backend=name)
        if found.state in (DONE, MISCONFIGURED) and found.updated < self._since:
            return msgspec.structs.replace(found, state=WAITING)  # an earlier part of a resumed run ended with it
        return found

    def wait(self, timeout: float) -> bool:
        """Wait until all are done, or no more progress can be expected; whether all are done."""
        deadline = time.monotonic() + timeout
        try:
            self._wait(time.monotonic() + min(QUIET_SECONDS, timeout))
            if self._unfinished():
                with self._progress_bar(timeout) as show:
                    self._wait(deadline, show)
        except KeyboardInterrupt:
            self._print("stopped waiting")
        states = self.states()
        self._report(states)
        return all(delivery.state == DONE for delivery in states.values())

    def _unfinished(self) -> list[Delivery]:
        return [delivery for delivery in self.states().values() if delivery.state not in (DONE, MISCONFIGURED)]

    def _wait(self, deadline: float, show: Callable[[], None] | None = None) -> None:
        while self._unfinished() and time.monotonic() < deadline:
            if time.monotonic() - self._last_check > CHECK_INTERVAL:
                self._last_check = time.monotonic()
                if not self._is_delivering() and self._unfinished():
                    return
            if show is not None:
                show()
            time.sleep(POLL)

    def _progress_bar(self, timeout: float) -> AbstractContextManager[Any]:
        names = ", ".join(delivery.backend for delivery in self._unfinished())
        if self._quiet:
            return nullcontext()
        if not sys.stderr.isatty():
            self._print(f"delivering to {names}; waiting up to {timeout:.0f} s")
            return nullcontext()
        from tracelet.agent.delivery.progress_bar import ProgressBar

        return ProgressBar(f"tracelet: delivering to {names} (press Ctrl-C to stop waiting)", self._fraction_delivered)

    def _fraction_delivered(self) -> float:
        """The delivered share of the journals' content, from 0 to 1."""
        states = self.states().values()
        sizes = [(path.name, path.stat().st_size) for path in delivered_journals(self.folder)]
        total = sum(size for _, size in sizes) * len(states)
        done = sum(min(size, d.cursors.get(name, (0, 0))[1]) for d in states for name, size in sizes)
        return done / total if total else 0.0

    def _report(self, states: dict[str, Delivery]) -> None:
        done = [d.backend + (f" ({d.url})" if d.url else "") for d in states.values() if d.state == DONE]
        if done:
            self._print("delivered to " + ", ".join(done))
        for delivery in states.values():
            if delivery.state == DONE:
                continue
            why = {MISCONFIGURED: f": {delivery.error}. {delivery.fix}", OFFLINE: f" (offline: {delivery.error})"}
            goes_on = self._continues and delivery.state != MISCONFIGURED and self._is_delivering()
            left = max(0, count_points(self.folder) - delivery.points)
            self._print(
                f"{left:,} points are not delivered yet to {delivery.backend}{why.get(delivery.state, '')}."
                f"{' Delivery continues in the background.' if goes_on else ''} "
                f"Nothing is lost. To deliver them later: tracelet sync {self.folder.name}"
            )

    def _print(self, sentence: str) -> None:
        if not self._quiet:
            sys.stderr.write(f"tracelet: {sentence}\n")
            sys.stderr.flush()


def delivered_journals(folder: Path) -> list[Path]:
    """The journals that are delivered to backends."""
    return [*folder.glob("rank-0.*.tlj"), *folder.glob("node-*.tlj")]


def count_points(folder: Path) -> int:
    """The number of points in the sealed journals that are delivered to backends."""
    from tracelet.journal.journal_reader import JournalReader

    footers = [JournalReader(path).footer() for path in delivered_journals(folder)]
    return sum(metric.count for footer in footers if footer for metric in footer.metrics)
