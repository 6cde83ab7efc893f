"""Which of the values that a program logs together are metrics: `tracelet.log()` takes whatever there is.

Called on the program's thread. Never raises: what is no number is returned with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
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
MAX_NAMES = 10_000
"""Names of one call; mappings that share others never end."""


def loggable(values: Any) -> tuple[Any, dict[str, str]]:
    """The metrics by name, nested ones joined with `/`, and for each other name the class of its value.

    What has no names is returned as it is.
    """
    metrics: dict[str, Any] = {}
    refused: dict[str, str] = {}
    found = _names(values)
    if found is None:
        return values, refused
    _collect("", found, metrics, refused, (found,))
    return metrics, refused


def no_metrics(refused: Mapping[str, str]) -> str:
    """The sentence that reports values that are no metrics."""
    listed = ", ".join(f"{name!r} ({kind})" for name, kind in list(refused.items())[:MAX_LISTED])
    more = f" and {len(refused) - MAX_LISTED} more" if len(refused) > MAX_LISTED else ""
    return f"log(): not recorded because a metric is one number: {listed}{more}. For strings, use log_params()"


def _collect(
    prefix: str, values: Mapping[Any, Any], metrics: dict[str, Any], refused: dict[str, str],
    within: tuple[Mapping[Any, Any], ...],
) -> None:  # fmt: skip
    for key in list(values):
        name = f"{prefix}{attempt(partial(_text, key), _no_text)}"
        value = attempt(partial(values.__getitem__, key), _unreadable)
        try:
            metrics[name] = value if type(value) is float and name else checked_value(name, value)
            continue
        except InvalidMetric:
            pass
        nested = _names(value)
        full = len(within) > MAX_DEPTH or len(metrics) + len(refused) > MAX_NAMES
        if nested and not full and not any(nested is outer for outer in within):
            _collect(f"{name}/", nested, metrics, refused, (*within, nested))
        else:
            refused[name] = type(value).__name__


def _names(values: Any) -> Mapping[Any, Any] | None:
    found: Mapping[Any, Any] | None = attempt(lambda: mapping_of(values), lambda _: None)
    return found


def _text(key: Any) -> str:
    return str.__str__(key) if isinstance(key, str) else str(key)


def _no_text(error: Exception) -> str:
    return f"name unreadable ({type(error).__name__})"


def _unreadable(error: Exception) -> Exception:
    return error  # no number, and its class says what happened
