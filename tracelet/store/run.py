"""One run on disk as an object: merges the journals of all its processes. Read side; writes nothing.

Used by the store, the command line, the dashboard and user code, on any thread but one at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracelet import guard
from tracelet.errors import JournalError
from tracelet.journal.journal_view import JournalView
from tracelet.journal.metric_summary import merge_summaries
from tracelet.journal.records import (
    Event,
    MetricDefinition,
    MetricSummary,
    Notice,
    Scalar,
    Span,
    Started,
    Status,
)  # fmt: skip
from tracelet.journal.run_folder import journal_paths
from tracelet.store import aggregation, console_lines, facts_schema, resumed_series, run_status, summaries
from tracelet.store.annotations import Annotations, read_annotations
from tracelet.store.data_frame import data_frame
from tracelet.store.delivery_state import Delivery, read_all
from tracelet.store.downsampling import downsample, downsample_chunks
from tracelet.store.fit_params import sources_of, values_of
from tracelet.store.fits import Fit, are_several, common_params, fit_of, fits_of
from tracelet.store.hyperparameters import merged, sources
from tracelet.store.metric_definitions import MetricDefinitions, RunMetric
from tracelet.store.metric_journals import chunks, holding
from tracelet.store.process_status import ProcessStatus, modified_at, process_status
from tracelet.store.pruning import status_of
from tracelet.store.run_files import RunFiles
from tracelet.store.run_info import RunInfo, make_info
from tracelet.store.series import Series, assemble
from tracelet.store.span_table import SpanTable, tabulate

if TYPE_CHECKING:
    import pandas

    from tracelet.store.notebook_views import Plot


class Run(RunFiles):
    """One run of a store. `refresh()` reads what a running process has written since."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._views: dict[Path, JournalView] = {}
        self._unreadable: dict[Path, str] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read what is new."""
        for path in journal_paths(self.path):
            try:
                if path in self._views:
                    self._views[path].refresh()
                else:
                    self._views[path] = JournalView(path)
                self._unreadable.pop(path, None)
            except (JournalError, OSError) as error:
                self._unreadable[path] = str(error)

    def __repr__(self) -> str:
        info = self.info
        return f"<tracelet.Run {info.name!r} {info.id} {info.status}, {len(self.metrics())} metrics>"

    def _repr_html_(self) -> str:
        known, found = self.definitions, sorted(self.summaries().items())
        metrics = [known.of(name, summary) for name, summary in found if not summary.automatic]
        from tracelet.store.notebook_views import run_html  # few programs show runs in a notebook

        return run_html(self.info, self.params, metrics, self.chart)

    @property
    def id(self) -> str:
        """The run's id."""
        return self.path.name

    @property
    def views(self) -> list[JournalView]:
        """The readable journals, ordered by rank and attempt; those of nodes come last."""
        return sorted((view for view in self._views.values() if view.started), key=lambda view: _order(view.started))

    @property
    def problems(self) -> list[str]:
        """One sentence for each thing that could not be read or was not recorded."""
        found = [f"{path.name}: {why}" for path, why in self._unreadable.items()]
        for view in self._views.values():
            found += [f"{view.path.name}: {sentence}" for sentence in view.damage]
            found += [f"{view.path.name}: {notice.message}" for notice in view.records(Notice)]
        return found

    @property
    def info(self) -> RunInfo:
        """Id, name, status and other fields of a list. Without a readable journal the status is `unreadable`."""
        processes = self.processes
        if not processes:
            started = Started(run=self.id, name=self.id, project="", time=modified_at(self.path), host="", pid=0)
            unreadable = Status(time=started.time, status="unreadable")
            return make_info(self.id, started, started, unreadable, 1, self.annotations)
        lead = run_status.lead_process(processes)
        status, size = status_of(self.path, processes), run_status.world_size(processes)
        return make_info(self.id, processes[0].started, lead.started, status, size, self.annotations)

    @property
    def processes(self) -> list[ProcessStatus]:
        """The training processes and their statuses, by rank and attempt."""
        return [ProcessStatus(view.started, self._ending(view)) for view in self._training() if view.started]

    @property
    def params(self) -> dict[str, Scalar]:
        """Hyperparameters by name; of a run of several fits, what they have in common. Rank 0 and later attempts
        override others.
        """
        return merged(self._first_rank_last()) if not are_several(self) else values_of(common_params(self))

    @property
    def param_sources(self) -> dict[str, str]:
        """Who gave each hyperparameter: `user`, `argparse`, `hydra`, `module`, `trainer`, ..., by name."""
        return sources(self._first_rank_last()) if not are_several(self) else sources_of(common_params(self))

    @property
    def fits(self) -> list[Fit]:
        """The trainings of the run, each with its own facts; the run itself as one, if it has not several."""
        return fits_of(self)

    def fit(self, number: int) -> Fit:
        """The fit with this number, from 1. RunNotFound if there is none."""
        return fit_of(self, number)

    @property
    def annotations(self) -> Annotations:
        """Changes made in the dashboard: the name, tags, and whether the run is pinned."""
        return read_annotations(self.path)

    @property
    def remark(self) -> Annotations:
        """Deprecated name of `annotations`."""
        guard.renamed("run.remark", "run.annotations")
        return self.annotations

    @property
    def tags(self) -> dict[str, str]:
        """Tags by name, including changes made in the dashboard."""
        given = [*(view.tags for view in self._first_rank_last()), self.annotations.tags]
        return {name: value for name, value in {k: v for tags in given for k, v in tags.items()}.items() if value}

    def _first_rank_last(self) -> list[JournalView]:
        return sorted(
            self.views, key=lambda view: (-view.started.rank, view.started.attempt) if view.started else (0, 0)
        )

    def facts(self, topic: str) -> dict[str, Any]:
        """The facts of a topic: git, environment, model; empty if there are none."""
        return facts_schema.latest(self._first_rank_last(), topic)

    @property
    def git(self) -> dict[str, Any]:
        """Commit, branch, diff, ... of the code."""
        return self.facts("git")

    @property
    def environment(self) -> dict[str, Any]:
        """Python, packages, platform, command, ..."""
        return self.facts("environment")

    @property
    def status_record(self) -> Status:
        """The run's status, with the traceback of the process that failed first."""
        return status_of(self.path, self.processes)

    def _ending(self, view: JournalView) -> Status:
        return process_status(view, [node for node in self.views if node.started and node.started.role == "node"])

    @property
    def deliveries(self) -> dict[str, Delivery]:
        """The delivery to each backend: state, delivered points, URL, and error."""
        return {delivery.backend: delivery for delivery in read_all(self.path)}

    def events(self, name: str | None = None) -> list[Event]:
        """Events (fits, early stopping, ...), by time."""
        found = [record for view in self.views for record in view.records(Event) if name in (None, record.name)]
        return sorted(found, key=lambda event: event.time)

    def console(self, stream: str | None = None, rank: int | None = None) -> list[console_lines.Line]:
        """Console lines by time: of all ranks and both streams, or of one (`stdout`, `stderr`)."""
        return console_lines.of_views(self._training(), stream, rank)

    def spans(self, name: str | None = None) -> SpanTable:
        """Spans of all processes, ordered by start; only those with one name if given."""
        return tabulate(
            ((number, view.started.rank, view.records(Span), view.spans())
             for number, view in enumerate(self.views) if view.started), name
        )  # fmt: skip

    def metrics(self) -> list[str]:
        """The names of all metrics, sorted."""
        return sorted({name for view in self.views for name in view.metrics})

    def summaries(self) -> dict[str, MetricSummary]:
        """Count, last, min and max of every metric; reads no points of runs that have ended.

        Of several ranks, and of a resumed run, those of `series` are there once the agent has worked them out, when all
        is over. Until then all that was recorded counts, on each rank and of abandoned steps too; `summary` is exact.
        """
        return summaries.summaries(self.path, self.views)

    def summary(self, name: str) -> MetricSummary:
        """Count, last, min and max of `series(name)`. KeyError if there is no such metric.

        Points are read only where several ranks have the metric, or the run was resumed.
        """
        views = holding(self.id, self.views, name, None)
        known = merge_summaries(view.metrics[name] for view in views)[name]
        if self._is_as_recorded(views):
            return known
        return summaries.of_series(self.series(name), known.automatic)

    @property
    def definitions(self) -> MetricDefinitions:
        """What the program, its libraries and the dashboard say of the metrics; reads no points."""
        records = [record for view in self._first_rank_last() for record in view.records(MetricDefinition)]
        return MetricDefinitions(records, self.annotations.goals)

    def metric(self, name: str) -> RunMetric:
        """The goal of a metric, its x axis, and its values and the best of them; a goal nobody has stated is empty."""
        return self.definitions.of(
            name, self.summary(name) if any(name in view.metrics for view in self.views) else None
        )

    def series(self, name: str, rank: int | None = None, branch: int | None = None) -> Series:
        """The points of one metric: reduced over ranks as it was logged, or of one rank. KeyError if there is none.

        For a resumed run, steps that were trained again replace the abandoned ones; `branch` gives all
        that was recorded before the first (0), the second (1), ... time.
        """
        return aggregation.aggregate(self._parts(name, rank, branch))

    def spread(self, name: str) -> aggregation.Spread:
        """The spread over ranks at each point of a metric: min, max, and how many ranks have it."""
        return aggregation.spread(self._parts(name))

    def _parts(self, name: str, rank: int | None = None, branch: int | None = None) -> list[Series]:
        """The series of each rank that has any, the lowest first."""
        resumed_at = resumed_series.resume_steps(self._training())

        def read(views: Sequence[JournalView]) -> Series:
            try:
                return assemble(name, chunks(name, views))
            except JournalError:  # looked at one by one only then, because that takes twice the time
                return assemble(name, chunks(name, views, checked=True))

        by_rank = resumed_series.by_rank(holding(self.id, self.views, name, rank))
        return [
            resumed_series.merge_branches(resumed_series.series_by_branch(views, read), branch, resumed_at)
            for views in by_rank
        ]

    def _is_as_recorded(self, views: Sequence[JournalView]) -> bool:
        """Whether a series is what these journals hold: of one rank, and superseded by no later branch."""
        latest = max((view.started.branch for view in self._training() if view.started), default=0)
        return resumed_series.is_single_branch(views, latest)

    def _training(self) -> list[JournalView]:
        return [view for view in self.views if view.started and view.started.role == "rank"]

    def chart(self, name: str, points: int = 2000, rank: int | None = None) -> Series:
        """The same series with about `points` points, spikes kept; much faster and smaller where there are millions."""
        views = holding(self.id, self.views, name, rank)
        if not self._is_as_recorded(views):
            return downsample(self.series(name, rank), points)
        total = sum(view.metrics[name].count for view in views)
        try:
            return downsample_chunks(name, chunks(name, views), total, points)
        except JournalError:
            return downsample_chunks(name, chunks(name, views, checked=True), total, points)

    def plot(self, *names: str, points: int = 2000) -> Plot:
        """Metrics over their steps, as a notebook shows them; `str()` gives SVG. KeyError without such a metric."""
        from tracelet.store.notebook_views import plotted

        return plotted(names, lambda name: self.chart(name, points))

    def to_dataframe(self) -> pandas.DataFrame:
        """All points of all metrics: columns metric, step, value, time, epoch, stage, fit. Needs pandas."""
        return data_frame(self.series(name) for name in self.metrics())


def _order(started: Started | None) -> tuple[int, int, int]:
    assert started is not None  # asked only of journals that have one
    return (started.role != "rank", started.rank, started.attempt)
