"""The data of a chart: the visible part of a series, downsampled without losing a spike, on the chosen axis.

Called by the API's worker threads. Pure: series in, plain lists out. NaN and infinities are returned separately from
the numbers, because JSON has none and because users look for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tracelet.store.downsampling import select_indices
from tracelet.store.series import Series

if TYPE_CHECKING:
    from tracelet.journal.column_packing import FloatArray, IntArray

AXES = ("step", "epoch", "time", "relative")
MIN_POINTS, MOST = 8, 20_000
"""Points per answer."""


def curve(
    series: Series, axis: str, points: int, low: float | None = None, high: float | None = None, started: float = 0.0
) -> dict[str, Any]:
    """The points between `low` and `high` of the axis, and one more on either side, so that lines reach the chart's
    edge.
    """
    start, stop = _bounds(series, axis, low, high, started)
    most = max(MIN_POINTS, min(points, MOST))
    values = series.values[start:stop]
    import numpy as np

    places = select_indices(values, most) if len(values) > most else np.arange(len(values), dtype=np.int64)
    found = values[places]
    finite = np.isfinite(found)
    x = _axis(series, axis, places + start, started)
    return {
        "x": x.tolist(), "y": [value if good else None for value, good in zip(found.tolist(), finite.tolist())],
        "nan": x[np.isnan(found)].tolist(), "up": x[np.isposinf(found)].tolist(),
        "down": x[np.isneginf(found)].tolist(),
        "steps": series.steps[places + start].tolist(), "count": stop - start, "total": len(series),
    }  # fmt: skip


def band(
    all_series: Sequence[Series], points: int, low: float | None = None, high: float | None = None
) -> dict[str, Any]:
    """The min, mean and max of several ranks at each visible step."""
    import numpy as np

    steps = np.concatenate([series.steps for series in all_series])
    values = np.concatenate([series.values for series in all_series])
    sound = np.isfinite(values)
    if low is not None and high is not None:
        sound &= (steps >= low) & (steps <= high)
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
    columns = {"x": at, "min": lowest, "mean": mean, "max": highest}
    return {name: column[places].tolist() for name, column in columns.items()}


def _bounds(series: Series, axis: str, low: float | None, high: float | None, started: float) -> tuple[int, int]:
    """First and last visible position; steps may go back after a resumption, so everything between the outermost is
    kept.
    """
    count = len(series)
    if low is None or high is None or not count:
        return 0, count
    import numpy as np

    column: FloatArray | IntArray = series.steps
    if axis in ("time", "relative"):
        column, low, high = series.times, low + _origin(axis, started), high + _origin(axis, started)
    elif axis == "epoch":
        column, low, high = series.epochs, np.floor(low), np.ceil(high)
    inside = (column >= low) & (column <= high)
    if not inside.any():
        after = int(np.searchsorted(column, low))
        return max(0, after - 1), min(count, after + 1)
    first, last = int(inside.argmax()), count - 1 - int(inside[::-1].argmax())
    return max(0, first - 1), min(count, last + 2)


def _origin(axis: str, started: float) -> float:
    return started if axis == "relative" else 0.0


def _axis(series: Series, axis: str, places: IntArray, started: float) -> FloatArray:
    import numpy as np

    if axis in ("time", "relative"):
        moments: FloatArray = series.times[places] - _origin(axis, started)
        return moments
    if axis == "epoch":
        return _within_epochs(series, places)
    return series.steps[places].astype(np.float64)


def _within_epochs(series: Series, places: IntArray) -> FloatArray:
    """The epoch with its fraction: the points of an epoch are spread evenly over it, because they only have
    its number.
    """
    import numpy as np

    turns = np.concatenate([[0], np.flatnonzero(np.diff(series.epochs)) + 1, [len(series)]])
    which = np.searchsorted(turns, places, side="right") - 1
    lengths = turns[which + 1] - turns[which]
    fraction = np.where(lengths > 1, (places - turns[which]) / lengths, 0.0)
    spread: FloatArray = np.maximum(series.epochs[places], 0) + fraction
    return spread
