"""The data of a chart: the visible part of a series, downsampled without losing a spike, on the chosen axis.

Called by the API's worker threads. Pure: series in, plain lists out. NaN and infinities are returned separately from
the numbers, because JSON has none and because users look for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tracelet.store.point_selection import select_indices
from tracelet.store.series import Series
from tracelet.ui.smoothing import smoothed

if TYPE_CHECKING:
    from tracelet.journal.column_packing import FloatArray, IntArray

MIN_POINTS, MOST = 8, 20_000
"""Points per answer."""


@dataclass(frozen=True)
class Axis:
    """The position of each point of a series on the x axis, and which points have one.

    Copies no column of a series of millions of points, unless the axis is the epoch or another metric.
    """

    positions: FloatArray | IntArray
    origin: float = 0.0
    """Where the axis begins: the start of the run for the relative time."""
    indexes: IntArray | None = None
    """The points with a position, ascending; None for all. Points outside an epoch, and those before the first value of
    the x metric, have none.
    """

    @classmethod
    def of(cls, series: Series, name: str, started: float = 0.0, along: Series | None = None) -> Axis:
        """`name`: step, epoch, time, relative, or that of the metric `along`, whose latest value at a step counts."""
        import numpy as np

        if along is not None:
            positions = _values_at(along, series.steps)
            return cls(positions, indexes=np.flatnonzero(np.isfinite(positions)))
        if name == "epoch":
            return cls(_within_epochs(series), indexes=np.flatnonzero(series.epochs >= 0))
        if name in ("time", "relative"):
            return cls(series.times, started if name == "relative" else 0.0)
        return cls(series.steps)

    def bounds(self, low: float | None, high: float | None) -> tuple[int, int]:
        """The first and the last visible point, among those with a position, and one more on either side, so that lines
        reach the chart's edge. Steps may go back after a resumption: everything between the outermost is visible.
        """
        column = self.positions if self.indexes is None else self.positions[self.indexes]
        count = len(column)
        if low is None or high is None or not count:
            return 0, count
        import numpy as np

        low, high = low + self.origin, high + self.origin
        inside = (column >= low) & (column <= high)
        if not inside.any():
            after = int(np.searchsorted(column, low))
            return max(0, after - 1), min(count, after + 1)
        first, last = int(inside.argmax()), count - 1 - int(inside[::-1].argmax())
        return max(0, first - 1), min(count, last + 2)

    def places(self, start: int, stop: int) -> IntArray | slice:
        """Those points' indexes in the series."""
        return slice(start, stop) if self.indexes is None else self.indexes[start:stop]

    def at(self, places: IntArray) -> FloatArray:
        """The positions of the points with these indexes."""
        found: FloatArray = (self.positions[places] - self.origin).astype("float64", copy=False)
        return found


def curve(
    series: Series, axis: Axis, points: int, low: float | None = None, high: float | None = None,
    smooth: tuple[str, float] = ("ema", 0.0),
) -> dict[str, Any]:  # fmt: skip
    """The visible points of a series, downsampled to at most `points`; `smooth`: a kind of smoothing, and how much."""
    import numpy as np

    most = max(MIN_POINTS, min(points, MOST))
    start, stop = axis.bounds(low, high)
    values = series.values[axis.places(start, stop)]
    chosen = select_indices(values, most) if len(values) > most else np.arange(len(values), dtype=np.int64)
    places = chosen + start if axis.indexes is None else axis.indexes[chosen + start]
    found, x = series.values[places], axis.at(places)
    finite = np.isfinite(found)
    drawn = {
        "x": x.tolist(), "y": [value if good else None for value, good in zip(found.tolist(), finite.tolist())],
        "nan": x[np.isnan(found)].tolist(), "up": x[np.isposinf(found)].tolist(),
        "down": x[np.isneginf(found)].tolist(),
        "steps": series.steps[places].tolist(), "count": stop - start, "total": len(series),
    }  # fmt: skip
    if smooth[1] > 0:
        placed = axis.places(0, len(series) if axis.indexes is None else len(axis.indexes))
        means = smoothed(series.values[placed], axis.positions[placed].astype("float64", copy=False), *smooth)
        drawn["smooth"] = [value if good else None for value, good in zip(means[chosen + start].tolist(), finite)]
    return drawn


def band(
    all_series: Sequence[Series], aggregate: Series, axis: Axis, points: int, low: float | None = None,
    high: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The min, mean and max of several ranks at each visible point of their aggregate."""
    import numpy as np

    start, stop = axis.bounds(low, high)
    visible = np.arange(len(aggregate), dtype=np.int64)[axis.places(start, stop)]
    steps = np.concatenate([series.steps for series in all_series])
    values = np.concatenate([series.values for series in all_series])
    sound = np.isfinite(values) & np.isin(steps, aggregate.steps[visible])
    order = np.argsort(steps[sound], kind="stable")
    steps, values = steps[sound][order], values[sound][order]
    at, begins, counts = np.unique(steps, return_index=True, return_counts=True)
    if not len(at):
        return {"x": [], "min": [], "mean": [], "max": []}
    mean = np.add.reduceat(values, begins) / counts
    lowest, highest = np.minimum.reduceat(values, begins), np.maximum.reduceat(values, begins)
    most = max(MIN_POINTS, min(points, MOST))
    places = np.arange(len(at))
    if len(at) > most:
        places = np.union1d(select_indices(lowest, most // 2), select_indices(highest, most // 2))
    by_step = visible[np.argsort(aggregate.steps[visible], kind="stable")]
    x = axis.at(by_step[np.searchsorted(aggregate.steps[by_step], at)])
    columns = {"x": x, "min": lowest, "mean": mean, "max": highest}
    return {name: column[places].tolist() for name, column in columns.items()}


def _values_at(along: Series, steps: IntArray) -> FloatArray:
    """The latest value of a metric at each of these steps; NaN before its first."""
    import numpy as np

    if not len(along):
        return np.full(len(steps), np.nan)
    order = np.argsort(along.steps, kind="stable")
    before = np.searchsorted(along.steps[order], steps, side="right") - 1
    found: FloatArray = np.where(before >= 0, along.values[order][np.maximum(before, 0)], np.nan)
    return found


def _within_epochs(series: Series) -> FloatArray:
    """The epoch with its fraction: the points of an epoch are spread evenly over it, because they only have
    its number.
    """
    import numpy as np

    if not len(series):
        return np.empty(0)
    turns = np.concatenate([[0], np.flatnonzero(np.diff(series.epochs)) + 1, [len(series)]])
    lengths = np.diff(turns)
    begins, widths = np.repeat(turns[:-1], lengths), np.repeat(lengths, lengths)
    fraction = np.where(widths > 1, (np.arange(len(series)) - begins) / widths, 0.0)
    spread: FloatArray = np.maximum(series.epochs, 0) + fraction
    return spread
