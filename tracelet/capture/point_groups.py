"""Groups items by series where they were logged both alone and together. Used by the packer, on its thread; pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from tracelet.capture.sink import Item, SeriesGroup, row_points

SPAN_WIDTH = 7
"""The length of a `FinishedSpan`; a `FinishedIteration` is longer, a point shorter."""


def has_overlapping_series(points: Mapping[Any, list[Any]]) -> bool:
    """Whether a series has points in more than one place, so that their order would be lost: rare, but it happens where
    a metric is logged in some steps only.
    """
    groups = [name for name in points if type(name) is SeriesGroup]
    if len(groups) == len(points) == 1:
        return False
    keys = [key for group in groups for key in group.keys]
    return len(set(keys)) < len(keys) or any(key in points for key in keys)


def points_by_series(items: Iterable[Item]) -> dict[Any, list[Any]]:
    """The points of each series in their order, rows taken apart."""
    points: defaultdict[Any, list[Any]] = defaultdict(list)
    for item in items:
        if type(item) is tuple and len(item) < SPAN_WIDTH:
            for point in row_points(item) if type(item[0]) is SeriesGroup else (item,):
                points[point[0]].append(point)
    return points
