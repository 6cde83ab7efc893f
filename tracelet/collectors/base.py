"""What a collector is. Called by the scheduler's thread, or the agent; never on the training thread.

A collector reads one thing about the machine or the code. It imports third-party libraries inside its methods, keeps no
thread of its own, writes no file, and may raise anything: the scheduler guards every call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Collector(Protocol):
    """Reads numbers about the machine every `every` seconds."""

    name: str
    """The prefix of its metrics: `system/cpu_percent` comes from the collector `system`."""
    every: float
    """Seconds between two samples; 0 leaves it to the user's `metrics_interval`."""

    def start(self) -> None:
        """Prepare to sample; raise `tracelet.errors.Absent` when there is nothing to read on this machine."""

    def sample(self) -> Mapping[str, float]:
        """One reading: metric name without prefix to number, units in the name or in the docs."""

    def stop(self) -> None:
        """Release what `start` took."""


@runtime_checkable
class FactCollector(Protocol):
    """Reads, once, what does not change during a run."""

    topic: str
    """The topic of the `Facts` record that holds the answer: git, environment."""

    def collect(self) -> Mapping[str, Any]:
        """The facts, msgpack-able and of bounded size; raise `Absent` when there are none."""


@runtime_checkable
class RefreshableFacts(FactCollector, Protocol):
    """Facts of which more may be known later; a later answer replaces the earlier one."""

    def stale(self) -> bool:
        """Whether asking again would tell more; asked at every wake of the scheduler, so it must cost nothing."""
