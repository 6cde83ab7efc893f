"""Which of the values that a program logs together are metrics, and which media: `tracelet.log()` takes both.

Called on the program's thread. Never raises: for other values it returns the class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from tracelet.capture.nested_values import mapping_of
from tracelet.capture.scalars import checked_value
from tracelet.errors import InvalidMetric
from tracelet.guard import attempt

MAX_DEPTH = 12
"""Levels of nesting that are followed."""
MAX_LISTED = 10
"""Names in the sentence that reports them."""
PLAIN = frozenset({dict, str, bytes, type(None)})
"""Classes of values that are no media."""
MAX_NAMES = 10_000
"""Names of one call; mappings that share others never end."""


class Loggable:
    """Values by name, nested names joined with `/`."""

    def __init__(self, recognize: Callable[[Any], Any]) -> None:
        self.recognize = recognize
        """Returns the media of a value, or None; raises `InvalidMedia`."""
        self.metrics: Any = {}
        self.media: dict[str, Any] = {}
        self.refused: dict[str, str] = {}
        """The class of each value that is neither."""

    @property
    def count(self) -> int:
        """How many names there are."""
        return len(self.metrics) + len(self.media) + len(self.refused)


def loggable(values: Any, recognize: Callable[[Any], Any]) -> Loggable:
    """The values sorted by kind. Without names, `metrics` is `values`."""
    sorted_values = Loggable(recognize)
    found = _names(values)
    if found is None:
        sorted_values.metrics = values
    else:
        _collect("", found, sorted_values, (found,))
    return sorted_values


def no_metrics(refused: Mapping[str, str]) -> str:
    """The sentence that reports values that are no metrics."""
    listed = ", ".join(f"{name!r} ({kind})" for name, kind in list(refused.items())[:MAX_LISTED])
    more = f" and {len(refused) - MAX_LISTED} more" if len(refused) > MAX_LISTED else ""
    return (
        f"log(): not recorded because a metric is one number: {listed}{more}. For strings, use log_params(); for "
        "pictures, tables and texts, tracelet.Image, Table, Text, ..."
    )


def _collect(prefix: str, values: Mapping[Any, Any], found: Loggable, within: tuple[Mapping[Any, Any], ...]) -> None:
    for key in list(values):
        name = f"{prefix}{attempt(partial(_text, key), _no_text)}"
        value = attempt(partial(values.__getitem__, key), _unreadable)
        try:
            found.metrics[name] = value if type(value) is float and name else checked_value(name, value)
            continue
        except InvalidMetric:
            pass
        media = None if type(value) in PLAIN or not name else attempt(partial(found.recognize, value), _no_media)
        if media is not None:
            found.media[name] = media
            continue
        nested = _names(value)
        full = len(within) > MAX_DEPTH or found.count > MAX_NAMES
        if nested and not full and not any(nested is outer for outer in within):
            _collect(f"{name}/", nested, found, (*within, nested))
        else:
            found.refused[name] = type(value).__name__


def _no_media(_: Exception) -> None:
    """E.g. an array without values."""


def _names(values: Any) -> Mapping[Any, Any] | None:
    found: Mapping[Any, Any] | None = attempt(lambda: mapping_of(values), lambda _: None)
    return found


def _text(key: Any) -> str:
    return str.__str__(key) if isinstance(key, str) else str(key)


def _no_text(error: Exception) -> str:
    return f"name unreadable ({type(error).__name__})"


def _unreadable(error: Exception) -> Exception:
    return error  # no number, and its class says what happened
