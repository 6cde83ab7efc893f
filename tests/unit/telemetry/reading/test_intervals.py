"""Intervals within one another, against what counting moment by moment says."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from tracelet.telemetry.reading.intervals import Coverage, exclusive

IntArray = npt.NDArray[np.int64]
INTERVALS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 12)), max_size=8)


def columns(intervals: list[tuple[int, int]]) -> tuple[IntArray, IntArray]:
    starts = np.array([start for start, _ in intervals], dtype=np.int64)
    return starts, starts + np.array([length for _, length in intervals], dtype=np.int64)


@given(INTERVALS)
def test_each_moment_belongs_to_the_interval_that_began_last(intervals: list[tuple[int, int]]) -> None:
    """Also where intervals overlap without lying in one another: all together are what is covered."""
    starts, ends = columns(intervals)
    expected = [0] * len(intervals)
    order = sorted(range(len(intervals)), key=lambda place: (starts[place], -ends[place]))
    for moment in range(50):
        owners = [place for place in order if starts[place] <= moment < ends[place]]
        if owners:
            expected[owners[-1]] += 1
    assert exclusive(starts, ends).tolist() == expected


@given(INTERVALS, INTERVALS)
def test_what_is_not_covered(covering: list[tuple[int, int]], asked: list[tuple[int, int]]) -> None:
    """Of each interval the moments are counted that lie in none of the others."""
    cover, (starts, ends) = columns(covering), columns(asked)
    covered = {moment for start, end in zip(*cover) for moment in range(start, end)}
    expected = [len(set(range(start, end)) - covered) for start, end in zip(starts, ends)]
    assert Coverage(*cover).uncovered(starts, ends).tolist() == expected
