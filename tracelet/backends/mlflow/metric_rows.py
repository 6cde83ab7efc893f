"""Points as MLflow's metrics: legal names, milliseconds, and the points that a run already has.

Used by the `mlflow` backend on the courier's thread.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from tracelet.backends.base import SeriesPart
from tracelet.backends.legal_names import legal_name
from tracelet.backends.mlflow.timestamps import UniqueTimestamps

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

MAX_NAME_LENGTH = 230
"""MLflow takes 250; the tag that keeps the original name is longer than the legal one by a prefix."""
FORBIDDEN = re.compile(r"[^/\w.\- ]")
"""Newer versions accept colons; an old server would refuse all points with such a name."""
NOT_NORMALIZED = re.compile(r"^/|^\.\.?(/|$)|/\.\.?(/|$)|//|/$")
"""MLflow accepts a name only if it is a normalized relative path."""
MAX_VALUE = 1.7976931348623157e308
"""MLflow's databases store this number for an infinity."""
SYSTEM = "system/"
"""The metrics that MLflow shows on its page of system metrics."""

MetricIdentity = tuple[str, int, int, str]


@dataclass(frozen=True)
class Row:
    """One point in MLflow's form, and its source."""

    metric: Metric
    part: SeriesPart
    place: int

    def identity(self) -> MetricIdentity:
        """The fields by which MLflow identifies a metric value."""
        return _identity(self.metric)

    def named(self, key: str) -> Metric:
        """The metric under this key."""
        from mlflow.entities import Metric

        own = self.metric
        return own if own.key == key else Metric(key, own.value, own.timestamp, own.step)

    def record(self) -> SeriesPart:
        """The point alone, as the backend received it."""
        here, part = slice(self.place, self.place + 1), self.part
        return replace(
            part,
            steps=part.steps[here],
            values=part.values[here],
            times=part.times[here],
            epochs=part.epochs[here],
            frames=part.frames[here],
        )


def legal_key(name: str) -> str:
    """The name as MLflow accepts it."""
    tidy = name.replace("/", "\\").replace("..", ".\\") if NOT_NORMALIZED.search(name) else name
    return legal_name(tidy, FORBIDDEN, MAX_NAME_LENGTH)


def metric_rows(parts: Sequence[SeriesPart], stamps: UniqueTimestamps) -> Iterator[Row]:
    """One row per point, at its own time."""
    from mlflow.entities import Metric

    for part in parts:
        key = metric_key(part)
        for place, (step, value, time) in enumerate(zip(part.steps, part.values, part.times)):
            yield Row(Metric(key, value, stamps.stamp(key, step, _text(value), time), step), part, place)


def metric_key(part: SeriesPart) -> str:
    """The name of the part's points in MLflow."""
    return legal_key(SYSTEM + part.name if part.system and not part.name.startswith(SYSTEM) else part.name)


def missing_rows(
    rows: Sequence[Row], client: MlflowClient, run_id: str, moved: Mapping[str, str] = MappingProxyType({})
) -> list[Row]:
    """The rows that the run does not have yet. `moved`: keys that have another name there."""
    there: Counter[MetricIdentity] = Counter()
    for key in {row.metric.key for row in rows}:
        history = client.get_metric_history(run_id, moved.get(key, key))
        there.update((key, *_identity(metric)[1:]) for metric in history)
    left = []
    for row in rows:
        identity = row.identity()
        if there[identity]:
            there[identity] -= 1
        else:
            left.append(row)
    return left


def _identity(metric: Metric) -> MetricIdentity:
    return metric.key, metric.step, metric.timestamp, _text(metric.value)


def _text(value: float) -> str:
    """The value as MLflow returns it."""
    return "nan" if value != value else repr(max(-MAX_VALUE, min(MAX_VALUE, float(value))))
