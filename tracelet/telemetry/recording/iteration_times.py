"""What a window of iterations took: each one's own time, and the sums of their phases. Used by `throughput` once per
window, on the training thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tracelet.telemetry.names import CALLBACKS, METRIC_LOGGING

Iteration = tuple[int, int, int, list[Any]]
"""(begin, end, samples or 0 if unknown, marks as in `sink.FinishedIteration`); times of one monotonic clock."""


def step_durations(iterations: Sequence[Iteration]) -> list[int]:
    """Nanoseconds of each iteration without callbacks, which save checkpoints, and without metric logging."""
    known: dict[tuple[str, ...], list[int]] = {}
    found = []
    for begin, end, _, marks in iterations:
        names = tuple(marks[::2])
        places = known.get(names)
        if places is None:
            places = known[names] = [n for n, name in enumerate(names) if name in (CALLBACKS, METRIC_LOGGING)]
        duration = end - begin
        for place in places:
            duration -= marks[2 * place + 1] - (marks[2 * place - 1] if place else begin)
        found.append(duration)
    return found


def phase_sums(iterations: Sequence[Iteration]) -> dict[str, int]:
    """Nanoseconds of each phase over these iterations. By columns, because nearly all have the same phases."""
    alike: dict[tuple[str, ...], list[tuple[int, ...]]] = {}
    for begin, _, _, marks in iterations:
        alike.setdefault(tuple(marks[::2]), []).append((begin, *marks[1::2]))
    sums: dict[str, int] = {}
    for names, edges in alike.items():
        totals = [sum(column) for column in zip(*edges)]
        for name, begin, end in zip(names, totals, totals[1:]):
            sums[name] = sums.get(name, 0) + end - begin
    return sums
