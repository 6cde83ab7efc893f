"""Selects the spans to deliver and export by name: all, those on a list, or all but those on a list.

Used by exports and backends, in any process. A span that is not selected takes its events with it; its children move up
to the nearest selected ancestor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

ALL = "all"


@dataclass(frozen=True)
class Selection:
    """The selection. An empty `allowed` means everything that is not denied."""

    allowed: frozenset[str] = frozenset()
    denied: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, spans: str | Iterable[str] = ALL, deny: str | Iterable[str] = "") -> Selection:
        """From settings or options: names as a list or separated by commas; `all` allows every name."""
        allowed = _names(spans)
        return cls(frozenset() if ALL in allowed else allowed, _names(deny))

    @property
    def everything(self) -> bool:
        """Whether everything is selected."""
        return not self.allowed and not self.denied

    def includes(self, name: str) -> bool:
        """Whether spans with this name are selected."""
        return name not in self.denied and (not self.allowed or name in self.allowed)

    def parent(self, number: int, known: Mapping[int, tuple[str, int]]) -> int:
        """The nearest selected span from this id upwards; `known` has name and parent by id; 0 if there is none."""
        for _ in range(len(known) + 1):
            if number not in known:
                return number if self.everything else 0
            name, above = known[number]
            if self.includes(name):
                return number
            number = above
        return 0


def _names(given: str | Iterable[str]) -> frozenset[str]:
    parts = given.split(",") if isinstance(given, str) else given
    return frozenset(part.strip() for part in parts if part.strip())
