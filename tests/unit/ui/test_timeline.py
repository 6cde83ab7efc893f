"""Spans for a screen: which are drawn, on which lane, and how a million become a screenful."""

from __future__ import annotations

from collections.abc import Sequence

from tracelet.journal.records import Span
from tracelet.store.span_table import SpanTable, tabulate
from tracelet.ui.timeline import MOST, lanes, shares

SECOND = 1_000_000_000


def table(spans: Sequence[tuple[int, str, float, float, int]], rank: int = 0) -> SpanTable:
    """Spans of one process: (id, name, start, seconds, parent)."""
    records = [
        Span(id=number, name=name, start_ns=int(start * SECOND), duration_ns=int(length * SECOND), parent=parent)
        for number, name, start, length, parent in spans
    ]
    return tabulate([(0, rank, records, [])])


def test_spans_lie_below_their_parents() -> None:
    """Each span is drawn one lane below the one it lies within, at its time since the first."""
    found = lanes(table([(1, "application", 10, 5, 0), (2, "loop", 11, 3, 1), (3, "step", 12, 1, 2)]), None, None, 1000)
    drawn = {found["names"][row[2]]: (row[1], row[3], row[4]) for row in found["rows"]}
    assert drawn == {"application": (0, 0.0, 5.0), "loop": (1, 1.0, 3.0), "step": (2, 2.0, 1.0)}
    assert found["depths"] == {"0": 3}


def test_only_what_is_in_sight_is_drawn() -> None:
    """A zoom has the spans that reach into it and no others."""
    steps = [(number, "step", float(number), 0.5, 0) for number in range(1, 101)]
    found = lanes(table(steps), 50.0, 52.0, 1000)
    assert [row[3] for row in found["rows"]] == [49.0, 50.0, 51.0]


def test_what_is_narrower_than_a_pixel_is_drawn_together() -> None:
    """Of many spans in one pixel the longest is drawn, with their number; none is left out of the count."""
    steps = [(number, "step", number * 1e-3, 9e-4 if number % 50 else 9.9e-4, 0) for number in range(1, 20_001)]
    found = lanes(table(steps), None, None, 400)
    assert len(found["rows"]) <= min(MOST, 402)
    assert sum(row[5] for row in found["rows"]) == 20_000
    assert max(row[4] for row in found["rows"]) > 9.8e-4


def test_a_circle_of_parents_is_survived() -> None:
    """Damaged spans that are each other's parents are drawn like others."""
    found = lanes(table([(1, "a", 1, 1, 2), (2, "b", 1, 1, 1)]), None, None, 100)
    assert len(found["rows"]) == 2


def test_an_empty_run_has_no_times() -> None:
    """Without spans there is nothing to draw, and nothing is claimed."""
    assert lanes(table([]), None, None, 100)["rows"] == []
    assert shares(table([]), {}, {}, {})["goodput"] is None


def test_shares_are_those_of_the_analysis() -> None:
    """Forward, backward and optimizer of a training make its goodput; every kind of span is counted."""
    spans = [(1, "application", 0, 10, 0), (2, "training_loop", 1, 8, 1), (3, "training_single_iteration", 2, 4, 2),
             (4, "model_forward", 2, 2, 3), (5, "model_backward", 4, 1, 3)]  # fmt: skip
    found = shares(
        table([(n, name, start + 1, length, parent) for n, name, start, length, parent in spans]), {}, {}, {}
    )
    assert round(found["goodput"], 3) == 0.3
    assert {kind["name"]: kind["seconds"] for kind in found["kinds"]}["model_forward"] == 2.0
