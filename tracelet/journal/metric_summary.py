"""What is known of each metric without reading its points: count, last, least, greatest.

Kept by the writer while it packs, and by readers for journals that have no footer. Not thread-safe.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from tracelet.journal.records import MetricSummary

if TYPE_CHECKING:
    from tracelet.journal.columns import FloatArray, IntArray


class Tally:
    """One metric's figures so far."""

    __slots__ = ("automatic", "count", "greatest", "greatest_step", "last", "last_step", "last_time", "least",
                 "least_step")  # fmt: skip

    def __init__(self) -> None:
        self.count = 0
        self.last = math.nan
        self.last_step = 0
        self.last_time = 0
        self.least = math.nan
        self.least_step = 0
        self.greatest = math.nan
        self.greatest_step = 0
        self.automatic = False

    def add(self, steps: Sequence[int], times: Sequence[int], values: Sequence[float]) -> None:
        """Count the points of one non-empty chunk, in order."""
        self.count += len(values)
        if times[-1] >= self.last_time:
            self.last, self.last_step, self.last_time = values[-1], steps[-1], times[-1]
        if values[0] != values[0]:
            self._add_after_nan(steps, values)
            return
        # A NaN behind the first value never wins a comparison, so min() and max() pass over it.
        least, greatest = min(values), max(values)
        if not least >= self.least:
            self.least, self.least_step = least, steps[values.index(least)]
        if not greatest <= self.greatest:
            self.greatest, self.greatest_step = greatest, steps[values.index(greatest)]

    def add_arrays(self, steps: IntArray, times: IntArray, values: FloatArray) -> None:
        """The same for numpy columns, on the reading side."""
        import numpy as np

        self.count += len(values)
        if times[-1] >= self.last_time:
            self.last, self.last_step, self.last_time = float(values[-1]), int(steps[-1]), int(times[-1])
        sound = np.flatnonzero(values == values)  # nanargmin() would take a NaN for an infinity
        if len(sound):
            low, high = sound[np.argmin(values[sound])], sound[np.argmax(values[sound])]
            self._extend(float(values[low]), int(steps[low]), float(values[high]), int(steps[high]))

    def _add_after_nan(self, steps: Sequence[int], values: Sequence[float]) -> None:
        sound = [(value, step) for value, step in zip(values, steps) if value == value]
        if sound:
            least, greatest = min(sound, key=lambda pair: pair[0]), max(sound, key=lambda pair: pair[0])
            self._extend(least[0], least[1], greatest[0], greatest[1])

    def _extend(self, least: float, least_step: int, greatest: float, greatest_step: int) -> None:
        if not least >= self.least:
            self.least, self.least_step = least, least_step
        if not greatest <= self.greatest:
            self.greatest, self.greatest_step = greatest, greatest_step

    def merge(self, other: MetricSummary) -> None:
        """Count what another journal says of the same metric."""
        self.count += other.count
        self.automatic = self.automatic or other.automatic
        if other.last_time >= self.last_time:
            self.last, self.last_step, self.last_time = other.last, other.last_step, other.last_time
        if other.least == other.least:
            self._extend(other.least, other.least_step, other.greatest, other.greatest_step)

    def summary(self, name: str) -> MetricSummary:
        """The figures as a record."""
        return MetricSummary(
            name, self.count, self.last, self.last_step, self.last_time, self.least, self.least_step, self.greatest,
            self.greatest_step, self.automatic,
        )  # fmt: skip


def merged(summaries: Iterable[MetricSummary]) -> dict[str, MetricSummary]:
    """Sum up what several journals say, by metric name."""
    tallies: dict[str, Tally] = {}
    for summary in summaries:
        tallies.setdefault(summary.name, Tally()).merge(summary)
    return {name: tally.summary(name) for name, tally in tallies.items()}
