"""Spans and iterations as packed columns come back as they were."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracelet.capture.packer import Packer
from tracelet.capture.sink import IDS_PER_ITERATION, FinishedIteration
from tracelet.capture.span_packing import iteration_spans, pack_iterations, pack_spans
from tracelet.journal.records import Spans
from tracelet.store.span_table import tabulate

ORIGIN = 1_700_000_000_000_000_000
NAMES = st.sampled_from(["load", "forward", "backward", "step", "log"])
COLUMNS = ("ids", "parents", "starts_ns", "durations_ns", "threads")


@st.composite
def laps(draw: st.DrawFn) -> list[FinishedIteration]:
    """Iterations one after the other, of any phases, in any loop."""
    found: list[FinishedIteration] = []
    moment, number = draw(st.integers(0, 2**40)), 1
    for _ in range(draw(st.integers(1, 12))):
        begin, marks = moment, []
        for name in draw(st.lists(NAMES, max_size=6)):
            moment += draw(st.integers(0, 2**35))
            marks += [name, moment]
        number += IDS_PER_ITERATION
        parent = draw(st.sampled_from([0, 1, number - IDS_PER_ITERATION]))
        found.append(("iteration", number, parent, begin, moment, draw(st.sampled_from([7, 2**40])), ORIGIN, marks))
    return found


def rows(*records: Spans) -> list[tuple[Any, ...]]:
    table = tabulate([(0, 0, (), records)])
    columns = [getattr(table, column).tolist() for column in COLUMNS]
    return sorted(zip(table.names, *columns))


@given(laps())
def test_iterations_by_columns_and_by_rows_are_the_same(found: list[FinishedIteration]) -> None:
    """Both ways to pack iterations give what `iteration_spans` says they are."""
    expected = sorted((r[0], r[1], r[2], r[3], r[4], r[5]) for lap in found for r in iteration_spans(lap))
    assert rows(pack_iterations(found)) == rows(pack_spans(found)) == expected


def test_an_iteration_inside_another() -> None:
    """Iterations that end before the one that they lie in are packed all the same."""
    inner: FinishedIteration = ("inner", 600, 300, 20, 30, 1, ORIGIN, ["load", 30])
    outer: FinishedIteration = ("outer", 300, 1, 10, 40, 1, ORIGIN, ["load", 40])
    assert rows(pack_iterations([inner, outer])) == rows(pack_spans([outer, inner]))


def test_more_phases_than_there_is_room() -> None:
    """An iteration of very many phases keeps the first ones, so that no id is used twice."""
    marks: list[Any] = [item for number in range(400) for item in ("load", number)]
    lap: FinishedIteration = ("iteration", 300, 1, 0, 400, 1, ORIGIN, marks)
    assert len(rows(pack_iterations([lap]))) == len(iteration_spans(lap)) == IDS_PER_ITERATION


@pytest.mark.parametrize("attributes", [None, {"a": 1}])
def test_single_spans_and_iterations_in_one_flush(attributes: dict[str, object] | None) -> None:
    """The packer keeps both kinds, with attributes."""
    single = ("mine", 1, 0, ORIGIN, 5, 1, attributes)
    lap: FinishedIteration = ("iteration", 300, 1, 0, 4, 1, ORIGIN, ["load", 4])
    records = [record for record in Packer().pack([single, lap]) if isinstance(record, Spans)]
    table = tabulate([(0, 0, (), records)])
    assert sorted(table.names) == ["iteration", "load", "mine"]
    assert list(table.attributes.values()) == ([attributes] if attributes else [])
