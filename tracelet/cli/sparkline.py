"""Draws a series as one line of characters. Pure; imports numpy when it draws."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracelet.journal.column_packing import FloatArray

BLOCKS = "▁▂▃▄▅▆▇█"
ASCII = "_.-=*#"
"""For terminals whose encoding has no block characters."""
GAP = " "


def sparkline(values: FloatArray, width: int, unicode: bool = True) -> str:
    """At most `width` characters: each is the mean of its share of the values, a gap if none of them is finite."""
    import numpy as np

    count = min(len(values), width)
    if count == 0:
        return ""
    edges = np.linspace(0, len(values), count + 1).astype(int)
    shares = [values[start:stop] for start, stop in pairwise(edges)]
    means = [_mean(kept) if len(kept := share[np.isfinite(share)]) else None for share in shares]
    finite = [mean for mean in means if mean is not None]
    levels = BLOCKS if unicode else ASCII
    if not finite:
        return GAP * count
    low, high = min(finite), max(finite)
    return "".join(GAP if mean is None else _level(mean, low, high, levels) for mean in means)


def _mean(values: FloatArray) -> float:
    # Halve and divide first, because the sum of large values may overflow; clip, because rounding must not make a flat
    # line look like one that moves.
    mean = 2.0 * float((values / (2 * len(values))).sum())
    return min(max(mean, float(values.min())), float(values.max()))


def _level(mean: float, low: float, high: float, levels: str) -> str:
    top = len(levels) - 1
    if low == high:
        return levels[top // 2]
    share = (mean / 2 - low / 2) / (high / 2 - low / 2)  # halves: a range from -1e308 to 1e308 does not overflow
    if share != share:
        return GAP
    return levels[min(top, max(0, round(share * top)))]
