"""Records whether lower or higher is better, as a library says of a metric: in the mode of a monitor, for example.

Used by integrations, on the user's threads, a few times per training. Never guesses from a name.
"""

from __future__ import annotations

import time
from typing import Any

from tracelet.guard import guard
from tracelet.integrations.base import Sink
from tracelet.journal.metric_definition import GOALS, MAX, MIN, MetricDefinition


class MetricGoals:
    """The goals that one library has stated in this process; each is recorded once."""

    def __init__(self, sink: Sink, source: str) -> None:
        self._sink = sink
        self._source = source
        self._stated: dict[tuple[str, str], str] = {}

    def state(self, name: Any, goal: Any, source: str = "") -> None:
        """The library has said so. Anything but a name and `min` or `max` is none of it."""
        source = source or self._source
        if not isinstance(name, str) or not name or goal not in GOALS or self._stated.get((name, source)) == goal:
            return
        self._stated[name, source] = goal
        self._sink.emit(MetricDefinition(time=time.time_ns() // 1000, name=name, goal=goal, source=source))

    def state_torchmetric(self, name: str, metric: Any) -> None:
        """A torchmetrics object has been logged under this name."""
        with guard("reading whether higher values of a metric are better"):
            higher = getattr(metric, "higher_is_better", None)
            if isinstance(higher, bool):
                self.state(name, MAX if higher else MIN, "torchmetrics")
