"""Selects the points of a long series that a chart shows: the extremes of each interval, so that spikes stay. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracelet.journal.column_packing import FloatArray, IntArray


def select_indices(values: FloatArray, most: int) -> IntArray:
    """The places of those at most `most` of many values that `downsample` keeps, ascending."""
    import numpy as np

    nan = np.isnan(values)
    kinds = 3 if nan.any() else 2
    buckets = (most - 2) // kinds
    width = -(-len(values) // buckets)
    ends = np.array([0, len(values) - 1], dtype=np.int64)
    places = [ends, _extremes(values, nan, width, -1.0), _extremes(values, nan, width, 1.0)]
    if kinds > 2:
        wrong = np.flatnonzero(nan)
        places.append(wrong[np.unique(wrong // width, return_index=True)[1]])
    return np.unique(np.concatenate(places))


def _extremes(values: FloatArray, nan: FloatArray, width: int, sign: float) -> IntArray:
    """The position of each bucket's max (its min, with the sign -1). In a bucket of NaN only: any."""
    import numpy as np

    padded = np.full(-(-len(values) // width) * width, -np.inf)
    np.multiply(values, sign, out=padded[: len(values)])
    padded[: len(values)][nan] = -np.inf
    rows = padded.reshape(-1, width)
    places: IntArray = rows.argmax(axis=1) + np.arange(0, len(padded), width)
    return places
