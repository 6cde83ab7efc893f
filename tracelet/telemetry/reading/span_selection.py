"""Which spans are delivered and exported: all, those on a list, or all but those on a list, by name.

Used by exports and backends, in any process. A span that is left out takes its events with it; its children move up to
the nearest ancestor that is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

ALL = "all"


@dataclass(frozen=True)
class Selection:
    """What to keep. An empty `allowed` means everything that is not denied."""

    allowed: frozenset[str] = frozenset()
    denied: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, spans: str | Iterable[str] = ALL, deny: str | Iterable[str] = "") -> Selection:
        """From settings or options: names as a list or separated by commas; `all` allows every name."""
        allowed = _names(spans)
        return cls(frozenset() if ALL in allowed else allowed, _names(deny))

    @property
    def everything(self) -> bool:
        """Whether nothing is left out."""
        return not self.allowed and not self.denied

    def includes(self, name: str) -> bool:
        """Whether spans of this name are kept."""
        return name not in self.denied and (not self.allowed or name in self.allowed)

    def parent(self, number: int, known: Mapping[int, tuple[str, int]]) -> int:
        """The nearest kept span from this id upwards; `known` gives name and parent by id; 0 where there is none."""
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
