"""Whether a run repeats another one: series by series, identical, within a tolerance, or different from a step on.

Used by `tracelet reproduce`; reads both runs, and writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tracelet.store.run import Run
from tracelet.store.series import Series

IDENTICAL, CLOSE, DIFFERENT, MISSING = "identical", "within tolerance", "different", "missing"


class SeriesVerdict(NamedTuple):
    """What became of one metric."""

    metric: str
    verdict: str
    step: int | None = None
    """The first step with another value, or that only one of them has."""


def compare_runs(first: Run, second: Run, tolerance: float) -> Iterator[SeriesVerdict]:
    """The verdict for each metric that either program logged; `tolerance` is relative."""
    names = {
        name for run in (first, second) for name, summary in run.summaries().items() if not summary.automatic
    }  # fmt: skip
    for name in sorted(names):
        if name not in first.metrics() or name not in second.metrics():
            yield SeriesVerdict(name, MISSING)
        else:
            yield _compared(first.series(name), second.series(name), tolerance)


def _compared(first: Series, second: Series, tolerance: float) -> SeriesVerdict:
    import numpy as np

    count = min(len(first), len(second))
    same_steps = first.steps[:count] == second.steps[:count]
    one, other = first.values[:count], second.values[:count]
    same = same_steps & ((one == other) | (np.isnan(one) & np.isnan(other)))
    close = same_steps & np.isclose(one, other, rtol=tolerance, atol=0.0, equal_nan=True)
    if len(first) != len(second):
        wrong = np.flatnonzero(~close)
        longer = first if len(first) > len(second) else second
        return SeriesVerdict(first.name, DIFFERENT, int(longer.steps[wrong[0] if len(wrong) else count]))
    if same.all():
        return SeriesVerdict(first.name, IDENTICAL)
    if close.all():
        return SeriesVerdict(first.name, CLOSE, int(first.steps[np.flatnonzero(~same)[0]]))
    return SeriesVerdict(first.name, DIFFERENT, int(first.steps[np.flatnonzero(~close)[0]]))
