"""Smooths a series over all of its points: a smoothed value depends neither on the width of a chart nor on its zoom.

Called by the API's worker threads. Pure. Gaps stay gaps: a value that is not finite is skipped, and stays what it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracelet.journal.column_packing import FloatArray

KINDS = ("ema", "time", "mean", "gaussian")
"""Exponential moving average over points or over the x axis, running mean, Gaussian."""
MOST_WEIGHT = 0.9999
MOST_WIDTH = 100_000
TIME_UNITS = 1000
"""The whole x axis has as many units: the weight of the average over the axis is the share kept per unit, as in W&B."""
REACH = 4
"""Standard deviations after which a Gaussian ends."""


def smoothed(values: FloatArray, positions: FloatArray, kind: str, amount: float) -> FloatArray:
    """`amount`: the weight of the past (0 to 1) for the averages, a number of points for the others."""
    import numpy as np

    result = values.astype(np.float64, copy=True)
    sound = np.isfinite(values)
    chosen = values[sound]
    if len(chosen) < 2 or amount <= 0:
        return result
    if kind == "ema":
        result[sound] = _average(chosen, np.full(len(chosen), min(amount, MOST_WEIGHT)))
    elif kind == "time":
        result[sound] = _average(chosen, _weights_along(positions[sound], min(amount, MOST_WEIGHT)))
    elif kind == "mean":
        result[sound] = _running_mean(chosen, int(min(max(amount, 1), MOST_WIDTH)))
    else:
        result[sound] = _gaussian(chosen, min(amount, MOST_WIDTH / REACH))
    return result


def _weights_along(positions: FloatArray, weight: float) -> FloatArray:
    """The share of the past that is kept at each point: less after a longer way along the axis."""
    import numpy as np

    ways = np.abs(np.diff(positions, prepend=positions[0]))
    whole = float(positions.max() - positions.min()) or 1.0
    kept: FloatArray = np.power(weight, ways / whole * TIME_UNITS)
    return kept


def _average(values: FloatArray, kept: FloatArray) -> FloatArray:
    """The weighted mean of all points so far, each weighted by the product of what was kept since."""
    import numpy as np

    scale = float(np.abs(values).max()) or 1.0  # sums of the largest floats would overflow
    mean: FloatArray = _accumulated(values / scale, kept) / _accumulated(np.ones(len(values)), kept) * scale
    return mean


def _accumulated(values: FloatArray, kept: FloatArray) -> FloatArray:
    """`total = total * kept + value` at each point; rows are computed side by side, because there may be millions."""
    import numpy as np

    count = len(values)
    width = max(1, int(count**0.5))
    rows = -(-count // width)
    totals, shares = np.zeros((rows, width)), np.ones((rows, width))
    totals.reshape(-1)[:count], shares.reshape(-1)[:count] = values, kept
    for column in range(1, width):
        totals[:, column] += totals[:, column - 1] * shares[:, column]
        shares[:, column] *= shares[:, column - 1]
    for row in range(1, rows):
        totals[row] += shares[row] * totals[row - 1, -1]
    flat: FloatArray = totals.reshape(-1)[:count]
    return flat


def _running_mean(values: FloatArray, width: int) -> FloatArray:
    """The mean of up to `width` points around each point, fewer at the ends."""
    import numpy as np

    before = width // 2
    places = np.arange(len(values))
    first, last = np.maximum(places - before, 0), np.minimum(places + (width - 1 - before), len(values) - 1)
    scale = float(np.abs(values).max()) or 1.0
    sums = np.concatenate([[0.0], np.cumsum(values / scale)])
    mean: FloatArray = (sums[last + 1] - sums[first]) / (last + 1 - first) * scale
    return mean


def _gaussian(values: FloatArray, deviation: float) -> FloatArray:
    """The mean of all points around each point, weighted by their distance in points."""
    import numpy as np

    reach = max(1, min(int(REACH * deviation), len(values) - 1))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    size = 1 << (len(values) + 2 * reach).bit_length()
    scale = float(np.abs(values).max()) or 1.0
    spectrum = np.fft.rfft(kernel, size)
    both = (
        np.fft.irfft(np.fft.rfft(column, size) * spectrum, size) for column in (values / scale, np.ones(len(values)))
    )
    totals, weights = (column[reach : reach + len(values)] for column in both)
    mean: FloatArray = totals / weights * scale
    return mean
