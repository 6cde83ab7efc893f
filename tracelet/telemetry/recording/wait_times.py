"""Waits for other ranks, which are no part of the phases that they are in. Used by `throughput` once per window.

Waits are added on the thread that waits; what is not in a training iteration is dropped.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any

from tracelet.telemetry.names import COLLECTIVE_WAIT


class WaitTimes:
    """The waits of the present window, in nanoseconds of the monotonic clock."""

    def __init__(self) -> None:
        self._waits: list[tuple[int, int]] = []

    def add(self, began: int, ended: int) -> None:
        """Take one wait."""
        self._waits.append((began, ended))

    def pop(self, iterations: Sequence[tuple[int, int, int, list[Any]]]) -> dict[str, int]:
        """By how much the waits of these iterations (see `throughput.Iteration`) change the sums of their phases."""
        found: dict[str, int] = {}
        waits, self._waits = self._waits, []
        begins = [begin for begin, *_ in iterations]
        for began, ended in waits:
            begin, end, _, marks = iterations[max(0, bisect_right(begins, began) - 1)]
            if not begin <= began < end:
                continue
            place = bisect_left(marks[1::2], ended)
            if place < len(marks) // 2:
                phase = marks[2 * place]
                found[phase] = found.get(phase, 0) - (ended - began)
            found[COLLECTIVE_WAIT] = found.get(COLLECTIVE_WAIT, 0) + ended - began
        return found
