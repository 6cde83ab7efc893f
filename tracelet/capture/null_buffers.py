"""Buffers and a writer that discard everything: for forked children, ended runs, and runs that are not recorded.

Used on any thread; with them a program needs no `if` around its logging.
"""

from __future__ import annotations

import sys

from tracelet import guard
from tracelet.capture.running_fits import RunningFits
from tracelet.capture.sink import PLAIN_WIDTH, Item, SeriesGroup


class NullBuffer(list[Item]):
    """The buffer in a forked child, or of a run that is not recorded: discards every item."""

    def append(self, item: Item) -> None:
        """Discard the item."""


class EndedBuffer(NullBuffer):
    """The buffer after the end of the run: discards every item, and warns once if the program still logs by name."""

    def append(self, item: Item) -> None:
        """Discard the item; warn if the program logged it by name."""
        name = _logged_name(item)
        if name is not None:
            warn_after_end(repr(name))


def warn_after_end(what: str, kind: str = "metric") -> None:
    """Say that something was logged after the end of its run, once for each kind."""
    if not sys.is_finalizing():
        guard.say(
            f"{what} was logged after its run ended; it is not recorded, nor are later values. "
            "Type tracelet.start_logging('name') before it.",
            once=f"ended:{kind}",
        )


def _logged_name(item: Item) -> object:
    """The first name that a program logged with the item; None if it did not log by name."""
    if type(item) is not tuple:
        return None
    first = item[0].keys[0] if type(item[0]) is SeriesGroup else item[0]
    return first if type(first) is str and len(item) <= PLAIN_WIDTH + 1 else None


class NullWriter:
    """A writer that records nothing, for handles of runs that are not recorded."""

    recording = False

    def __init__(self) -> None:
        self.items: list[Item] = NullBuffer()
        self.fits = RunningFits(self.emit)

    def emit(self, item: Item) -> None:
        """Keep nothing."""

    def expect(self, status: str, reason: str) -> None:
        """Nothing ends."""

    def apply_backpressure(self) -> None:
        """Never crowded."""

    def flush(self, timeout: float | None = None) -> bool:
        """Nothing to write."""
        return True
