"""A whole run as the JSON lines of nv-one-logger's FileExporter; see `jsonlines`. Reading side; any process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tracelet.run import Run
from tracelet.telemetry.jsonlines import Author
from tracelet.telemetry.selection import Selection
from tracelet.telemetry.tree import processes


def lines(run: Run, selection: Selection | None = None) -> Iterator[dict[str, Any]]:
    """All records of a run, one process after the other."""
    for process in processes(run, selection):
        author = Author(run.id, process.rank, process.attempt, process.pid)
        for count, record in enumerate(author.records(process.roots), 1):
            yield {**record, "count": count}
