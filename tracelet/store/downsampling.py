"""Downsamples long series for charts without losing spikes.

Read side only. Own code, because numpy does it in a few lines and the libraries drop NaN or need a compiled wheel for
every Python. Called with whole series, or with blocks of one while it is read, so that ten million points are never in
memory together.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tracelet.journal.records import Chunk
from tracelet.store.series import Origin, Series, assemble, join

if TYPE_CHECKING:
    from tracelet.journal.column_packing import FloatArray, IntArray

MIN_POINTS = 8
"""Minimum number of points kept of any series: its ends and the extremes of a bucket or two."""
BLOCK = 262_144
"""Points that are unpacked at once: few enough for the processor's cache, many enough for numpy."""


def downsample(series: Series, points: int) -> Series:
    """The series with at most `points` points (at least 8), chosen, not averaged.

    The points are divided into buckets of equal length; each keeps its min and its max, infinities included, and its
    first NaN if it has one. The first and the last point are always kept. A short series is returned unchanged.
    """
    count = len(series)
    most = max(points, MIN_POINTS)
    if count <= most:
        return series
    return series.at(select_indices(series.values, most))


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


def downsample_chunks(name: str, chunks: Iterable[tuple[Origin, Chunk]], total: int, points: int) -> Series:
    """What `downsample` makes of a series of `total` points, block by block while its chunks are read.

    Gives about `points` points: every block keeps its ends too. JournalError when a chunk's columns are damaged.
    """
    share = points / max(total, 1)
    parts: list[Series] = []
    block: list[tuple[Origin, Chunk]] = []
    size = 0
    for pair in chunks:
        block.append(pair)
        size += pair[1].count
        if size >= BLOCK and share < 1:
            parts.append(downsample(assemble(name, block), int(size * share)))
            block, size = [], 0
    parts.append(downsample(assemble(name, block), points if not parts else int(size * share)))
    return join(parts)
