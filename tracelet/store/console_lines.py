"""Console lines of a run, in the order in which a terminal showed them. Reading side.

Used by `Run.console()`: a line that changed appears once, in its last state, at the time at which it began.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tracelet.journal.journal_view import JournalView
from tracelet.journal.records import Console


class Line(NamedTuple):
    """One line; `time` is when it began, in seconds since the epoch."""

    time: float
    rank: int
    attempt: int
    stream: str
    number: int
    """Its number in its stream; missing numbers are lines that were dropped because there were too many."""
    text: str


def lines(rank: int, attempt: int, records: Iterable[Console], stream: str | None = None) -> list[Line]:
    """The lines of one process."""
    found: dict[tuple[str, int], Line] = {}
    for record in records:
        if stream in (None, record.stream):
            for number, after, text in record.lines:
                time = (record.time + after) / 1e6
                found[record.stream, number] = Line(time, rank, attempt, record.stream, number, text)
    return list(found.values())


def of_views(views: Iterable[JournalView], stream: str | None, rank: int | None) -> list[Line]:
    """The lines of these processes, or of those of one rank, by time."""
    chosen = ((view, view.started) for view in views if view.started and rank in (None, view.started.rank))
    found = (lines(started.rank, started.attempt, view.console(), stream) for view, started in chosen)
    return ordered(line for of_one in found for line in of_one)


def ordered(found: Iterable[Line]) -> list[Line]:
    """The lines of several processes and streams by time; those of one stream in its order."""
    return sorted(found, key=lambda line: (line.time, line.attempt, line.rank, line.stream, line.number))


def with_gaps(found: Iterable[Line]) -> Iterator[tuple[Line, int]]:
    """Each line, and the number of lines of its stream before it that were dropped."""
    seen: dict[tuple[int, int, str], int] = {}
    for line in found:
        key = (line.rank, line.attempt, line.stream)
        missing = line.number - seen.get(key, -1) - 1
        seen[key] = line.number
        yield line, max(0, missing)
