"""The state of rank aggregation: for each series, the steps that wait for ranks and the steps already written.

Used by `rank_aggregation`, under its lock. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tracelet.agent.delivery.reduction import RankValue

SeriesId = tuple[str, str, int, bool]
"""(name, stage, fit, automatic): the key of points that are reduced together"""
StepKey = tuple[int, int]
"""(step, number of earlier points with this step)"""


@dataclass
class PendingStep:
    """One step of a series: the parts received so far."""

    since: float
    parts: dict[int, RankValue] = field(default_factory=dict)
    stamps: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Rank to (time, epoch)."""


@dataclass
class SeriesState:
    """One series, as far as it is aggregated."""

    reduce: str
    pending_steps: dict[StepKey, PendingStep] = field(default_factory=dict)
    last_step: int | None = None
    """The maximum step written."""
    repeated: set[StepKey] = field(default_factory=set)
    """Written steps that came out of order, or repeatedly."""
    given_up_ranks: set[int] = field(default_factory=set)
    """Ranks that did not write in time and have never written any of the series."""

    def written(self, key: StepKey) -> bool:
        """Whether this key is written already."""
        step, before = key
        return key in self.repeated if before else self.last_step is not None and step <= self.last_step

    def mark_written(self, key: StepKey) -> None:
        """Mark it as written."""
        if key[1]:
            self.repeated.add(key)
        else:
            self.last_step = key[0] if self.last_step is None else max(self.last_step, key[0])


class RepeatCounter:
    """Counts how often each step of a series occurred before, on one rank. Steps that only increase cost nothing."""

    def __init__(self) -> None:
        self._top: dict[SeriesId, int] = {}
        self._repeats: dict[tuple[SeriesId, int], int] = {}

    def key(self, series_id: SeriesId, step: int) -> StepKey:
        """The key of this point."""
        last_step = self._top.get(series_id)
        if last_step is None or step > last_step:
            self._top[series_id] = step
            return step, 0
        before = self._repeats[series_id, step] = self._repeats.get((series_id, step), 0) + 1
        return step, before
