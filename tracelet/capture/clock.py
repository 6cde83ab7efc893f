"""The clock of records: microseconds since the Unix epoch."""

from __future__ import annotations

import time


def now() -> int:
    """The time in microseconds since the epoch."""
    return int(time.time() * 1e6)
