"""Count, last, least and greatest of all metrics of a run, for lists, which cannot read the points of a thousand runs.

The footers of sealed journals tell them. Not so of a run on several ranks, or of one that was resumed: the least of a
mean over ranks is found by reading points. So the agent works these figures out once, when a training has ended, and
keeps them in RUN/figures.msgpack. That file counts as long as each journal holds as many points as it did then; one
that cannot be read counts as none.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tracelet import branches
from tracelet.guard import logger
from tracelet.records import MetricSummary
from tracelet.tally import merged

if TYPE_CHECKING:
    from tracelet.run import Run

NAME = "figures.msgpack"
FEW = 50_000
"""Points of all metrics together up to which a list reads them where nothing is kept."""

Summaries = dict[str, MetricSummary]
Extent = dict[str, int]
"""How many points each journal holds, by its file name."""


class Kept(msgspec.Struct, frozen=True):
    """What the file holds."""

    extent: Extent
    metrics: list[MetricSummary]


def summaries(run: Run) -> Summaries:
    """The figures of `run.series` for each metric where that can be told quickly; else those of all recorded points."""
    views = run.views
    if len(views) == 1:
        return dict(views[0].metrics)
    raw = merged(summary for view in views for summary in view.metrics.values())
    if _is_one_line(run):
        return raw
    extent = _extent(run)
    exact = _read(run.path, extent)
    if not exact and sum(extent.values()) <= FEW:
        exact = _exact(run)
    return {**raw, **exact}


def keep(run: Run) -> None:
    """Work the figures out and write the file, if the footers do not tell them. OSError when the disk refuses it."""
    extent = _extent(run)
    if _is_one_line(run) or _read(run.path, extent):
        return
    fresh = run.path / f"{NAME}.{os.getpid()}.new"
    try:
        fresh.write_bytes(msgspec.msgpack.encode(Kept(extent, list(_exact(run).values()))))
        os.replace(fresh, run.path / NAME)
    finally:
        fresh.unlink(missing_ok=True)


def _is_one_line(run: Run) -> bool:
    return branches.is_one_line(view for view in run.views if view.started and view.started.role == "rank")


def _extent(run: Run) -> Extent:
    return {view.path.name: sum(one.count for one in view.metrics.values()) for view in run.views}


def _exact(run: Run) -> Summaries:
    names = {name for view in run.views for name in view.metrics}
    return {name: run.summary(name) for name in sorted(names)}


def _read(folder: Path, extent: Extent) -> Summaries:
    try:
        kept = msgspec.msgpack.decode((folder / NAME).read_bytes(), type=Kept)
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.MsgspecError) as error:
        logger.debug("tracelet: %s cannot be read: %s", folder / NAME, error)
        return {}
    return {one.name: one for one in kept.metrics} if kept.extent == extent else {}
