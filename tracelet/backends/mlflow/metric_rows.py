"""Points as MLflow's metrics: legal names, milliseconds, and which of them a run has already.

Used by the `mlflow` backend on the courier's thread.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tracelet.backends.base import SeriesPart
from tracelet.backends.legal_names import legal

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

LONGEST_NAME = 230
"""MLflow takes 250; the tag that keeps the original name is longer than the legal one by a prefix."""
FORBIDDEN = re.compile(r"[^/\w.\- ]")
"""Newer versions take colons; a server of the oldest would refuse all points of such a name."""
UNTIDY = re.compile(r"^/|^\.\.?(/|$)|/\.\.?(/|$)|//|/$")
"""MLflow takes a name only if it is a normalised relative path."""
LARGEST = 1.7976931348623157e308
"""MLflow's databases hold this number where an infinity was logged."""
SYSTEM = "system/"
"""What MLflow shows on its page of system metrics."""

Mark = tuple[str, int, int, str]


@dataclass(frozen=True)
class Row:
    """One point as MLflow takes it, and where it comes from."""

    metric: Metric
    part: SeriesPart
    place: int

    def mark(self) -> Mark:
        """What makes two metrics the same to MLflow."""
        return _mark(self.metric)

    def record(self) -> SeriesPart:
        """The point alone, as it was given to the backend."""
        here, part = slice(self.place, self.place + 1), self.part
        return replace(
            part, steps=part.steps[here], values=part.values[here], times=part.times[here], epochs=part.epochs[here]
        )


def legal_key(name: str) -> str:
    """The name as MLflow takes it."""
    tidy = name.replace("/", "\\").replace("..", ".\\") if UNTIDY.search(name) else name
    return legal(tidy, FORBIDDEN, LONGEST_NAME)


def metric_rows(parts: Sequence[SeriesPart]) -> Iterator[Row]:
    """One row for each point. The same parts always give the same rows."""
    from mlflow.entities import Metric

    seen: set[Mark] = set()
    for part in parts:
        key = legal_key(SYSTEM + part.name if part.system and not part.name.startswith(SYSTEM) else part.name)
        for place, (step, value, time) in enumerate(zip(part.steps, part.values, part.times)):
            stamp = round(time * 1000)
            # MLflow keeps one of several points that agree in everything: the next millisecond tells them apart.
            while (mark := (key, step, stamp, _text(value))) in seen:
                stamp += 1
            seen.add(mark)
            yield Row(Metric(key, value, stamp, step), part, place)


def missing(rows: Sequence[Row], client: MlflowClient, run_id: str) -> list[Row]:
    """The rows that the run does not have yet."""
    there: Counter[Mark] = Counter()
    for key in {row.metric.key for row in rows}:
        there.update(_mark(metric) for metric in client.get_metric_history(run_id, key))
    left = []
    for row in rows:
        mark = row.mark()
        if there[mark]:
            there[mark] -= 1
        else:
            left.append(row)
    return left


def _mark(metric: Metric) -> Mark:
    return metric.key, metric.step, metric.timestamp, _text(metric.value)


def _text(value: float) -> str:
    """The value as MLflow gives it back."""
    return "nan" if value != value else repr(max(-LARGEST, min(LARGEST, float(value))))
