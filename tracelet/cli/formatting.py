"""Formats numbers, times, values and texts for people. Pure functions; imports nothing heavy.

Texts of runs may contain anything, such as the escape sequences that rename a terminal's window or hide lines: all
commands print them through `visible` or `value`.
"""

from __future__ import annotations

import json
import math
import time
from typing import Any

from tracelet.store import dates

UNITS = (("d", 86400), ("h", 3600), ("m", 60))
CONTROLS = (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
"""Characters that control a terminal instead of being shown: C0, DEL, C1, and Unicode's line breaks and
bidi controls.
"""
ESCAPES = {code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in CONTROLS if chr(code) not in "\n\t"}
JSON_ESCAPES = {code: f"\\u{code:04x}" for code in CONTROLS if code >= 0x20}
"""Those that JSON does not escape; they occur only inside its strings."""
NON_FINITE = {math.inf: "Infinity", -math.inf: "-Infinity"}


def number(value: float) -> str:
    """Six significant digits; integers in full while they are exact."""
    if value != value:
        return "NaN"
    if value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.6g}"


def counted(count: int, noun: str) -> str:
    """`1 point`, `1,000 points`: for nouns that take an s."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """The two largest units: `1h 05m`, `12s`, `0.4s`."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f}s"
    rest = round(seconds)
    for place, (unit, size) in enumerate(UNITS):
        if rest >= size:
            smaller, small = UNITS[place + 1] if place + 1 < len(UNITS) else ("s", 1)
            return f"{rest // size}{unit} {rest % size // small:02d}{smaller}"
    return f"{rest}s"


def ago(moment: float) -> str:
    """The age: `just now`, `5 minutes ago`, `3 days ago`; a date beyond a month."""
    seconds = time.time() - moment
    for unit, size, limit in (("minute", 60, 3600), ("hour", 3600, 86400), ("day", 86400, 30 * 86400)):
        if seconds < 60:
            return "just now"
        if seconds < limit:
            count = int(seconds // size)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return date(moment)[:10]


def date(moment: float) -> str:
    """Local date and time, to the second."""
    return dates.format_local(moment)


def size(count: float) -> str:
    """Bytes: `512 B`, `64.0 KB`, `1.2 GB`."""
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def visible(text: str) -> str:
    """The text with control characters escaped, except tabs and the line breaks."""
    return text if text.isprintable() else text.translate(ESCAPES)


def value(found: Any) -> str:
    """A name, parameter or fact on one line, without control characters."""
    if isinstance(found, float):
        return number(found)
    if found is None or isinstance(found, (bool, int)):
        return str(found)
    text = found if isinstance(found, str) else as_json(found, indent=None)
    return visible(text.replace("\n", "\\n").replace("\t", "\\t"))


def as_json(found: Any, indent: int | None = 2) -> str:
    """Standard JSON: floats exact to the last bit, NaN and infinities as the strings "NaN", "Infinity", "-Infinity"."""
    text = json.dumps(_finite(found), indent=indent, ensure_ascii=False, allow_nan=False, default=str)
    return text.translate(JSON_ESCAPES)


def _finite(found: Any) -> Any:
    if isinstance(found, float) and not math.isfinite(found):
        return NON_FINITE.get(found, "NaN")
    if isinstance(found, dict):
        return {str(key): _finite(item) for key, item in found.items()}
    if isinstance(found, (list, tuple)):
        return [_finite(item) for item in found]
    return found
