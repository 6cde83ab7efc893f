"""Intervals of time that lie beside and within one another, as columns of nanoseconds. Used by `analysis`. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracelet.journal.column_packing import IntArray


def exclusive(starts: IntArray, ends: IntArray) -> IntArray:
    """Of each interval what no later one covers: all together are as long as what they cover."""
    import numpy as np

    order = np.lexsort((-ends, starts))
    starts, ends = starts[order], ends[order]
    own = ends - starts
    # Nearly all are phases, one after the other: only what lies in another one, and that other one, needs a look.
    inner = starts[1:] < np.maximum.accumulate(ends)[:-1]
    around: list[int] = []
    for place in np.flatnonzero(np.append(False, inner) | np.append(inner, False)).tolist():
        moment, end = int(starts[place]), int(ends[place])
        while around and ends[around[-1]] <= moment:
            around.pop()
        for holder in reversed(around):
            taken = min(end, int(ends[holder])) - moment
            if taken > 0:
                own[holder] -= taken
                moment += taken
            if moment >= end:
                break
        around.append(place)
    found = np.empty_like(own)
    found[order] = own
    return found


class Coverage:
    """What some intervals cover together."""

    def __init__(self, starts: IntArray, ends: IntArray) -> None:
        import numpy as np

        order = np.argsort(starts)
        starts, ends = starts[order], ends[order]
        furthest = np.maximum.accumulate(ends)
        first = np.append(True, starts[1:] > furthest[:-1])[: len(starts)]
        last = np.append(first[1:], True)[: len(starts)]
        self._starts, self._ends = starts[first], furthest[last]
        self._before = np.append(0, np.cumsum(self._ends - self._starts))

    def until(self, moments: IntArray) -> IntArray:
        """How much is covered before each moment."""
        import numpy as np

        if not len(self._starts):
            return np.zeros_like(moments)
        places = np.searchsorted(self._starts, moments, side="right")
        latest = np.maximum(places - 1, 0)
        missing = np.where(places > 0, np.maximum(0, self._ends[latest] - moments), 0)
        return np.asarray(self._before[places] - missing, dtype=np.int64)

    def uncovered(self, starts: IntArray, ends: IntArray) -> IntArray:
        """How much of each of these intervals is not covered."""
        import numpy as np

        return np.asarray(ends - starts - (self.until(ends) - self.until(starts)), dtype=np.int64)
