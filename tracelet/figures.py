"""Count, last, least and greatest of all metrics of a run, for lists, which cannot read the points of a thousand runs.

The footers of sealed journals tell them. Not so of a run on several ranks, or of one that was resumed: the least of a
mean over ranks is found by reading points. So the agent works these figures out once, when all is over, and keeps them
in RUN/figures.msgpack. That file counts as long as each journal holds as many points as it did then; one that cannot be
read counts as none.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tracelet import branches
from tracelet.records import RUNNING, MetricSummary
from tracelet.tally import merged

if TYPE_CHECKING:
    from tracelet.run import Run

NAME = "figures.msgpack"
LONGEST = 1 << 24
"""Bytes that are read: a hundred thousand metrics."""
AT_ONCE = 4_000_000
"""Points whose chunks are held while figures are worked out (about 40 MB), at least those of one metric."""

Summaries = dict[str, MetricSummary]
Extent = dict[str, int]
"""How many points each journal holds, by its file name."""


class Kept(msgspec.Struct, frozen=True):
    """What the file holds."""

    extent: Extent
    metrics: list[MetricSummary]


def summaries(run: Run) -> Summaries:
    """The figures of `run.series` for each metric where they are told or kept; else those of all recorded points."""
    views = run.views
    if len(views) == 1:
        return dict(views[0].metrics)
    raw = merged(summary for view in views for summary in view.metrics.values())
    if _is_one_line(run):
        return raw
    exact = _read(run.path, _extent(run))
    return {name: exact.get(name, summary) for name, summary in raw.items()}


def keep(run: Run, give_up: Callable[[], bool] = lambda: False) -> None:
    """Work the figures out and write the file, if all is over and nobody has. OSError when the disk refuses it.

    `give_up` is asked after each metric; then nothing is written. Of several nodes the one that is last does it.
    """
    extent = _extent(run)
    going_on = any(one.status.status == RUNNING for one in run.processes)
    if going_on or _is_one_line(run) or _read(run.path, extent):
        return
    found = []
    for summary in _worked_out(run):
        if give_up():
            return
        found.append(summary)
    fresh = run.path / f"{NAME}.{socket.gethostname()}.{os.getpid()}.new"
    try:
        fresh.write_bytes(msgspec.msgpack.encode(Kept(extent, found)))
        os.replace(fresh, run.path / NAME)
    finally:
        fresh.unlink(missing_ok=True)


def _is_one_line(run: Run) -> bool:
    return branches.is_one_line(view for view in run.views if view.started and view.started.role == "rank")


def _extent(run: Run) -> Extent:
    return {view.path.name: sum(one.count for one in view.metrics.values()) for view in run.views}


def _worked_out(run: Run) -> Iterator[MetricSummary]:
    views = run.views
    for batch in _batches(merged(summary for view in views for summary in view.metrics.values())):
        for view in views:
            view.hold(batch)
        yield from map(run.summary, batch)
    for view in views:
        view.hold(())


def _batches(raw: Summaries) -> Iterator[list[str]]:
    """The names, so many at a time that their points fit into memory."""
    batch: list[str] = []
    points = 0
    for name, summary in sorted(raw.items()):
        if batch and points + summary.count > AT_ONCE:
            yield batch
            batch, points = [], 0
        batch.append(name)
        points += summary.count
    if batch:
        yield batch


def _read(folder: Path, extent: Extent) -> Summaries:
    path = folder / NAME
    try:
        if not path.is_file():
            return {}
        with open(path, "rb") as file:
            kept = msgspec.msgpack.decode(file.read(LONGEST), type=Kept)
    except (OSError, msgspec.MsgspecError, ValueError, RecursionError):
        return {}
    return {one.name: one for one in kept.metrics} if kept.extent == extent else {}
