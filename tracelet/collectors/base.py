"""The collector interface. The scheduler's thread or the agent calls it; never the training thread.

A collector reads one aspect of the machine or the code. It imports third-party libraries inside its methods, keeps no
thread of its own, writes no file, and may raise anything: the scheduler guards every call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Collector(Protocol):
    """Samples numbers about the machine every `every` seconds."""

    name: str
    """The prefix of its metrics: `system/cpu_percent` comes from the collector `system`."""
    every: float
    """Seconds between two samples; 0 means the user's `metrics_interval`."""

    def start(self) -> None:
        """Prepare to sample; raise `tracelet.errors.Absent` if this machine has nothing to sample."""

    def sample(self) -> Mapping[str, float]:
        """One sample: metric name without prefix to number; the unit is in the name or in the docs."""

    def stop(self) -> None:
        """Release what `start` acquired."""


@runtime_checkable
class FactCollector(Protocol):
    """Reads once what does not change during a run."""

    topic: str
    """The topic of its `Facts` record: git, environment."""

    def collect(self) -> Mapping[str, Any]:
        """The facts, msgpack-able and of bounded size; raise `Absent` if there are none."""


@runtime_checkable
class RefreshableFacts(FactCollector, Protocol):
    """Facts that may become more complete later; a later answer replaces the earlier one."""

    def stale(self) -> bool:
        """Whether collecting again would return more. Called whenever the scheduler wakes, so it must cost nothing."""
