"""What processes printed, in the order in which a person saw it. Reading side; pure.

Used by `Run.console()`: lines that changed stand once, as they were last, at the moment at which they began.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tracelet.journal.records import Console


class Line(NamedTuple):
    """One line; `time` is when it began, in seconds since the epoch."""

    time: float
    rank: int
    attempt: int
    stream: str
    number: int
    """Its place in its stream; a number that is not there was left out of the record, being one of too many."""
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


def ordered(found: Iterable[Line]) -> list[Line]:
    """The lines of several processes and streams by time; those of one stream in its order."""
    return sorted(found, key=lambda line: (line.time, line.attempt, line.rank, line.stream, line.number))


def with_gaps(found: Iterable[Line]) -> Iterator[tuple[Line, int]]:
    """Each line, and how many lines of its stream before it were left out of the record."""
    seen: dict[tuple[int, int, str], int] = {}
    for line in found:
        key = (line.rank, line.attempt, line.stream)
        missing = line.number - seen.get(key, -1) - 1
        seen[key] = line.number
        yield line, max(0, missing)
