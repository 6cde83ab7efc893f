"""Computes the summary of each metric while its points pass by, by fit and of all together: count, last, min, max.

Used by the writer while it packs, and by readers of journals that have no footer. Not thread-safe.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from tracelet.journal.records import Chunk, FitMetrics, MetricSummary

if TYPE_CHECKING:
    from tracelet.journal.column_packing import FloatArray, IntArray


class SummaryBuilder:
    """The summary of one metric, so far."""

    __slots__ = ("automatic", "count", "frame", "last", "last_step", "last_time", "max", "max_step", "min", "min_step")

    def __init__(self) -> None:
        self.count = 0
        self.last = math.nan
        self.last_step = 0
        self.last_time = 0
        self.min = math.nan
        self.min_step = 0
        self.max = math.nan
        self.max_step = 0
        self.automatic = False
        self.frame = 0

    def add(self, steps: Sequence[int], times: Sequence[int], values: Sequence[float], frame: int = 0) -> None:
        """Count the points of one non-empty chunk, in order; `frame`: a number for what was written at once.

        The order of frames says what is last: a wall clock may be set back. Only chunks of one frame go by their times.
        """
        self.count += len(values)
        if self._is_later(frame, int(times[-1])):
            self.last, self.last_step, self.last_time = values[-1], steps[-1], times[-1]
        if values[0] != values[0]:
            self._add_after_nan(steps, values)
            return
        # A NaN behind the first value never wins a comparison, so min() and max() pass over it.
        low, high = min(values), max(values)
        if not low >= self.min:
            self.min, self.min_step = low, steps[values.index(low)]
        if not high <= self.max:
            self.max, self.max_step = high, steps[values.index(high)]

    def _is_later(self, frame: int, time: int) -> bool:
        known, self.frame = self.frame, frame
        return frame != known or time >= self.last_time

    def add_arrays(self, steps: IntArray, times: IntArray, values: FloatArray, frame: int = 0) -> None:
        """The same for numpy columns, on the reading side."""
        import numpy as np

        self.count += len(values)
        if self._is_later(frame, int(times[-1])):
            self.last, self.last_step, self.last_time = float(values[-1]), int(steps[-1]), int(times[-1])
        sound = np.flatnonzero(values == values)  # nanargmin() would take a NaN for an infinity
        if len(sound):
            low, high = sound[np.argmin(values[sound])], sound[np.argmax(values[sound])]
            self._extend(float(values[low]), int(steps[low]), float(values[high]), int(steps[high]))

    def _add_after_nan(self, steps: Sequence[int], values: Sequence[float]) -> None:
        sound = [(value, step) for value, step in zip(values, steps) if value == value]
        if sound:
            low, high = min(sound, key=lambda pair: pair[0]), max(sound, key=lambda pair: pair[0])
            self._extend(low[0], low[1], high[0], high[1])

    def _extend(self, low: float, low_step: int, high: float, high_step: int) -> None:
        if not low >= self.min:
            self.min, self.min_step = low, low_step
        if not high <= self.max:
            self.max, self.max_step = high, high_step

    def merge(self, other: MetricSummary) -> None:
        """Add what another journal says of the same metric."""
        self.count += other.count
        self.automatic = self.automatic or other.automatic
        if other.last_time >= self.last_time:
            self.last, self.last_step, self.last_time = other.last, other.last_step, other.last_time
        if other.min == other.min:
            self._extend(other.min, other.min_step, other.max, other.max_step)

    def build(self, name: str) -> MetricSummary:
        """The summary as a record."""
        return MetricSummary(
            name, self.count, self.last, self.last_step, self.last_time, self.min, self.min_step, self.max,
            self.max_step, self.automatic,
        )  # fmt: skip


class FitSummaries:
    """The summaries of a journal while it is written or read: of each metric by fit, and of all its fits together."""

    def __init__(self) -> None:
        self._builders: dict[tuple[int, str], SummaryBuilder] = {}

    def of(self, chunk: Chunk) -> SummaryBuilder:
        """The builder that the chunk's points are to be added to."""
        builder = self._builders.get((chunk.fit, chunk.name))
        if builder is None:
            builder = self._builders[chunk.fit, chunk.name] = SummaryBuilder()
        builder.automatic = builder.automatic or chunk.automatic
        return builder

    def all(self) -> dict[str, MetricSummary]:
        """One summary per metric."""
        by_name: dict[str, list[SummaryBuilder]] = {}
        for (_, name), builder in tuple(self._builders.items()):
            by_name.setdefault(name, []).append(builder)
        return {name: _combined(builders).build(name) for name, builders in by_name.items()}

    def by_fit(self, fits: int) -> list[FitMetrics]:
        """The metrics of each of so many fits; none unless there are several."""
        if fits <= 1:
            return []
        found: dict[int, list[MetricSummary]] = {number: [] for number in range(1, fits + 1)}
        for (fit, name), builder in tuple(self._builders.items()):
            found.setdefault(fit, []).append(builder.build(name))
        return [FitMetrics(fit, found[fit]) for fit in sorted(found)]


def _combined(builders: list[SummaryBuilder]) -> SummaryBuilder:
    """One builder for all points; the last one is that of the last frame, as in a single builder."""
    if len(builders) == 1:
        return builders[0]
    whole = SummaryBuilder()
    for builder in sorted(builders, key=lambda one: one.frame):
        whole.count += builder.count
        whole.automatic = whole.automatic or builder.automatic
        if whole._is_later(builder.frame, builder.last_time):
            whole.last, whole.last_step, whole.last_time = builder.last, builder.last_step, builder.last_time
        if builder.min == builder.min:
            whole._extend(builder.min, builder.min_step, builder.max, builder.max_step)
    return whole


def merge_summaries(summaries: Iterable[MetricSummary]) -> dict[str, MetricSummary]:
    """One summary per metric, from the summaries of several journals."""
    builders: dict[str, SummaryBuilder] = {}
    for summary in summaries:
        builders.setdefault(summary.name, SummaryBuilder()).merge(summary)
    return {name: builder.build(name) for name, builder in builders.items()}
