"""The fits of a run, each with its own parameters, metrics, checkpoints and end.

Created by `Run.fits` on the reading side; reads what the run reads, on demand, and writes nothing. A run with one fit,
or recorded before records said which fit they belong to, is itself that fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from tracelet.errors import RunNotFound
from tracelet.journal.fit_events import FIT_FINISHED, FIT_STARTED, ends_fit
from tracelet.journal.journal_view import JournalView
from tracelet.journal.metric_summary import merge_summaries
from tracelet.journal.records import (
    FINISHED,
    Artifact,
    Event,
    MetricSummary,
    Params,
    Record,
    Scalar,
)
from tracelet.store import facts_schema, fit_params, resumed_series, summaries
from tracelet.store.checkpoints import best_of
from tracelet.store.downsampling import downsample
from tracelet.store.fit_params import FitParams, Given, Table
from tracelet.store.run_info import RunInfo
from tracelet.store.series import Series

OUTSIDE = 0
"""The number of what belongs to no fit."""
PROGRAM = "program"
"""As the library of a fit: the program itself said where it begins and ends."""


class _RecordedRun(Protocol):
    """What a fit reads of its run."""

    @property
    def id(self) -> str: ...
    @property
    def info(self) -> RunInfo: ...
    @property
    def views(self) -> list[JournalView]: ...
    @property
    def params(self) -> dict[str, Scalar]: ...
    @property
    def param_sources(self) -> dict[str, str]: ...
    @property
    def artifacts(self) -> list[Artifact]: ...
    def facts(self, topic: str) -> dict[str, Any]: ...
    def events(self) -> list[Event]: ...
    def metrics(self) -> list[str]: ...
    def summaries(self) -> dict[str, MetricSummary]: ...
    def summary(self, name: str) -> MetricSummary: ...
    def series(self, name: str, rank: int | None = None) -> Series: ...
    def chart(self, name: str, points: int = 2000) -> Series: ...


class Fit:
    """One training of a run, and the evaluations of what it trained. It sees what its run has read."""

    def __init__(self, run: _RecordedRun, number: int, whole: bool = False) -> None:
        self.run = run
        self.number = number
        """From 1, in the order in which they began."""
        self.whole = whole
        """Whether it is all of its run."""

    def __repr__(self) -> str:
        return f"<tracelet.Fit {self.name}>"

    @property
    def name(self) -> str:
        """`RUN:2`, as commands take it; the run's id if it is all of the run."""
        return self.run.id if self.whole else f"{self.run.id}:{self.number}"

    @property
    def params(self) -> dict[str, Scalar]:
        """The fit's hyperparameters, those given before it for all or for this fit among them."""
        return self.run.params if self.whole else fit_params.values_of(self._params())

    @property
    def param_sources(self) -> dict[str, str]:
        """Who gave each of them; see `Run.param_sources`."""
        return self.run.param_sources if self.whole else fit_params.sources_of(self._params())

    def _params(self) -> Table:
        return table_of(_params_by_journal(self.run), self.number)

    def metrics(self) -> list[str]:
        """The names of the fit's metrics, sorted."""
        return self.run.metrics() if self.whole else sorted(self.summaries())

    def summaries(self) -> dict[str, MetricSummary]:
        """Count, last, min and max of every metric, without reading points; see `Run.summaries`."""
        if self.whole:
            return self.run.summaries()
        found = (metrics_of(view, self.number) for view in self._views())
        return merge_summaries(summary for metrics in found for summary in metrics.values())

    def summary(self, name: str) -> MetricSummary:
        """Count, last, min and max of `series(name)`. KeyError if the fit has no such metric."""
        if self.whole:
            return self.run.summary(name)
        if name not in (known := self.summaries()):
            raise KeyError(self._lacks(name))
        if resumed_series.is_single_branch(view for view in self._views() if name in metrics_of(view, self.number)):
            return known[name]
        return summaries.of_series(self.series(name), known[name].automatic)

    def series(self, name: str, rank: int | None = None) -> Series:
        """The fit's points of a metric; see `Run.series`. KeyError if it has none."""
        series = self.run.series(name, rank)
        if not self.whole:
            series = series.only(fit=self.number)
            if not len(series):
                raise KeyError(self._lacks(name))
        return series

    def chart(self, name: str, points: int = 2000) -> Series:
        """The same with about `points` points, spikes kept."""
        return self.run.chart(name, points) if self.whole else downsample(self.series(name), points)

    def _lacks(self, name: str) -> str:
        return f"fit {self.number} of run {self.run.id} has no metric {name!r}"

    def _views(self) -> list[JournalView]:
        return _training(self.run)

    @property
    def checkpoints(self) -> list[Artifact]:
        """The checkpoints that it saved, in their order."""
        saved = [artifact for artifact in self.run.artifacts if artifact.kind == "checkpoint"]
        return saved if self.whole else [artifact for artifact in saved if artifact.metadata.get("fit") == self.number]

    @property
    def best_checkpoint(self) -> Artifact | None:
        """The best of them by the metric that was monitored; None if none was."""
        return best_of(self.checkpoints)

    @property
    def model(self) -> dict[str, Any]:
        """Class, size and layers of what was trained."""
        if self.whole:
            return self.run.facts("model")
        return facts_schema.latest(_first_rank_last(self.run), "model", self.number)

    @property
    def events(self) -> list[Event]:
        """The events that name the fit, by time: its beginning and end, early stopping, evaluations."""
        return [event for event in self.run.events() if self.number in _numbers_in(event)]

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        """How each test, validation or prediction of what was fitted ended: `kind status seconds reason ...`."""
        ends = [event.attributes for event in self.events if event.name == FIT_FINISHED]
        return [dict(found) for found in ends if found.get("kind", "fit") != "fit"]

    @property
    def ending(self) -> dict[str, Any]:
        """What is known of its end: `status reason seconds epochs steps best_checkpoint ...`; empty while it runs."""
        ends = [event.attributes for event in self.events if ends_fit(event)]
        found = {name: value for end in ends if end.get("library") != PROGRAM for name, value in end.items()}
        for block in (end for end in ends if end.get("library") == PROGRAM):
            # A library's fit inside the program's block knows more, unless it was the block that raised.
            told = {"seconds"} if found and block.get("status") == FINISHED else block.keys()
            found.update({name: block[name] for name in told if name in block})
        return found

    @property
    def status(self) -> str:
        """running, finished, failed, interrupted, preempted or killed."""
        return str(self.ending.get("status") or self.run.info.status)  # without an end of its own it ended with its run

    @property
    def reason(self) -> str:
        """Why it ended, if that is known."""
        ending = self.ending
        return str(ending.get("reason") or "") if ending else self.run.info.reason

    @property
    def started(self) -> float:
        """When it began, in seconds since the epoch."""
        times = [event.time for event in self.events if event.name == FIT_STARTED]
        return min(times) / 1e6 if times else self.run.info.started

    @property
    def ended(self) -> float | None:
        """When it ended; None while it runs."""
        times = [event.time for event in self.events if ends_fit(event)]
        return max(times) / 1e6 if times else self.run.info.ended

    @property
    def duration(self) -> float:
        """Seconds that it took, or has taken so far."""
        seconds = self.ending.get("seconds")
        if isinstance(seconds, (int, float)):
            return float(seconds)
        return self.run.info.duration - (self.started - self.run.info.started)


def _numbers_in(event: Event) -> tuple[Any, ...]:
    found = event.attributes
    return (found.get("fit"), found.get("number") if event.name in (FIT_STARTED, FIT_FINISHED) else None)


def _training(run: _RecordedRun) -> list[JournalView]:
    return [view for view in run.views if view.started and view.started.role == "rank"]


def _first_rank_last(run: _RecordedRun) -> list[JournalView]:
    """The journals of training processes; what one says overrides what those before it say."""
    return sorted(_training(run), key=lambda one: (-one.started.rank, one.started.attempt) if one.started else (0, 0))


def numbers(run: _RecordedRun) -> list[int]:
    """The numbers of a run's fits if there are several; else none."""
    found = {number for view in _training(run) if _is_by_fit(view) for number in view.fit_metrics} - {OUTSIDE}
    return sorted(found) if len(found) > 1 else []


def are_several(run: _RecordedRun) -> bool:
    """Whether the run has several fits, each with facts of its own. Reads no record of a sealed journal."""
    return bool(numbers(run))


def _is_by_fit(view: JournalView) -> bool:
    return view.started is not None and view.started.by_fit


def fits_of(run: _RecordedRun) -> list[Fit]:
    """All fits; the run itself as one if there are not several."""
    return [Fit(run, number) for number in numbers(run)] or [Fit(run, 1, whole=True)]


def fit_of(run: _RecordedRun, number: int) -> Fit:
    """The fit with this number."""
    known = {fit.number: fit for fit in fits_of(run)}
    if number not in known:
        have = f"fits {', '.join(map(str, known))}" if len(known) > 1 else "one fit"
        raise RunNotFound(f"run {run.id} has no fit {number}: it has {have}. List them: tracelet show {run.id}")
    return known[number]


def metrics_of(view: JournalView, number: int) -> dict[str, MetricSummary]:
    """The metrics of a fit in one journal; of one that has no second fit, all."""
    if not view.fit_metrics:
        return view.metrics if number == 1 and _is_by_fit(view) else {}
    return view.fit_metrics.get(number, {})


def outside_summaries(run: _RecordedRun) -> dict[str, MetricSummary]:
    """Of a run of several fits, the metrics that were logged outside of all, and in none of them."""
    views = _training(run)
    inside = {name for view in views for fit, found in view.fit_metrics.items() if fit != OUTSIDE for name in found}
    found = merge_summaries(one for view in views for one in view.fit_metrics.get(OUTSIDE, {}).values())
    return {name: summary for name, summary in found.items() if name not in inside}


def common_params(run: _RecordedRun) -> Table:
    """What all fits of a run have alike, and what the program gave after the last one had begun."""
    journals = _params_by_journal(run)
    tables = [table_of(journals, number) for number in numbers(run)]
    outside: dict[str, Given] = {}
    for found in journals:
        outside.update(found.outside)
    return {**outside, **fit_params.common(tables)}


def table_of(journals: list[FitParams], number: int) -> Table:
    """The parameters of one fit; those of rank 0 and of later attempts override others."""
    table: dict[str, Given] = {}
    for found in journals:
        mine: Mapping[str, Given] = found.fits.get(number, {})
        table.update(mine)
    return table


def _params_by_journal(run: _RecordedRun) -> list[FitParams]:
    return [fit_params.by_fit(_ordered(view)) for view in _first_rank_last(run)]


def _ordered(view: JournalView) -> list[Record]:
    return [record for record in view.records(Record) if isinstance(record, (Params, Event))]
