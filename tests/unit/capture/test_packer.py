"""Emitted points become chunks: every point once, in order, with everything that was said about it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tracelet.capture.packer import MAX_NOTICES, Packer
from tracelet.capture.sink import Item, SeriesGroup, SeriesKey, row_points
from tracelet.journal.column_packing import unpack_floats, unpack_integers
from tracelet.journal.records import Chunk, Event, Notice, Points, Record

STEPS = st.one_of(st.none(), st.integers(-(2**63), 2**62))  # counting on from there stays within 64 bits
FLOATS = st.one_of(st.floats(), st.integers(-5, 5).map(float))
PLAIN = st.tuples(st.sampled_from("abc"), STEPS, FLOATS, st.floats(0, 4e9))


def chunks_of(records: list[Record]) -> list[Chunk]:
    """The chunks of all flushes, in order."""
    return [chunk for record in records if isinstance(record, Points) for chunk in record.chunks]


def expected_steps(items: list[Any]) -> list[int]:
    """What the steps of one metric must be, by the rule: the one given, else the last one plus one, else 0."""
    found: list[int] = []
    for _, step, _, _ in items:
        found.append(step if step is not None else found[-1] + 1 if found else 0)
    return found


@given(st.lists(st.lists(PLAIN, max_size=12), max_size=5))
def test_every_point_is_packed_once_and_in_order(flushes: list[list[Item]]) -> None:
    """However points are spread over flushes, each metric has its own points with steps, values and times."""
    packer = Packer()
    chunks = chunks_of([record for flush in flushes for record in packer.pack(flush)])
    for name in "abc":
        items: list[Any] = [item for flush in flushes for item in flush if item[0] == name]  # type: ignore[index]
        mine = [chunk for chunk in chunks if chunk.name == name]
        assert sum(chunk.count for chunk in mine) == len(items)
        steps = [step for chunk in mine for step in unpack_integers(chunk.steps, chunk.count).tolist()]
        values = [value for chunk in mine for value in unpack_floats(chunk.values, chunk.count).tolist()]
        times = [moment for chunk in mine for moment in unpack_integers(chunk.times, chunk.count).tolist()]
        assert steps == expected_steps(items)
        assert [repr(value) for value in values] == [repr(item[2]) for item in items]
        assert times == [int(item[3] * 1_000_000) for item in items]
        if items:
            assert packer.summaries.all()[name].count == len(items)


def test_series_of_one_name_are_kept_apart_by_their_key() -> None:
    """Stage, fit, reduction, epoch and weight of a keyed point stand in its chunk, one chunk a key."""
    train, test = SeriesKey("loss", "train", 1, "mean"), SeriesKey("loss", "test", 2, "sum", automatic=True)
    items: list[Item] = [
        (train, 0, 1.0, 1.0, 0, 32), (test, 0, 2.0, 1.0, -1, None),
        (train, torch.tensor(1), torch.tensor(3.0), 1.0, 1, 16),
    ]  # fmt: skip
    first, second = chunks_of(Packer().pack(items))
    assert (first.stage, first.fit, first.reduce, first.automatic) == ("train", 1, "mean", False)
    assert (second.stage, second.fit, second.reduce, second.automatic) == ("test", 2, "sum", True)
    assert first.epochs is not None
    assert first.weights is not None
    assert unpack_integers(first.steps, 2).tolist() == [0, 1]
    assert unpack_integers(first.epochs, 2).tolist() == [0, 1]
    assert unpack_floats(first.weights, 2).tolist() == [32.0, 16.0]
    assert second.weights is None


def taken_apart(items: list[Item]) -> list[Item]:
    """The same with a point for each value of a row."""
    apart: list[Item] = []
    for item in items:
        if isinstance(item, tuple) and isinstance(item[0], SeriesGroup):
            apart += row_points(item)
        else:
            apart.append(item)
    return apart


KEYS = tuple(SeriesKey(name, "train", 1, "mean") for name in "abc")
GROUPS = (SeriesGroup(KEYS), SeriesGroup(KEYS[:2]), SeriesGroup(KEYS[2:]))
MOMENTS = st.tuples(st.integers(0, 2**40), FLOATS, st.floats(0, 4e9), st.integers(-1, 50))
ROWS = st.tuples(st.sampled_from(GROUPS), MOMENTS).map(
    lambda found: (found[0], found[1][0], [found[1][1]] * len(found[0].keys), found[1][2], found[1][3])
)
LONE = st.tuples(st.sampled_from(KEYS), MOMENTS).map(lambda found: (found[0], *found[1], None))


BY_NAME = tuple(SeriesGroup(names) for names in ("ab", "bc", "c"))
NAMED_ROWS = st.tuples(st.sampled_from(BY_NAME), MOMENTS).map(
    lambda found: (found[0], found[1][0], [found[1][1]] * len(found[0].keys), found[1][2], None)
)


@given(st.lists(st.lists(st.one_of(NAMED_ROWS, PLAIN), max_size=8), max_size=4))
def test_rows_by_name_count_as_points_by_name(flushes: list[list[Item]]) -> None:
    """Names logged together have the same points as names logged one by one, and the next step goes on from both."""

    def told(flushes: list[list[Item]]) -> dict[str, list[Any]]:
        packer = Packer()
        found: dict[str, list[Any]] = {name: [] for name in "abc"}
        for chunk in chunks_of([record for flush in flushes for record in packer.pack(flush)]):
            assert (chunk.epochs, chunk.weights, chunk.reduce) == (None, None, "")
            steps = unpack_integers(chunk.steps, chunk.count).tolist()
            found[chunk.name] += zip(steps, map(repr, unpack_floats(chunk.values, chunk.count).tolist()))
        return found

    assert told(flushes) == told([taken_apart(flush) for flush in flushes])


@given(st.lists(st.lists(st.one_of(ROWS, LONE), max_size=8), max_size=4))
def test_rows_are_packed_as_their_points_would_be(flushes: list[list[Item]]) -> None:
    """What is logged together, alone, or now this way and now that has the steps, values, times and epochs in order."""

    def told(flushes: list[list[Item]]) -> dict[str, list[Any]]:
        packer = Packer()
        found: dict[str, list[Any]] = {key.name: [] for key in KEYS}
        for chunk in chunks_of([record for flush in flushes for record in packer.pack(flush)]):
            assert (chunk.stage, chunk.fit, chunk.reduce, chunk.weights) == ("train", 1, "mean", None)
            assert chunk.epochs is not None
            columns = [
                unpack_integers(column, chunk.count).tolist() for column in (chunk.steps, chunk.times, chunk.epochs)
            ]
            values = [repr(value) for value in unpack_floats(chunk.values, chunk.count).tolist()]
            found[chunk.name] += zip(*columns, values)
        assert {name: summary.count for name, summary in packer.summaries.all().items()} == {
            name: len(series) for name, series in found.items() if series
        }
        return found

    assert told(flushes) == told([taken_apart(flush) for flush in flushes])


@pytest.mark.allow_guarded
def test_an_impossible_value_in_a_row_costs_itself_alone() -> None:
    """The other values of its row, and of the rows around it, are there."""
    rows: list[Item] = [(GROUPS[1], step, [float(step), "x" if step == 1 else 0.5], 1.0, 0) for step in range(3)]
    chunks = chunks_of(Packer().pack(rows))
    steps = {
        name: [
            step
            for chunk in chunks
            if chunk.name == name
            for step in unpack_integers(chunk.steps, chunk.count).tolist()
        ]
        for name in "ab"
    }
    assert steps == {"a": [0, 1, 2], "b": [0, 2]}


def test_records_go_through_in_their_order() -> None:
    """What is no point is handed on as it is, before the points of the flush."""
    events = [Event(time=number, name=str(number)) for number in range(3)]
    packed = Packer().pack([events[0], ("a", 0, 1.0, 1.0), events[1], events[2]])
    assert packed[:3] == events
    assert isinstance(packed[3], Points)
    assert Packer().pack([]) == []


BAD: list[tuple[Any, ...]] = [
    ("m", 2**63, 1.0, 1.0), ("m", "x", 1.0, 1.0), ("m", 1, "x", 1.0), ("m", 1, None, 1.0), ("m", 1, 1.0, math.nan),
    ("m", 1, 1.0, math.inf), ("m", math.nan, 1.0, 1.0), ("m", 1, torch.ones(3), 1.0), ("m", 1, 10**400, 1.0),
]  # fmt: skip


@pytest.mark.allow_guarded
@pytest.mark.parametrize("bad", BAD)
def test_an_impossible_point_costs_itself_alone(bad: Any) -> None:
    """Points before and behind one that cannot be recorded are there, and the steps go on counting."""
    packer = Packer()
    chunks = chunks_of(packer.pack([("m", None, 0.0, 1.0), bad, ("m", 7, 7.0, 1.0), ("m", None, 8.0, 1.0)]))
    values = [value for chunk in chunks for value in unpack_floats(chunk.values, chunk.count).tolist()]
    steps = [step for chunk in chunks for step in unpack_integers(chunk.steps, chunk.count).tolist()]
    assert (values, steps) == ([0.0, 7.0, 8.0], [0, 7, 8])


@pytest.mark.allow_guarded
def test_points_that_cannot_be_read_are_noted_once_for_each_metric() -> None:
    """The journal says which metrics miss points and why; a program that makes up names does not fill it."""
    packer = Packer()
    rows = [("a", step, torch.ones((), device="meta"), 1.0) for step in range(3)]
    flushes = [packer.pack([*rows, ("b", 0, 1.0, 1.0)]) for _ in range(2)]
    (notice,) = [record for flush in flushes for record in flush if isinstance(record, Notice)]
    assert notice.message.startswith("points of 'a' were not recorded because they cannot be read (NotImpl")
    assert [chunk.name for chunk in chunks_of(flushes[0])] == ["b"]
    many = packer.pack([(f"m{number}", 0, "x", 1.0) for number in range(3 * MAX_NOTICES)])
    assert len(many) == MAX_NOTICES
    assert isinstance(many[-1], Notice) and many[-1].message.startswith("points of further metrics")


def test_steps_of_a_key_go_on_over_flushes_and_processes() -> None:
    """What is logged by key without a step counts on from one flush to the next, and from where a run had got to."""
    packer, key = Packer(), SeriesKey("a")
    packer.continue_steps({"a": 7}, {})
    flushes = [chunks_of(packer.pack([(key, None, 1.0, 1.0, -1, None)] * 2)) for _ in range(2)]
    steps = [list(unpack_integers(chunk.steps, chunk.count)) for (chunk,) in flushes]
    assert steps == [[7, 8], [9, 10]]


def test_a_name_that_is_a_kind_of_text_is_stored_as_text() -> None:
    """A name of numpy's, which msgpack does not know, would cost all points of its flush."""

    class Text(str):
        """As `numpy.str_` is one."""

        __slots__ = ()

    (chunk,) = chunks_of(Packer().pack([(SeriesKey(Text("a")), 1, 1.0, 1.0, -1, None)]))
    assert type(chunk.name) is str
    (row,) = chunks_of(Packer().pack([(SeriesGroup([Text("b")]), 1, [1.0], 1.0, None)]))
    assert type(row.name) is str
