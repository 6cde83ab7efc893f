"""Parses what users write for a setting. A value without a meaning is a ValueError("expected ..."). Pure.

Used by the table in `settings`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable

MAX_NUMBER = 10**9
"""Of seconds and counts: about thirty years. Python's own waits refuse ten times as much."""
TRUE_WORDS = frozenset({"1", "true", "yes", "on"})
FALSE_WORDS = frozenset({"0", "false", "no", "off"})


def as_bool(value: object) -> bool:
    """True or false, in one of the usual words."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in TRUE_WORDS:
        return True
    if word in FALSE_WORDS:
        return False
    raise ValueError("expected true or false")


def as_text(value: object) -> str:
    """A string or a path."""
    if not isinstance(value, (str, os.PathLike)):
        raise ValueError("expected a string")
    return os.fspath(value).strip()


def as_backends(value: object) -> str:
    """Names of backends: a list, or one string."""
    return ",".join(map(as_text, value)) if isinstance(value, (list, tuple)) else as_text(value)


def as_seconds(value: object) -> float:
    """A number of seconds."""
    try:
        number = float(value)  # type: ignore[arg-type]  # whatever float() refuses is refused below
    except (TypeError, ValueError, OverflowError):
        raise ValueError("expected a number of seconds") from None
    if not 0 < number <= MAX_NUMBER:
        raise ValueError("expected a number of seconds above 0 and at most 1,000,000,000")
    return number


def as_count(value: object) -> int:
    """An integer from 1."""
    try:
        number = int(value)  # type: ignore[call-overload]  # whatever int() refuses is refused below
    except (TypeError, ValueError, OverflowError):
        raise ValueError("expected an integer") from None
    if not 1 <= number <= MAX_NUMBER or (isinstance(value, float) and number != value):
        raise ValueError("expected an integer from 1 to 1,000,000,000")
    return int(number)


def as_names(value: object) -> str:
    """Names as one comma-separated string."""
    if isinstance(value, str):
        return ",".join(part.strip() for part in value.split(",") if part.strip())
    if not isinstance(value, (list, tuple, set, frozenset)):
        raise ValueError("expected names, as a list or separated by commas")
    return ",".join(str(getattr(part, "value", part)) for part in value)


_RULE = re.compile(
    r"finished|failed|interrupted|preempted|killed|nan|stalled:\d+(\.\d+)?|[^<>]*[^<>\s]\s*[<>]\s*-?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?"
)


def as_rules(value: object) -> str:
    """Rules for alerts, as one comma-separated string."""
    names = as_names(value)
    for rule in names.split(","):
        if rule and not _RULE.fullmatch(rule.strip()):
            raise ValueError("expected rules such as failed, killed, finished, nan, stalled:30, val/loss>10")
    return names


def as_addresses(value: object) -> str:
    """Addresses separated by spaces; a comma may be a part of one."""
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else as_text(value)


def as_choice(*words: str) -> Callable[[object], str]:
    """One of these words."""

    def parse(value: object) -> str:
        word = str(value).strip().lower()
        if word not in words:
            raise ValueError("expected one of " + ", ".join(words))
        return word

    return parse
