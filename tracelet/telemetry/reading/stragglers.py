"""Which rank holds up the others, in which phase and since when. Pure; used by `time_analysis`.

Ranks that train together do the same iterations, so they are compared iteration by iteration: from the begin of one to
the begin of the next, with what runs in between (callbacks, validation, checkpoints). Waiting for other ranks is a
category of its own, so what remains is a rank's own work. In each phase a rank is compared with the median of the other
ranks; differences keep their sign, so that noise cancels out over the iterations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tracelet.telemetry.names import TRAINING_LOOP
from tracelet.telemetry.reading.attribution import Attribution
from tracelet.telemetry.reading.process_times import Straggle

if TYPE_CHECKING:
    from tracelet.journal.column_packing import IntArray

NANO = 1e9
SHARE = 0.1
"""Of the time of the training that a lasting difference takes; below, there is little to gain."""
SINGLE_SHARE = 0.02
"""The same of single iterations,"""
SINGLE_FACTOR = 5
"""which are those that take this much longer than a usual iteration,"""
SINGLE_NS = 200_000_000
"""and this many nanoseconds: a busy machine stops any process for a tenth of a second."""
MIN_NS = 1_000_000
"""A lasting difference is at least this much in each iteration, on average."""
MIN_ITERATIONS = 6
"""Fewer say nothing of what lasts."""
WAITING = "collective_wait"
OUTSIDE = "other"
"""Time between two phases, in no span: a loop of the program's own, for example."""


def find_stragglers(processes: Sequence[Attribution]) -> list[list[Straggle]]:
    """For each of these processes, where it held up the other ranks of its attempt."""
    found: list[list[Straggle]] = [[] for _ in processes]
    periods = [_Periods(process) for process in processes]
    for attempt in {process.columns.attempt for process in processes}:
        chosen = [n for n, one in enumerate(processes) if one.columns.attempt == attempt and len(periods[n].starts)]
        if len({processes[n].columns.rank for n in chosen}) > 1:
            compared = [periods[n] for n in chosen]
            for n in chosen:
                found[n] = _straggles(periods[n], [other for other in compared if other is not periods[n]])
    return found


class _Periods:
    """The iterations of one process with what follows each, and its own time in each phase."""

    def __init__(self, process: Attribution) -> None:
        import numpy as np

        columns = process.columns
        self.rows = columns.iterations()
        self.starts: IntArray = columns.starts[self.rows]
        loops = columns.named(TRAINING_LOOP) & ~columns.tuned
        ends = np.append(self.starts[1:], columns.ends[self.rows][-1:])
        loop_ends = np.sort(columns.ends[loops])
        if len(loop_ends) and len(ends):  # between two fits nobody trains
            following = loop_ends[np.minimum(np.searchsorted(loop_ends, self.starts, side="right"), len(loop_ends) - 1)]
            last = np.append(self.starts[1:] > following[:-1], True)
            ends = np.where(last, following, ends)
        self.lengths = np.maximum(ends - self.starts, 0)
        self.own: dict[str, Any] = process.by_period(self.starts, ends) if len(self.starts) else {}
        self.own[OUTSIDE] = np.maximum(self.lengths - sum(self.own.values()), 0) if len(self.starts) else self.lengths
        self.waits = self.own.pop(WAITING, np.zeros(len(self.starts)))


def _straggles(mine: _Periods, others: Sequence[_Periods]) -> list[Straggle]:
    """Phase by phase, the costliest first."""
    import numpy as np

    count = min(len(mine.starts), *(len(other.starts) for other in others))
    usual = float(np.median(mine.lengths[:count]))
    # The first iteration starts workers and compiles, on every rank differently.
    skipped = 1 if count > MIN_ITERATIONS else 0
    waits = np.mean([other.waits[:count] for other in others], axis=0)
    found = []
    for phase, own in mine.own.items():
        rest = [other.own.get(phase, np.zeros(len(other.starts)))[:count] for other in others]
        excess = own[:count] - np.median(rest, axis=0)
        excess[:skipped] = 0
        found += _of_phase(phase, excess, usual, waits, mine)
    return sorted(found, key=lambda straggle: -straggle.seconds)


def _of_phase(phase: str, excess: Any, usual: float, waits: Any, mine: _Periods) -> list[Straggle]:
    import numpy as np

    whole = float(mine.lengths[: len(excess)].sum())
    single = (excess > max(SINGLE_FACTOR * usual, SINGLE_NS)) & (waits > excess / 2)
    lasting = np.where(single, 0.0, excess)
    first = _onset(lasting)
    total = float(lasting[first:].sum())
    found = []
    held = float(waits[first:][~single[first:]].sum())
    steady = float(np.median(lasting[first:])) > total / len(lasting[first:]) / 2
    count = len(lasting) - first
    if count >= MIN_ITERATIONS and total >= max(SHARE * whole, MIN_NS * count) and held > total / 2:
        places = np.flatnonzero(lasting[first:] > total / count / 2) + first
        found.append(_straggle(phase, places, total, held, steady, mine))
    seconds = float(excess[single].sum())
    if seconds >= SINGLE_SHARE * whole:
        found.append(_straggle(phase, np.flatnonzero(single), seconds, float(waits[single].sum()), False, mine))
    return found


def _onset(excess: Any) -> int:
    """Where a difference begins that lasts until the end: before it, the sum stays below half of the mean."""
    import numpy as np

    sums = np.cumsum(excess - excess.mean() / 2)
    place = int(np.argmin(sums))
    return place + 1 if sums[place] < 0 and place + 1 < len(excess) else 0


def _straggle(phase: str, places: IntArray, total: float, waited: float, lasting: bool, mine: _Periods) -> Straggle:
    first = int(places[0]) if len(places) else 0
    return Straggle(
        phase=phase, seconds=total / NANO, iterations=len(places), first=first,
        since=float(mine.starts[first]) / NANO, lasting=lasting, waited=waited / NANO,
    )  # fmt: skip
