"""Downsampling: nothing that one looks for in a chart is lost, whether a series is whole or read block by block."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tracelet.journal.column_packing import pack_floats, pack_integers
from tracelet.journal.records import Chunk
from tracelet.store import downsampling
from tracelet.store.downsampling import downsample, downsample_chunks
from tracelet.store.series import Origin, Series, assemble

if TYPE_CHECKING:
    from tracelet.journal.column_packing import FloatArray

columns = arrays.arrays(np.float64, st.integers(1, 400), elements=st.floats(width=32))


def chunked(values: FloatArray, length: int) -> list[tuple[Origin, Chunk]]:
    """The values as chunks of one fit after another, steps counted through."""
    return [
        (
            Origin(0, 0),
            Chunk(
                "loss", len(part), pack_integers(list(range(at, at + len(part)))), pack_integers([at * 7] * len(part)),
                pack_floats(part.tolist()), "train", at // (3 * length),
            ),
        )
        for at in range(0, len(values), length)
        if len(part := values[at : at + length])
    ]  # fmt: skip


def series(values: FloatArray, length: int = 50) -> Series:
    return assemble("loss", chunked(values, length))


@given(values=columns, points=st.integers(0, 60))
def test_extremes_ends_and_nan_are_kept(values: FloatArray, points: int) -> None:
    """Least and greatest value, both ends and some NaN of the whole are in the result, no longer than asked."""
    found = downsample(series(values), points)
    assert len(found) <= max(points, downsampling.MIN_POINTS) or len(found) == len(values)
    assert found.steps[0] == 0
    assert found.steps[-1] == len(values) - 1
    assert np.isnan(found.values).any() == np.isnan(values).any()
    if not np.isnan(values).all():
        assert np.nanmin(found.values) == np.nanmin(values)
        assert np.nanmax(found.values) == np.nanmax(values)


@given(values=columns, points=st.integers(8, 60))
def test_every_column_is_that_of_the_chosen_points(values: FloatArray, points: int) -> None:
    """Steps ascend, and value, time and fit of each point are those that the series has at its step."""
    whole = series(values)
    found = downsample(whole, points)
    assert all(before < after for before, after in pairwise(found.steps))
    assert np.array_equal(found.values, whole.values[found.steps], equal_nan=True)
    assert np.array_equal(found.times, whole.times[found.steps])
    assert np.array_equal(found.fits, whole.fits[found.steps])
    assert len(found.stages) == len(found)


def test_a_single_spike_among_a_million_is_kept() -> None:
    """One value out of line, one infinity and one NaN survive a reduction from a million points to a thousand."""
    values = np.zeros(1_000_000)
    values[[123_456, 500_001, 777_777]] = 1.0, -np.inf, np.nan
    kept = set(downsample(series(values, 10_000), 1000).steps.tolist())
    assert {123_456, 500_001, 777_777} <= kept


@given(values=columns, points=st.integers(0, 60), length=st.integers(1, 60))
def test_block_by_block_keeps_extremes_too(values: FloatArray, points: int, length: int) -> None:
    """A series that is sampled while it is read keeps ends, extremes and NaN, and the columns belong together."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(downsampling, "BLOCK", 100)
        found = downsample_chunks("loss", chunked(values, length), len(values), points)
    whole = series(values, length)
    assert found.steps[0] == 0
    assert found.steps[-1] == len(values) - 1
    assert np.isnan(found.values).any() == np.isnan(values).any()
    if not np.isnan(values).all():
        assert np.nanmin(found.values) == np.nanmin(values)
        assert np.nanmax(found.values) == np.nanmax(values)
    assert np.array_equal(found.values, whole.values[found.steps], equal_nan=True)
    assert np.array_equal(found.fits, whole.fits[found.steps])


def test_a_short_series_comes_back_whole() -> None:
    """What fits is not touched: the same object whole, the same points block by block."""
    whole = series(np.arange(20.0))
    assert downsample(whole, 20) is whole
    assert np.array_equal(downsample_chunks("loss", chunked(np.arange(20.0), 3), 20, 2000).values, whole.values)
