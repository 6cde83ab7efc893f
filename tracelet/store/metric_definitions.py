"""What is known of the metrics of a run besides their points: goal, x axis, and the value that summarizes each.

Reading side; pure. The dashboard's annotation comes first, then what the program said with `define_metric`, then the
libraries. Nothing is guessed from a name: a goal that nobody has stated is unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from tracelet.journal.metric_definition import MAX, MIN, MetricDefinition
from tracelet.journal.records import MetricSummary

DASHBOARD, USER = "dashboard", "user"
FORKS = ("_epoch", "_step")
"""Lightning monitors `loss` where it logs `loss_step` and `loss_epoch`."""
UNKNOWN = "unknown"
"""The annotation that removes a goal."""


@dataclass(frozen=True)
class RunMetric:
    """A metric of a run: its definition, and its values if the run has any."""

    name: str
    goal: str = ""
    """`min` where lower is better, `max` where higher is better, empty where nobody has said."""
    source: str = ""
    """Who stated the goal: `user`, `dashboard`, `lightning`, `torchmetrics`, ..."""
    x: str = "step"
    """The x axis: step, epoch, time, relative, or the name of a metric."""
    summary: str = "last"
    """Which value stands for the series in lists: last, min, max, best."""
    values: MetricSummary | None = None

    @property
    def value(self) -> float | None:
        """The value that `summary` names; None without points, or for the best value of a metric without a goal."""
        if self.values is None:
            return None
        return self.best if self.summary == "best" else float(getattr(self.values, self.summary))

    @property
    def best(self) -> float | None:
        """The minimum or the maximum, as the goal says; None if the goal is unknown or there are no points."""
        if self.values is None or not self.goal:
            return None
        return self.values.min if self.goal == MIN else self.values.max

    @property
    def best_step(self) -> int | None:
        """The step of the best value."""
        if self.values is None or not self.goal:
            return None
        return self.values.min_step if self.goal == MIN else self.values.max_step


class MetricDefinitions:
    """The definitions of one run, by name and by pattern."""

    def __init__(self, records: Iterable[MetricDefinition], annotated: Mapping[str, str]) -> None:
        """`records`: in the order in which they were written. `annotated`: goals set in the dashboard, by name."""
        ordered = sorted(records, key=lambda record: record.source == USER)  # stable: the program's own words are last
        self._exact: dict[str, list[MetricDefinition]] = {}
        self._patterns: list[MetricDefinition] = []
        for record in ordered:
            if any(sign in record.name for sign in "*?["):
                self._patterns.append(record)
            self._exact.setdefault(record.name, []).append(record)
        self._annotated = annotated

    def of(self, name: str, values: MetricSummary | None = None) -> RunMetric:
        """What is known of the metric with this name; a name beats a pattern, and a later statement an earlier one."""
        found = RunMetric(name, values=values)
        for record in (*self._forks(name), *self._matching(name), *self._exact.get(name, ())):
            if record.goal:
                found = replace(found, goal=record.goal, source=record.source)
            found = replace(found, x=record.x or found.x, summary=record.summary or found.summary)
        goal = self._annotated.get(name, "")
        if goal:
            found = replace(found, goal=goal if goal in (MIN, MAX) else "", source=DASHBOARD)
        return found

    def _matching(self, name: str) -> list[MetricDefinition]:
        return [record for record in self._patterns if fnmatchcase(name, record.name)]

    def _forks(self, name: str) -> list[MetricDefinition]:
        stems = [name.removesuffix(fork) for fork in FORKS if name.endswith(fork)]
        return [record for stem in stems for record in self._exact.get(stem, ()) if record.source != USER]


def common_goal(metrics: Iterable[RunMetric]) -> str:
    """The goal of one metric in several runs: unknown if none states one, or if they contradict each other."""
    goals = {metric.goal for metric in metrics if metric.goal}
    return goals.pop() if len(goals) == 1 else ""
