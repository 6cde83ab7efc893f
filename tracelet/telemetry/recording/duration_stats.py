"""Count, sum, min and max of durations that repeat, over the whole run and over the last window.

Called on the thread that measures. Memory and cost per duration are constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

NANO = 1e9
"""Nanoseconds in a second."""


class DurationStats:
    """Count, sum, min and max of durations in nanoseconds."""

    __slots__ = ("count", "max", "min", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0
        self.min = 0
        self.max = 0

    def add(self, duration: int) -> None:
        """Take one duration."""
        self.extend((duration,))

    def extend(self, durations: Sequence[int]) -> None:
        """Take several durations."""
        if not durations:
            return
        shortest, longest = min(durations), max(durations)
        self.min = min(self.min, shortest) if self.count else shortest
        self.max = max(self.max, longest)
        self.count += len(durations)
        self.total += sum(durations)

    @property
    def mean(self) -> float:
        """Seconds; 0 before the first."""
        return self.total / self.count / NANO if self.count else 0.0

    def seconds(self, subject: str) -> dict[str, Any]:
        """Attributes in seconds: avg_SUBJECT_sec, min_..., max_..., total_...; nothing before the first."""
        if not self.count:
            return {}
        return {
            f"avg_{subject}_sec": self.mean, f"min_{subject}_sec": self.min / NANO,
            f"max_{subject}_sec": self.max / NANO, f"total_{subject}_sec": self.total / NANO,
        }  # fmt: skip
