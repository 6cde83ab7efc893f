"""Columns of a chunk: lossless both ways, and no claim of a damaged one is believed."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracelet.errors import JournalError
from tracelet.journal import column_packing as points

INT64 = st.integers(points.INT64_MIN, points.INT64_MAX)
SMALL = st.integers(-300, 300)
DOUBLES = st.binary(min_size=8, max_size=8).map(lambda raw: float(struct.unpack("<d", raw)[0]))
"""Every bit pattern: signed zeros, infinities, NaNs with payloads."""
ODD_FLOATS = st.sampled_from([0.0, -0.0, float("inf"), float("-inf"), float("nan"), 5e-324, 1e308, 0.1, 1.5])
FLOATS = st.one_of(DOUBLES, ODD_FLOATS, st.floats(width=32), st.floats())


def bits(values: Any) -> list[bytes]:
    """What a float is to the last bit."""
    return [struct.pack("<d", value) for value in values]


@st.composite
def columns(draw: st.DrawFn) -> list[int]:
    """Integers as programs log them: counting, repeating, jumping, or anything."""
    start, stride, count = draw(INT64), draw(SMALL), draw(st.integers(1, 50))
    regular = [start + stride * place for place in range(count)]
    if min(regular) < points.INT64_MIN or max(regular) > points.INT64_MAX:
        regular = [place * stride for place in range(count)]
    return draw(st.one_of(st.just(regular), st.lists(SMALL, min_size=1), st.lists(INT64, min_size=1)))


@given(columns())
def test_integers_come_back_exactly(values: list[int]) -> None:
    """Steps and times of any kind are read as they were packed, with numpy and without."""
    packed = points.pack_integers(values)
    assert points.unpack_integers(packed, len(values)).tolist() == values
    assert points.list_integers(packed, len(values)) == values


@given(st.lists(FLOATS, min_size=1))
def test_floats_come_back_to_the_bit(values: list[float]) -> None:
    """Values are read bit by bit as they were packed: NaN payloads, signed zeros, infinities, denormals."""
    packed = points.pack_floats(values)
    assert bits(points.unpack_floats(packed, len(values))) == bits(values)
    assert bits(points.list_floats(packed, len(values))) == bits(values)


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=2))
def test_float32_values_take_half_the_space(values: list[float]) -> None:
    """Values that float32 holds exactly take four bytes each, or none where all are equal."""
    code, _, body = points.pack_floats(values)
    assert isinstance(body, bytes)
    assert (code, len(body)) in {("f", 4 * len(values)), ("*", 0)}


@pytest.mark.parametrize("value", [points.INT64_MAX + 1, points.INT64_MIN - 1, 10**30])
def test_an_integer_beyond_64_bits_is_refused(value: int) -> None:
    """What no reader could hold is an error where it is packed, alone or among others."""
    for values in ([value], [0, value], [value, value]):
        with pytest.raises(OverflowError):
            points.pack_integers(values)


CODES = st.sampled_from([*"=*1248BHIqfdzx", "zd", "zB", "z=", "", "zz"])
STARTS = st.one_of(st.integers(-(2**63), 2**64 - 1), FLOATS)
BODIES = st.one_of(st.binary(max_size=64), st.integers(-(2**63), 2**64 - 1))
COUNTS = st.one_of(st.integers(-5, 20), st.sampled_from([10**12, 2**63, -(2**63), points.MAX_POINTS + 1]))


@given(CODES, STARTS, BODIES, COUNTS)
def test_a_column_that_cannot_be_meant_is_a_journal_error(code: str, start: Any, body: Any, count: int) -> None:
    """Whatever a damaged column claims, reading it gives `count` values or JournalError, and never a huge array."""
    for unpack in (points.unpack_integers, points.unpack_floats, points.list_integers, points.list_floats):
        try:
            column = unpack((code, start, body), count)
        except JournalError:
            continue
        assert len(column) == count <= points.MAX_POINTS


@pytest.mark.parametrize("count", [0, -1, 10**12, points.MAX_POINTS + 1])
def test_absurd_counts_are_refused_before_memory_is_taken(count: int) -> None:
    """Columns that take no bytes in the file cannot make a reader allocate whatever they claim."""
    for column in (("=", 0, 1), ("*", 1.0, b"")):
        for unpack in (points.unpack_integers, points.unpack_floats, points.list_integers, points.list_floats):
            with pytest.raises(JournalError, match=f"{count} values"):
                unpack(column, count)
