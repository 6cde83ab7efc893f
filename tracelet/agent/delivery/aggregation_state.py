"""The state of rank aggregation: for each series, the steps that wait for ranks and the steps already written.

Used by `rank_aggregation`, under its lock. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tracelet.agent.delivery.reduction import RankValue

SeriesId = tuple[str, str, int, bool]
"""(name, stage, fit, automatic): what is reduced together"""
StepKey = tuple[int, int]
"""(step, how often it came before)"""


@dataclass
class PendingStep:
    """One step of a line: the parts that have come."""

    since: float
    parts: dict[int, RankValue] = field(default_factory=dict)
    stamps: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Rank to (time, epoch)."""


@dataclass
class SeriesState:
    """One line, as far as it has been gathered."""

    reduce: str
    pending_steps: dict[StepKey, PendingStep] = field(default_factory=dict)
    last_step: int | None = None
    """The greatest step that is written."""
    repeated: set[StepKey] = field(default_factory=set)
    """Steps written that came out of order, or repeatedly."""
    given_up_ranks: set[int] = field(default_factory=set)
    """Ranks that were waited for in vain and never wrote any of it."""

    def written(self, key: StepKey) -> bool:
        """Whether it is too late for this key."""
        step, before = key
        return key in self.repeated if before else self.last_step is not None and step <= self.last_step

    def mark_written(self, key: StepKey) -> None:
        """Remember that it is written."""
        if key[1]:
            self.repeated.add(key)
        else:
            self.last_step = key[0] if self.last_step is None else max(self.last_step, key[0])


class RepeatCounter:
    """How often each step of a line came before, on one rank. Steps that only ever grow cost nothing."""

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
