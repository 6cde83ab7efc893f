"""Count, last, min and max of all metrics of a run, for lists, which cannot read the points of a thousand runs.

The footers of sealed journals hold them, except for a run on several ranks or one that was resumed: the min of a mean
over ranks is found only by reading points. For these the agent computes exact summaries once, when the run has ended,
and saves them in RUN/summaries.msgpack (earlier versions: figures.msgpack). The file counts while each journal holds as
many points as it did then; one that cannot be read counts as none.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from tracelet.journal.journal_view import JournalView
from tracelet.journal.metric_summary import SummaryBuilder, merge_summaries
from tracelet.journal.records import MetricSummary
from tracelet.store import resumed_series
from tracelet.store.series import Series

FILE_NAME = "summaries.msgpack"
OLD_FILE_NAME = "figures.msgpack"
MAX_BYTES = 1 << 24
"""Bytes that are read: a hundred thousand metrics."""

Summaries = dict[str, MetricSummary]
PointCounts = dict[str, int]
"""How many points each journal holds, by its file name."""


class SummaryFile(msgspec.Struct, frozen=True):
    """The content of the file."""

    counts: PointCounts = msgspec.field(name="extent")
    metrics: list[MetricSummary]


def summaries(folder: Path, views: Sequence[JournalView]) -> Summaries:
    """The summary of `run.series` for each metric, from a footer or the file; else that of all recorded points."""
    if len(views) == 1:
        return dict(views[0].metrics)
    recorded = merge_summaries(summary for view in views for summary in view.metrics.values())
    if is_single_branch(views):
        return recorded
    exact = read(folder, count_points(views))
    return {name: exact.get(name, summary) for name, summary in recorded.items()}


def of_series(series: Series, automatic: bool) -> MetricSummary:
    """The summary of a series that was read; that of no points at all if it is empty."""
    builder = SummaryBuilder()
    builder.automatic = automatic
    if len(series):
        builder.add_arrays(series.steps, (series.times * 1e6).round().astype("int64"), series.values)
    return builder.build(series.name)


def is_single_branch(views: Sequence[JournalView]) -> bool:
    """Whether every recorded point counts, so that the footers hold exact summaries."""
    return resumed_series.is_single_branch(view for view in views if view.started and view.started.role == "rank")


def count_points(views: Sequence[JournalView]) -> PointCounts:
    """How many points each of these journals holds."""
    return {view.path.name: sum(one.count for one in view.metrics.values()) for view in views}


def read(folder: Path, counts: PointCounts) -> Summaries:
    """The summaries in the file; none if it was written for other points, or cannot be read."""
    for name in (FILE_NAME, OLD_FILE_NAME):
        try:
            if not (folder / name).is_file():
                continue
            with open(folder / name, "rb") as file:
                found = msgspec.msgpack.decode(file.read(MAX_BYTES), type=SummaryFile)
        except (OSError, msgspec.MsgspecError, ValueError, RecursionError):
            continue
        if found.counts == counts:
            return {one.name: one for one in found.metrics}
    return {}
