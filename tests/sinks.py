"""A sink that keeps what it is given, for tests that look at items before anybody packs them."""

from __future__ import annotations

from typing import Any

from tracelet.capture.running_fits import RunningFits
from tracelet.capture.sink import Item, SeriesGroup, SeriesKey, row_points


class ListSink(list[Item]):
    """A list that integrations and recorders may emit into."""

    expected = ("", "")

    def __init__(self, *items: Item) -> None:
        super().__init__(items)
        self.fits = RunningFits(lambda change: None)

    flushed = 0
    """How often somebody wanted everything so far to be on disk."""

    def emit(self, item: Item) -> None:
        """Keep it; what was logged together, point by point."""
        if isinstance(item, tuple) and isinstance(item[0], SeriesGroup):
            self.extend(row_points(item))
        else:
            self.append(item)

    def expect(self, status: str, reason: str) -> None:
        """Remember the last ending that was foreseen."""
        self.expected = (status, reason)

    def flush(self, timeout: float | None = None) -> bool:
        """Nothing is on its way anywhere."""
        self.flushed += 1
        return True

    def series(self, name: str) -> list[tuple[Any, Any]]:
        """Step and value of each keyed point of a name."""
        return [
            (p[1], p[2]) for p in self if isinstance(p, tuple) and isinstance(p[0], SeriesKey) and p[0].name == name
        ]
