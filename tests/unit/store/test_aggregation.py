"""One series out of those of several ranks: aligned, reduced as they were logged, and marked if incomplete."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tracelet.agent.delivery.reduction import RankValue, reduce_values
from tracelet.store.aggregation import aggregate, spread
from tracelet.store.series import Segment, Series


def part(
    rank: int,
    points: list[tuple[int, float]],
    reduce: str = "",
    weights: list[float] | None = None,
    fits: list[int] | None = None,
) -> Series:
    """The series of one rank; each point may have a fit of its own."""
    count = len(points)
    numbers = fits or [1] * count
    segments = tuple(Segment(n, n + 1, "train", fit, rank, 0, reduce) for n, fit in enumerate(numbers))
    return Series(
        "m", np.array([step for step, _ in points], dtype=np.int64), np.array([value for _, value in points]),
        np.arange(count, dtype=np.float64) + 0.1 * rank, np.zeros(count, dtype=np.int64),
        np.array(weights or [math.nan] * count, dtype=np.float64), segments, reduce,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("reduce", "expected"),
    [("", [2.0, 3.0]), ("mean", [2.0, 3.0]), ("sum", [4.0, 6.0]), ("min", [1.0, 2.0]), ("max", [3.0, 4.0]),
     ("synced", [1.0, 2.0])],
)  # fmt: skip
def test_each_reduction(reduce: str, expected: list[float]) -> None:
    """Mean (also where none was said), sum, least and greatest; a value that was synced is taken as it is."""
    series = aggregate([part(0, [(0, 1.0), (1, 2.0)], reduce), part(1, [(0, 3.0), (1, 4.0)], reduce)])
    assert series.values.tolist() == expected
    assert series.steps.tolist() == [0, 1]
    assert series.times.tolist() == [0.0, 1.0]
    assert (series.complete, series.reduce) == (True, reduce)


def test_means_weigh_by_examples() -> None:
    """An epoch's mean over ranks weighs each rank by the examples behind it."""
    series = aggregate([part(0, [(9, 1.0)], weights=[30.0]), part(1, [(9, 4.0)], weights=[10.0])])
    assert series.values.tolist() == [1.75]
    assert series.weights.tolist() == [40.0]


def test_a_rank_without_points_is_left_out_and_said() -> None:
    """A rank that joins late or dies early counts where it has points; the series says that it is not complete."""
    series = aggregate([part(0, [(0, 1.0), (1, 2.0), (2, 3.0)], "sum"), part(1, [(1, 10.0)], "sum")])
    assert series.steps.tolist() == [0, 1, 2]
    assert series.values.tolist() == [1.0, 12.0, 3.0]
    assert not series.complete
    late = aggregate([part(0, [(0, 1.0)]), part(1, [(0, 3.0), (1, 4.0)])])
    assert late.values.tolist() == [2.0, 4.0]
    assert [segment.rank for segment in late.segments] == [0, 1]


def test_points_meet_by_fit_step_and_occurrence() -> None:
    """A step that comes twice, in one fit or in two, meets the same one of the other ranks."""
    first = part(0, [(0, 1.0), (0, 2.0), (0, 3.0)], fits=[1, 1, 2])
    second = part(1, [(0, 5.0), (0, 6.0), (0, 9.0)], fits=[1, 1, 2])
    series = aggregate([first, second])
    assert series.values.tolist() == [3.0, 4.0, 6.0]
    assert series.fits.tolist() == [1, 1, 2]


def test_equal_values_stay_what_they_are() -> None:
    """The mean of a learning rate that is the same everywhere is that learning rate, on any number of ranks."""
    assert aggregate([part(rank, [(0, 0.1)]) for rank in range(3)]).values.tolist() == [0.1]


def test_values_that_are_no_numbers() -> None:
    """NaN and infinities of a rank pass into the aggregate as in Lightning's own sum."""
    series = aggregate([part(0, [(0, math.nan), (1, math.inf)]), part(1, [(0, 1.0), (1, 1.0)])])
    assert math.isnan(series.values[0])
    assert series.values[1] == math.inf


@pytest.mark.parametrize("reduce", ["min", "max"])
@pytest.mark.parametrize("where", [0, 1, 2])
def test_a_nan_of_any_rank_is_the_minimum_and_the_maximum(reduce: str, where: int) -> None:
    """Of three ranks: the order of ranks decides nothing, for the reader and for the agent alike."""
    values = [math.nan if rank == where else float(rank) for rank in range(3)]
    assert math.isnan(aggregate([part(rank, [(0, value)], reduce) for rank, value in enumerate(values)]).values[0])
    assert math.isnan(reduce_values(reduce, [RankValue(value, math.nan, math.nan) for value in values]))


def test_the_spread_over_ranks() -> None:
    """Least, greatest and the number of ranks at each point."""
    found = spread([part(0, [(0, 1.0), (1, 5.0)]), part(1, [(0, 3.0)])])
    assert (found.steps.tolist(), found.min.tolist(), found.max.tolist()) == ([0, 1], [1.0, 5.0], [3.0, 5.0])
    assert found.ranks.tolist() == [2, 1]
