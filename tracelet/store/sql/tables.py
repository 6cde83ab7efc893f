"""The tables that SQL sees, as Arrow record batches: runs, params, tags, metrics, points, spans, events, artifacts.

Used by `sql.query`, on the caller's thread. Reads runs one after the other, so that memory does not grow with the
store. Times are UTC, in microseconds. Imports pyarrow, when a table is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from tracelet.store.run import Run

if TYPE_CHECKING:
    import pyarrow

    Columns = dict[str, Any]

BATCH = 100_000
"""Points in a record batch: enough that the engine is busy, little enough for any memory."""


class Column(NamedTuple):
    """A column of a table."""

    name: str
    type: str
    doc: str


class Source(NamedTuple):
    """A run, and the metrics of it that are read (all if no name is given)."""

    run: Run
    metrics: Collection[str]

    def reads(self, metric: str) -> bool:
        """Whether this metric is read."""
        return not self.metrics or metric in self.metrics


class Table(NamedTuple):
    """A table: its columns, and how the rows of a run are read, as columns of equal lengths."""

    columns: tuple[Column, ...]
    read: Callable[[Source], Iterable[Columns]]

    def schema(self) -> pyarrow.Schema:
        """The table's Arrow schema."""
        import pyarrow

        types = {"list<string>": pyarrow.list_(pyarrow.string()), "timestamp": pyarrow.timestamp("us")}
        return pyarrow.schema([(one.name, types.get(one.type, one.type)) for one in self.columns])

    def batches(self, runs: Iterable[Run], metrics: Collection[str] = ()) -> pyarrow.RecordBatchReader:
        """The rows of these runs."""
        import pyarrow

        schema = self.schema()

        def read() -> Iterator[pyarrow.RecordBatch]:
            for run in runs:
                for columns in self.read(Source(run, metrics)):
                    yield pyarrow.RecordBatch.from_pydict(columns, schema=schema)

        return pyarrow.RecordBatchReader.from_batches(schema, read())


def _microseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1e6)


def _by_column(table: str, rows: Iterable[tuple[Any, ...]]) -> Iterator[Columns]:
    """The rows of a run as one set of columns, if there are any."""
    listed = list(rows)
    if listed:
        yield {column.name: list(values) for column, values in zip(TABLES[table].columns, zip(*listed))}


def _runs(source: Source) -> Iterator[Columns]:
    info = source.run.info
    fields = [
        info.id, info.name, info.project, info.status, info.reason, _microseconds(info.started),
        _microseconds(info.ended), info.duration, info.host, info.world_size, " ".join(info.command), info.folder,
        info.version, info.resumed_from, list(info.backends), info.pinned,
    ]  # fmt: skip
    yield from _by_column("runs", [tuple(fields)])


def _params(source: Source) -> Iterator[Columns]:
    sources = source.run.param_sources
    yield from _by_column(
        "params",
        (
            (source.run.id, name, _text(value), _number(value), sources.get(name, ""))
            for name, value in source.run.params.items()
        ),
    )


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, bool) else repr(value)


def _number(value: Any) -> float | None:
    if not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _tags(source: Source) -> Iterator[Columns]:
    yield from _by_column("tags", ((source.run.id, name, value) for name, value in source.run.tags.items()))


def _metrics(source: Source) -> Iterator[Columns]:
    yield from _by_column(
        "metrics",
        (
            (
                source.run.id,
                name,
                s.count,
                s.last,
                s.last_step,
                s.last_time,
                s.min,
                s.min_step,
                s.max,
                s.max_step,
                s.automatic,
            )
            for name, s in source.run.summaries().items()
            if source.reads(name)
        ),
    )


def _points(source: Source) -> Iterator[Columns]:
    import numpy as np
    import pyarrow

    for name in source.run.metrics():
        if not source.reads(name):
            continue
        series = source.run.series(name)
        times, fits, stages = np.rint(series.times * 1e6).astype(np.int64), series.fits, series.stages
        for start in range(0, len(series), BATCH):
            part = slice(start, start + BATCH)
            count = len(series.steps[part])
            yield {
                "run": pyarrow.repeat(source.run.id, count), "metric": pyarrow.repeat(name, count),
                "step": series.steps[part], "value": pyarrow.array(series.values[part]), "time": times[part],
                "epoch": pyarrow.array(series.epochs[part], mask=series.epochs[part] < 0), "stage": stages[part],
                "fit": fits[part],
            }  # fmt: skip


def _spans(source: Source) -> Iterator[Columns]:
    found = source.run.spans()
    if not len(found):
        return
    yield {
        "run": [source.run.id] * len(found), "process": found.processes, "rank": found.ranks, "id": found.ids,
        "parent": [parent or None for parent in found.parents.tolist()], "name": found.names,
        "start": found.starts_ns // 1000, "start_ns": found.starts_ns,
        "duration_ns": [None if one < 0 else one for one in found.durations_ns.tolist()], "thread": found.threads,
        "error": [found.errors.get(place) for place in range(len(found))],
        "attributes": [_json(found.attributes.get(place)) for place in range(len(found))],
    }  # fmt: skip


def _events(source: Source) -> Iterator[Columns]:
    yield from _by_column(
        "events",
        ((source.run.id, one.time, one.name, one.span or None, _json(one.attributes)) for one in source.run.events()),
    )


def _artifacts(source: Source) -> Iterator[Columns]:
    rows = (
        (source.run.id, one.time, one.name, one.kind, one.path, one.size, one.digest or None, _json(one.metadata))
        for one in source.run.artifacts
    )
    yield from _by_column("artifacts", rows)


def _json(values: dict[str, Any] | None) -> str | None:
    return json.dumps(values, default=str, ensure_ascii=False) if values else None


def _columns(*listed: str) -> tuple[Column, ...]:
    """Columns from lines of `name type text`."""
    return tuple(Column(*line.split(" ", 2)) for line in listed)


RUN = "run string the run's id"

TABLES: dict[str, Table] = {
    "runs": Table(_columns(
        "id string the run's id", "name string its name, as changed in the dashboard", "project string its project",
        "status string running, finished, failed, interrupted, preempted, killed",
        "reason string why it ended", "started timestamp when it started",
        "ended timestamp when it ended; null while it runs",
        "duration double seconds until its end, or until now", "host string where it ran",
        "world_size int64 number of ranks",
        "command string what was typed", "folder string the working directory", "version string tracelet's version",
        "resumed_from string the run whose checkpoint it started from", "backends list<string> where it is delivered",
        "pinned bool whether it is pinned in the dashboard",
    ), _runs),
    "params": Table(_columns(
        RUN, "name string the parameter, nested names joined by /", "value string its value as text",
        "number double its value if it is a number (true is 1)",
        "source string who gave it: user, module, trainer, ...",
    ), _params),
    "tags": Table(_columns(RUN, "name string the tag", "value string its value"), _tags),
    "metrics": Table(_columns(
        RUN, "metric string its name", "count int64 number of points", "last double the last value",
        "last_step int64 its step", "last_time timestamp its time", "min double the minimum; never NaN",
        "min_step int64 its step", "max double the maximum; never NaN", "max_step int64 its step",
        "automatic bool whether tracelet recorded it without being asked",
    ), _metrics),
    "points": Table(_columns(
        RUN, "metric string its name", "step int64 its step", "value double its value",
        "time timestamp when it was logged", "epoch int64 the epoch; null outside one",
        "stage string train, validate, test, predict, or empty", "fit int64 number of the fit, 0 outside one",
    ), _points),
    "spans": Table(_columns(
        RUN, "process int64 number of the process within the run", "rank int64 its rank",
        "id int64 unique within the process", "parent int64 the id of the enclosing span; null for none",
        "name string what was done", "start timestamp when it began",
        "start_ns int64 the same, nanoseconds since the epoch",
        "duration_ns int64 nanoseconds; null while it is open", "thread int64 the thread's id",
        "error string the exception that ended it", "attributes string JSON",
    ), _spans),
    "events": Table(_columns(
        RUN, "time timestamp when it happened", "name string what happened",
        "span int64 the id of the span it belongs to", "attributes string JSON",
    ), _events),
    "artifacts": Table(_columns(
        RUN, "time timestamp when it was recorded", "name string its name", "kind string file, folder, checkpoint, ...",
        "path string where the file is or was", "size int64 bytes", "digest string SHA-256 of a copy in the store",
        "metadata string JSON",
    ), _artifacts),
}  # fmt: skip
"""By name, in the order of the documentation."""
