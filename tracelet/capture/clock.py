"""The clock of records: microseconds since the Unix epoch, never back beyond what has passed since this process began.

Read on any thread. A wall clock that is set back would let a run end before it started.
"""

from __future__ import annotations

import time

_wall = time.time
_monotonic = time.monotonic
_started = _wall(), _monotonic()
TOLERANCE = 1.0
"""Seconds by which the two clocks may differ: the wall clock is adjusted all the time, by less."""


def now() -> int:
    """The time in microseconds since the epoch."""
    wall, passed = _wall(), _monotonic() - _started[1]
    return int((wall if wall >= _started[0] + passed - TOLERANCE else _started[0] + passed) * 1e6)
