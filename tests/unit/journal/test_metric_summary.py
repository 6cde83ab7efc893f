"""Count, last, least and greatest: the same whether the writer counts, a reader counts, or journals are merged."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracelet.journal.metric_summary import SummaryBuilder, merge_summaries
from tracelet.journal.records import MetricSummary

VALUES = st.one_of(st.floats(), st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0]))
CHUNKS = st.lists(st.lists(VALUES, min_size=1, max_size=8), min_size=1, max_size=6)


def counted(chunks: list[list[float]], by_array: bool) -> MetricSummary:
    """The summary of these chunks, whose steps and times count up."""
    builder, place = SummaryBuilder(), 0
    for values in chunks:
        steps = list(range(place, place + len(values)))
        place += len(values)
        if by_array:
            builder.add_arrays(np.array(steps), np.array(steps), np.array(values))
        else:
            builder.add(steps, steps, values)
    return builder.build("m")


@given(CHUNKS)
def test_writer_and_reader_count_alike(chunks: list[list[float]]) -> None:
    """Lists on the writing side and arrays on the reading side give the same summary."""
    assert repr(counted(chunks, by_array=False)) == repr(counted(chunks, by_array=True))


@given(CHUNKS)
def test_a_summary_is_what_the_points_say(chunks: list[list[float]]) -> None:
    """Count and last are those of all points; least and greatest leave NaN out and name their first step."""
    flat = [value for chunk in chunks for value in chunk]
    sound = [value for value in flat if not math.isnan(value)]
    summary = counted(chunks, by_array=False)
    assert summary.count == len(flat)
    assert (repr(summary.last), summary.last_step) == (repr(flat[-1]), len(flat) - 1)
    if not sound:
        assert math.isnan(summary.min)
        assert math.isnan(summary.max)
        return
    assert (summary.min, summary.max) == (min(sound), max(sound))
    assert summary.min_step == flat.index(min(sound))
    assert summary.max_step == flat.index(max(sound))


@pytest.mark.parametrize("by_array", [False, True])
def test_the_order_of_frames_says_what_is_last(by_array: bool) -> None:
    """A clock that is set back does not make an earlier frame the last one; within a frame times decide."""
    builder = SummaryBuilder()
    for frame, step, time in ((1, 0, 5000), (2, 1, 1000), (3, 3, 1002), (3, 2, 1001)):
        if by_array:
            builder.add_arrays(np.array([step]), np.array([time]), np.array([float(step)]), frame)
        else:
            builder.add([step], [time], [float(step)], frame)
    assert (builder.last, builder.last_step, builder.last_time) == (3.0, 3, 1002)


@given(CHUNKS, CHUNKS)
def test_merging_equals_counting_together(first: list[list[float]], second: list[list[float]]) -> None:
    """Two journals of one metric merge into what their points together would give."""
    together = merge_summaries([counted(first, by_array=False), counted(second, by_array=True)])["m"]
    sound = [value for chunk in first + second for value in chunk if not math.isnan(value)]
    assert together.count == sum(map(len, first + second))
    assert repr((together.min, together.max)) == repr((min(sound, default=math.nan), max(sound, default=math.nan))) or {
        together.min,
        together.max,
    } == {0.0}
    assert together.last_time == max(counted(first, True).last_time, counted(second, True).last_time)


def test_the_last_value_is_the_latest() -> None:
    """What was logged later wins, in whichever order chunks of several stages are counted."""
    builder = SummaryBuilder()
    builder.add([0, 5], [10, 50], [1.0, 5.0])
    builder.add([3], [30], [3.0])
    assert (builder.last, builder.last_step) == (5.0, 5)
