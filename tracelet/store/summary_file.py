"""Works out the summaries of a run on several ranks, or of a resumed one, and keeps them in its folder.

Called by the agent when all processes of the run have ended. `summaries` reads the file.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator

import msgspec

from tracelet.journal.metric_summary import merged
from tracelet.journal.records import RUNNING, MetricSummary
from tracelet.store.run import Run
from tracelet.store.summaries import NAME, Kept, Summaries, extent_of, is_one_line, read

AT_ONCE = 4_000_000
"""Points whose chunks are held while figures are worked out (about 40 MB), at least those of one metric."""


def keep(run: Run, give_up: Callable[[], bool] = lambda: False) -> None:
    """Work the figures out and write the file, if all is over and nobody has. OSError when the disk refuses it.

    `give_up` is asked after each metric; then nothing is written. Of several nodes the one that is last does it.
    """
    extent = extent_of(run.views)
    going_on = any(one.status.status == RUNNING for one in run.processes)
    if going_on or is_one_line(run.views) or read(run.path, extent):
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
