"""Downsamples long series for charts without losing spikes.

Read side only. Own code, because numpy does it in a few lines and the libraries drop NaN or need a compiled wheel for
every Python. Called with whole series, or with blocks of one while it is read, so that ten million points are never in
memory together.
"""

from __future__ import annotations

from collections.abc import Iterable

from tracelet.journal.records import Chunk
from tracelet.store.point_selection import select_indices
from tracelet.store.series import Origin, Series, assemble, join

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
