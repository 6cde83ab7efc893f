"""Points that a source holds one by one, gathered into batches. Used by importers of row-oriented formats, on their
thread; reads no file.

Steps are 64-bit integers and values doubles; what a source has beyond that is counted and reported, never dropped
silently.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterator

from tracelet.importers.base import PointBatch
from tracelet.journal.records import Notice

POINTS_AT_ONCE = 200_000
"""Maximum points in memory (5 MB)."""
INT64 = range(-(2**63), 2**63)
EXACT = 2**53
"""Integers up to this one are exact as doubles."""


class PointColumns:
    """Add points with `add`; take batches with `full` (when there are many) and `rest` (at the end)."""

    def __init__(self) -> None:
        self.earliest = self.latest = 0
        """The times of the first point and of the latest so far, in microseconds since the epoch."""
        self._any = False
        self._steps: dict[str, array[int]] = {}
        self._values: dict[str, array[float]] = {}
        self._times: dict[str, array[int]] = {}
        self._count = 0
        self._next: Counter[str] = Counter()
        self._problems: Counter[str] = Counter()

    def add(self, name: str, step: float | None, value: float, time: int) -> None:
        """One point; `time` in microseconds since the epoch. Without a step it gets the metric's last step plus one."""
        whole = self._whole(name, step)
        if whole is None:
            return
        if name not in self._steps:
            self._steps[name], self._values[name], self._times[name] = array("q"), array("d"), array("q")
        self._next[name] = whole + 1
        if time not in INT64:
            self._problems["times are out of range, and are 0 here"] += 1
            time = 0
        self._steps[name].append(whole)
        self._values[name].append(self._double(value))
        self._times[name].append(time)
        self.earliest = min(self.earliest, time) if self._any else time
        self.latest = max(self.latest, time)
        self._any = True
        self._count += 1

    def _whole(self, name: str, step: float | None) -> int | None:
        if step is None:
            return self._next[name]
        if isinstance(step, float):
            if not math.isfinite(step):
                self._problems["points have no usable step and are not imported"] += 1
                return None
            if not step.is_integer():
                self._problems["steps have a fraction; the next lower integer is their step here"] += 1
        whole = math.floor(step)
        if whole not in INT64 or whole + 1 not in INT64:
            self._problems["points have a step beyond 64 bits and are not imported"] += 1
            return None
        return whole

    def _double(self, value: float) -> float:
        if isinstance(value, int) and not -EXACT <= value <= EXACT:
            try:
                exact = int(float(value)) == value
            except OverflowError:
                exact, value = False, math.copysign(math.inf, value)
            if not exact:
                self._problems["integer values are beyond 2**53 and were rounded to doubles"] += 1
        return float(value)

    def full(self) -> Iterator[PointBatch]:
        """The points so far, if they are many."""
        if self._count >= POINTS_AT_ONCE:
            yield from self.rest()

    def rest(self) -> Iterator[PointBatch]:
        """The points since the last batches, those of a metric in the order in which they were added."""
        import numpy as np

        steps, values, times = self._steps, self._values, self._times
        self._steps, self._values, self._times, self._count = {}, {}, {}, 0
        for name in steps:
            yield PointBatch(
                name, np.array(steps[name], dtype=np.int64), np.array(values[name], dtype=np.float64),
                np.array(times[name], dtype=np.int64),
            )  # fmt: skip

    def notices(self) -> Iterator[Notice]:
        """What could not be kept exactly."""
        for problem, count in sorted(self._problems.items()):
            yield Notice(time=self.latest, code="import", message=f"{count:,} {problem}", count=count)
