"""What a sweep optimizes: the metric, its goal, and which of two values is better. Pure; NaN is the worst value."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

MINIMIZE, MAXIMIZE = "minimize", "maximize"
GOALS = (MINIMIZE, MAXIMIZE)
IMPUTE = ("worst", "best", "latest")


@dataclass(frozen=True)
class Objective:
    """The `metric` of a configuration."""

    name: str
    goal: str = MINIMIZE
    target: float | None = None
    """The sweep ends when a trial reaches it."""
    impute: str = "worst"
    """The value that a failed trial counts with in a search with `method: bayes`."""

    def cost(self, value: float) -> float:
        """A number that is lower for a better value; infinite for NaN."""
        if value != value:
            return math.inf
        return -value if self.goal == MAXIMIZE else value

    def best(self, values: Iterable[float]) -> float | None:
        """The best of the values; None if there are none."""
        return min(values, key=self.cost, default=None)

    def worst(self, values: Iterable[float]) -> float | None:
        """The worst of the values that are numbers; None if there are none."""
        return max((value for value in values if value == value), key=self.cost, default=None)

    def reaches_target(self, value: float) -> bool:
        """Whether this value ends the sweep."""
        return self.target is not None and value == value and self.cost(value) <= self.cost(self.target)
