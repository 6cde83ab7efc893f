"""Computes exact summaries of a run on several ranks, or of a resumed run, and saves them in its folder.

Called by the agent when all processes of the run have ended. `summaries` reads the file.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator

import msgspec

from tracelet.journal.metric_summary import merge_summaries
from tracelet.journal.records import RUNNING, MetricSummary
from tracelet.store.run import Run
from tracelet.store.summaries import FILE_NAME, Summaries, SummaryFile, count_points, is_single_branch, read

MAX_POINTS = 4_000_000
"""Points whose chunks are held while summaries are computed (about 40 MB), at least those of one metric."""


def write_summaries(run: Run, give_up: Callable[[], bool] = lambda: False) -> None:
    """Compute the summaries and write the file, unless the run is running or has it. OSError if the disk refuses it.

    `give_up` is called after each metric; if it returns true, nothing is written. Of several nodes, the last one writes
    it.
    """
    counts = count_points(run.views)
    running = any(one.status.status == RUNNING for one in run.processes)
    if running or is_single_branch(run.views) or read(run.path, counts):
        return
    found = []
    for summary in _compute(run):
        if give_up():
            return
        found.append(summary)
    fresh = run.path / f"{FILE_NAME}.{socket.gethostname()}.{os.getpid()}.new"
    try:
        fresh.write_bytes(msgspec.msgpack.encode(SummaryFile(counts, found)))
        os.replace(fresh, run.path / FILE_NAME)
    finally:
        fresh.unlink(missing_ok=True)


def _compute(run: Run) -> Iterator[MetricSummary]:
    views = run.views
    for batch in _batches(merge_summaries(summary for view in views for summary in view.metrics.values())):
        for view in views:
            view.cache_chunks(batch)
        yield from map(run.summary, batch)
    for view in views:
        view.cache_chunks(())


def _batches(raw: Summaries) -> Iterator[list[str]]:
    """The names, so many at a time that their points fit into memory."""
    batch: list[str] = []
    points = 0
    for name, summary in sorted(raw.items()):
        if batch and points + summary.count > MAX_POINTS:
            yield batch
            batch, points = [], 0
        batch.append(name)
        points += summary.count
    if batch:
        yield batch
