"""What a footer says of each metric, of the whole journal and of each fit. Frozen; part of `records`."""

from __future__ import annotations

import msgspec

from tracelet import guard
from tracelet.journal.record_base import Int64


class MetricSummary(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is known of one metric without reading its points. NaN is never the min or the max."""

    name: str
    count: Int64
    last: float
    last_step: int
    last_time: Int64
    min: float
    min_step: int
    max: float
    max_step: int
    automatic: bool = False

    @property
    def least(self) -> float:
        """The old name of `min`."""
        guard.renamed("summary.least", "summary.min")
        return self.min

    @property
    def least_step(self) -> int:
        """The old name of `min_step`."""
        guard.renamed("summary.least_step", "summary.min_step")
        return self.min_step

    @property
    def greatest(self) -> float:
        """The old name of `max`."""
        guard.renamed("summary.greatest", "summary.max")
        return self.max

    @property
    def greatest_step(self) -> int:
        """The old name of `max_step`."""
        guard.renamed("summary.greatest_step", "summary.max_step")
        return self.max_step


class FitMetrics(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is known of the metrics of one fit without reading its points."""

    number: Int64
    metrics: list[MetricSummary]
