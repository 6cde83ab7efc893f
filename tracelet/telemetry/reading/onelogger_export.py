"""A whole run as the JSON lines of nv-one-logger's FileExporter; see `jsonlines`. Reading side; any process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tracelet.store.run import Run
from tracelet.telemetry.reading.onelogger_records import RecordBuilder
from tracelet.telemetry.reading.span_selection import Selection
from tracelet.telemetry.reading.span_tree import processes


def lines(run: Run, selection: Selection | None = None) -> Iterator[dict[str, Any]]:
    """All records of a run, one process after the other."""
    for process in processes(run, selection):
        author = RecordBuilder(run.id, process.rank, process.attempt, process.pid)
        for count, record in enumerate(author.records(process.roots), 1):
            yield {**record, "count": count}
