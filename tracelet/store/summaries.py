"""Count, last, least and greatest of all metrics of a run, for lists, which cannot read the points of a thousand runs.

The footers of sealed journals tell them. Not so of a run on several ranks, or of one that was resumed: the least of a
mean over ranks is found by reading points. So the agent works these figures out once, when all is over, and keeps them
in RUN/figures.msgpack. That file counts as long as each journal holds as many points as it did then; one that cannot be
read counts as none.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from tracelet.journal.journal_view import JournalView
from tracelet.journal.metric_summary import merge_summaries
from tracelet.journal.records import MetricSummary
from tracelet.store import resumed_series

FILE_NAME = "figures.msgpack"
MAX_BYTES = 1 << 24
"""Bytes that are read: a hundred thousand metrics."""

Summaries = dict[str, MetricSummary]
PointCounts = dict[str, int]
"""How many points each journal holds, by its file name."""


class SummaryFile(msgspec.Struct, frozen=True):
    """What the file holds."""

    extent: PointCounts
    metrics: list[MetricSummary]


def summaries(folder: Path, views: Sequence[JournalView]) -> Summaries:
    """The figures of `run.series` for each metric where they are told or kept; else those of all recorded points."""
    if len(views) == 1:
        return dict(views[0].metrics)
    raw = merge_summaries(summary for view in views for summary in view.metrics.values())
    if is_single_branch(views):
        return raw
    exact = read(folder, count_points(views))
    return {name: exact.get(name, summary) for name, summary in raw.items()}


def is_single_branch(views: Sequence[JournalView]) -> bool:
    """Whether the points of these journals stand as they are: the footers then tell the figures."""
    return resumed_series.is_single_branch(view for view in views if view.started and view.started.role == "rank")


def count_points(views: Sequence[JournalView]) -> PointCounts:
    """How many points each of these journals holds."""
    return {view.path.name: sum(one.count for one in view.metrics.values()) for view in views}


def read(folder: Path, extent: PointCounts) -> Summaries:
    """What the file holds; nothing if it was written for other points, or cannot be read."""
    path = folder / FILE_NAME
    try:
        if not path.is_file():
            return {}
        with open(path, "rb") as file:
            kept = msgspec.msgpack.decode(file.read(MAX_BYTES), type=SummaryFile)
    except (OSError, msgspec.MsgspecError, ValueError, RecursionError):
        return {}
    return {one.name: one for one in kept.metrics} if kept.extent == extent else {}
