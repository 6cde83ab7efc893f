"""Draws a series as a chart of several lines of characters, with its scale. Pure; imports numpy when it draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracelet.cli.formatting import number
from tracelet.cli.sparkline import ASCII, BLOCKS

if TYPE_CHECKING:
    from tracelet.store.series import Series

HEIGHT = 12
"""Lines: half of a small terminal."""


def plot(series: Series, width: int, unicode: bool = True, height: int = HEIGHT) -> list[str]:
    """One column of blocks for each interval, from the minimum of the series to its maximum; then its steps."""
    import numpy as np

    values = series.values
    finite = values[np.isfinite(values)]
    if not len(finite):
        return []
    low, high = float(finite.min()), float(finite.max())
    labels = [number(low + (high / height - low / height) * (row + 0.5)) for row in range(height)]
    labels[0], labels[-1] = number(low), number(high)
    margin = max(map(len, labels))
    edges = np.linspace(0, len(values), min(width - margin - 2, len(values)) + 1).astype(int)
    columns = [_filled(values[start:stop], low, high, height) for start, stop in zip(edges, edges[1:])]
    shades = " " + (BLOCKS if unicode else ASCII)
    lines = [
        f"{labels[row]:>{margin}} {'│' if unicode else '|'}"
        + "".join(_cell(filled - row, shades) for filled in columns)
        for row in reversed(range(height))
    ]
    first, last = f"step {series.steps[0]}", str(series.steps[-1])
    return [*lines, " " * (margin + 2) + first + last.rjust(max(len(last) + 1, len(columns) - len(first)))]


def _filled(values: object, low: float, high: float, height: int) -> float:
    """How many lines a column fills, from the mean of its values; 0 without a finite one."""
    import numpy as np

    finite = np.asarray(values)[np.isfinite(np.asarray(values))]
    if not len(finite):
        return 0.0
    mean = float((finite / len(finite)).sum())
    share = 0.5 if low == high else (mean / 2 - low / 2) / (high / 2 - low / 2)
    return max(0.0, min(1.0, share)) * (height - 0.125) + 0.125  # the minimum is a visible line


def _cell(filled: float, shades: str) -> str:
    """The share of one line that is filled, as a character."""
    return shades[round(max(0.0, min(1.0, filled)) * (len(shades) - 1))]
