"""Which of the values that a program logs together are metrics: `tracelet.log()` takes whatever there is.

Called on the program's thread. Never raises: what is no number is returned with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracelet.capture.nested_values import mapping_of
from tracelet.capture.scalars import checked_value
from tracelet.errors import InvalidMetric
from tracelet.guard import attempt

MAX_DEPTH = 12
"""Levels of nesting that are followed; ends mappings that contain themselves."""
MAX_NAMES = 10_000
"""Names of one call, for the same reason."""


def loggable(values: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """The metrics by name, nested ones joined with `/`, and for each other name the class of its value."""
    metrics: dict[str, Any] = {}
    refused: dict[str, str] = {}
    found = attempt(lambda: mapping_of(values), lambda _: None)
    if found is None:
        refused[""] = type(values).__name__
    else:
        _collect("", found, metrics, refused, MAX_DEPTH)
    return metrics, refused


def _collect(
    prefix: str, values: Mapping[Any, Any], metrics: dict[str, Any], refused: dict[str, str], depth: int
) -> None:
    for key in attempt(lambda: list(values), lambda _: []):
        name = prefix + (str.__str__(key) if isinstance(key, str) else attempt(lambda key=key: str(key), lambda _: "?"))
        value = attempt(lambda key=key: values[key], lambda _: None)
        try:
            metrics[name] = value if type(value) is float and name else checked_value(name, value)
            continue
        except InvalidMetric:
            pass
        nested = attempt(lambda value=value: mapping_of(value), lambda _: None)
        if nested and depth and len(metrics) + len(refused) < MAX_NAMES:
            _collect(f"{name}/", nested, metrics, refused, depth - 1)
        else:
            refused[name] = type(value).__name__
