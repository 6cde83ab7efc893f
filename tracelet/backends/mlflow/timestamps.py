"""Times of points in milliseconds, made unique among otherwise equal points, because MLflow stores equal points once.

Used by the `mlflow` backend on the courier's thread. A point gets its own millisecond, or the one after that of the
last equal point of its series. That depends on the series alone, not on how it was cut into batches, and takes constant
time per point. State that the next batch needs is kept with the batch's id, so that a repeated batch gets the same
times.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Mark = tuple[str, int, str]
"""(key, step, value as a string): the fields besides the time that equal points share."""
MEMORY = "stamps"


class UniqueTimestamps:
    """The assigned times that can still matter for later points."""

    def __init__(self, memory: Mapping[str, Any] | None = None) -> None:
        memory = memory or {}
        self._batch = str(memory.get("batch", ""))
        self._before = _read(memory.get("before"))
        self._last = _read(memory.get("after"))
        self._newest: dict[str, int] = {}

    def begin(self, batch: str) -> None:
        """Start a batch; a batch that was started before gets the same times."""
        if batch == self._batch:
            self._last = dict(self._before)
        else:
            self._forget()
            self._batch, self._before = batch, dict(self._last)
        self._newest = {}

    def stamp(self, key: str, step: int, value: str, time: float) -> int:
        """The milliseconds of the next point."""
        own = round(time * 1000)
        mark = key, step, value
        last = self._last.get(mark)
        found = self._last[mark] = own if last is None or own > last else last + 1
        if own > self._newest.get(key, own - 1):
            self._newest[key] = own
        return found

    def memory(self) -> dict[str, Any]:
        """The state to store before the batch is sent."""
        self._forget()
        return {"batch": self._batch, "before": _written(self._before), "after": _written(self._last)}

    def _forget(self) -> None:
        """Only a point of the newest time, or later, can be equal to a point that is still to come."""
        newest = self._newest
        self._last = {mark: last for mark, last in self._last.items() if last >= newest.get(mark[0], last)}


def _read(entries: Any) -> dict[Mark, int]:
    return {(str(key), int(step), str(value)): int(stamp) for key, step, value, stamp in entries or ()}


def _written(last: Mapping[Mark, int]) -> list[list[Any]]:
    return [[*mark, stamp] for mark, stamp in last.items()]
