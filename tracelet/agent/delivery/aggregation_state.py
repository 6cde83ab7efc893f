"""What a gatherer remembers of each series over all ranks: the parts that have come, and how far it has written.

Used by `gathering`, under its lock. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tracelet.agent.delivery.reduction import Part

Line = tuple[str, str, int, bool]
"""(name, stage, fit, automatic): what is reduced together"""
Key = tuple[int, int]
"""(step, how often it came before)"""


@dataclass
class Slot:
    """One step of a line: the parts that have come."""

    since: float
    parts: dict[int, Part] = field(default_factory=dict)
    stamps: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Rank to (time, epoch)."""


@dataclass
class Track:
    """One line, as far as it has been gathered."""

    reduce: str
    slots: dict[Key, Slot] = field(default_factory=dict)
    top: int | None = None
    """The greatest step that is written."""
    again: set[Key] = field(default_factory=set)
    """Steps written that came out of order, or repeatedly."""
    absent: set[int] = field(default_factory=set)
    """Ranks that were waited for in vain and never wrote any of it."""

    def written(self, key: Key) -> bool:
        """Whether it is too late for this key."""
        step, before = key
        return key in self.again if before else self.top is not None and step <= self.top

    def mark(self, key: Key) -> None:
        """Remember that it is written."""
        if key[1]:
            self.again.add(key)
        else:
            self.top = key[0] if self.top is None else max(self.top, key[0])


class Counter:
    """How often each step of a line came before, on one rank. Steps that only ever grow cost nothing."""

    def __init__(self) -> None:
        self._top: dict[Line, int] = {}
        self._repeats: dict[tuple[Line, int], int] = {}

    def key(self, line: Line, step: int) -> Key:
        """The key of this point."""
        top = self._top.get(line)
        if top is None or step > top:
            self._top[line] = step
            return step, 0
        before = self._repeats[line, step] = self._repeats.get((line, step), 0) + 1
        return step, before
