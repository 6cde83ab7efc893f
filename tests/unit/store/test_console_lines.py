"""Printed lines of several processes in the order in which they were seen."""

from __future__ import annotations

from tracelet.journal.records import Console
from tracelet.store.console_lines import lines, ordered, with_gaps


def console(stream: str, time: int, *found: tuple[int, int, str]) -> Console:
    """A record."""
    return Console(stream=stream, time=time, lines=list(found))


def test_lines_of_ranks_and_streams_are_merged_by_time() -> None:
    """Lines stand in the order in which they began, those that changed once, as they were last."""
    first = [
        console("stdout", 10, (0, 0, "a"), (1, 30, "bar 1%")),
        console("stdout", 40, (1, 0, "bar 100%"), (2, 50, "z")),
    ]
    second = [console("stderr", 20, (0, 0, "of rank 1"))]
    found = ordered([*lines(0, 0, first), *lines(1, 0, second)])
    assert [(line.rank, line.text) for line in found] == [(0, "a"), (1, "of rank 1"), (0, "bar 100%"), (0, "z")]
    assert [line.text for line in lines(0, 0, first, "stderr")] == []


def test_gaps_are_told() -> None:
    """A line knows how many of its stream before it were left out."""
    found = ordered(lines(0, 0, [console("stdout", 1, (2, 0, "c"), (3, 1, "d"), (9, 2, "j"))]))
    assert [(line.text, missing) for line, missing in with_gaps(found)] == [("c", 2), ("d", 0), ("j", 5)]
