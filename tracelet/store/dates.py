"""Formats a time as local date and time. Pure; used by filters, the command line and whatever else shows a date."""

from __future__ import annotations

import time


def format_local(moment: float) -> str:
    """Local date and time, to the second; a moment that no calendar has (a damaged record) says so."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))
    except (ValueError, OverflowError, OSError):
        return "no such date"
