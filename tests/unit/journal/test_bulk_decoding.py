"""Joining: many columns unpacked together are what they are when unpacked one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracelet.errors import JournalError
from tracelet.journal.bulk_decoding import join_floats, join_integers
from tracelet.journal.column_packing import compress, pack_floats, pack_integers, unpack_floats, unpack_integers
from tracelet.journal.records import Packed

strides = st.builds(
    lambda start, stride, count: list(range(start, start + stride * count, stride)),
    st.integers(-(2**40), 2**40), st.integers(1, 10), st.integers(1, 9),
)  # fmt: skip
ascending = st.lists(st.integers(0, 2**40), min_size=1, max_size=9).map(sorted)
small = st.lists(st.integers(0, 300), min_size=1, max_size=9).map(lambda steps: np.cumsum(steps).tolist())
anything = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=9)
integers = st.lists(strides, max_size=20) | st.lists(small, max_size=20) | st.lists(strides | ascending | anything)
floats = st.lists(st.floats() | st.floats(width=32) | st.just(0.5), min_size=1, max_size=9)


@given(columns=integers, times=st.integers(1, 9), packing=st.booleans())
def test_integers_joined_are_those_unpacked_alone(columns: list[list[int]], times: int, packing: bool) -> None:
    """Whatever codes neighbours have, and whether compaction has compressed them, every integer is as it was packed."""
    packed = [(pack_integers(column), len(column)) for column in columns for _ in range(times)]
    if packing:
        packed = [(compress(column), count) for column, count in packed]
    alone = [number for column, count in packed for number in unpack_integers(column, count).tolist()]
    assert join_integers(packed).tolist() == alone
    assert alone == [number for column in columns for _ in range(times) for number in column]


@given(columns=st.lists(floats, max_size=20))
def test_floats_joined_are_those_unpacked_alone(columns: list[list[float]]) -> None:
    """Every float of every column has the bits that it has alone."""
    packed = [(pack_floats(column), len(column)) for column in columns]
    alone = [unpack_floats(column, count) for column, count in packed]
    assert join_floats(packed).tobytes() == b"".join(column.tobytes() for column in alone)


@pytest.mark.parametrize(
    "bad",
    [(("H", 0, b"123"), 4), (("=", 0, 1), 10**12), (("H", 0, 7), 4), (("H", 0.5, b"12" * 3), 4), (("f", 0, b""), 1)],
)
def test_one_damaged_column_among_many_is_an_error(bad: tuple[Packed, int]) -> None:
    """A column that cannot be meant is told by JournalError, and not joined with the bytes of its neighbours."""
    good = [(pack_integers([1, 5, 6, 1000]), 4)] * 20
    with pytest.raises(JournalError, match="damaged"):
        join_integers([*good, bad, *good])


def test_a_float_column_of_the_wrong_length_is_an_error() -> None:
    """Two columns whose bytes add up to the right length are errors all the same."""
    with pytest.raises(JournalError, match="damaged"):
        join_floats([(("d", 0.0, bytes(8)), 2), (("d", 0.0, bytes(16)), 1)])
