"""Times of other formats as integer microseconds since the epoch. Pure."""

from __future__ import annotations

import math
import os
import re
from datetime import datetime, timedelta, timezone

SECOND, MILLI = 1_000_000, 1_000
LATEST_SECONDS = 4e12
"""Maximum seconds since the epoch whose microseconds fit 64 bits."""
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
FRACTION = re.compile(r"(\.\d{6})\d+")
SHORT_FRACTION = re.compile(r"\.(\d{1,5})(?!\d)")


def from_seconds(seconds: object) -> int:
    """Seconds since the epoch; 0 if that is no possible time."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        return 0
    return round(seconds * SECOND) if math.isfinite(seconds) and abs(seconds) < LATEST_SECONDS else 0


def from_millis(millis: object) -> int:
    """Milliseconds since the epoch; 0 if that is no possible time."""
    if isinstance(millis, int) and not isinstance(millis, bool) and abs(millis) < LATEST_SECONDS * MILLI:
        return millis * MILLI
    return from_seconds(millis / MILLI) if isinstance(millis, float) else 0


def from_iso(text: object) -> int | None:
    """An ISO 8601 time, in UTC if it names no zone; digits beyond microseconds are cut. None if it is none."""
    if isinstance(text, str):
        cut = FRACTION.sub(r"\1", text.strip().replace("Z", "+00:00"))
        cut = SHORT_FRACTION.sub(lambda found: "." + found[1].ljust(6, "0"), cut)  # before Python 3.11, 3 or 6 digits
        try:
            return from_datetime(datetime.fromisoformat(cut))
        except (ValueError, OverflowError):
            return None
    return from_datetime(text) if isinstance(text, datetime) else None


def from_datetime(time: datetime) -> int:
    """A time, in UTC if it has no zone."""
    aware = time if time.tzinfo is not None else time.replace(tzinfo=timezone.utc)
    return (aware - EPOCH) // timedelta(microseconds=1)


def modified(path: os.PathLike[str]) -> int:
    """When the file was last written."""
    return os.stat(path).st_mtime_ns // 1000
