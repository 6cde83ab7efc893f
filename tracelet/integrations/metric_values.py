"""Decides which values given to other libraries are metrics, and keeps them unchanged until they are written.

Called on the user's threads, once per value. Never reads a device other than the CPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tracelet.capture.sanitize import INT64_MAX, INT64_MIN
from tracelet.capture.scalars import checked_value
from tracelet.errors import InvalidMetric


def as_metric(value: Any) -> Any:
    """The value for a sink (a float, or a tensor that nothing modifies any more), or None if it is not a number."""
    if type(value) is float:
        return value
    if value is None or isinstance(value, (str, bytes)):
        return None
    try:
        return checked_value("value", value)
    except InvalidMetric:
        return None


def metrics_of(values: Mapping[Any, Any], separator: str = "/", prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Name and value of each metric in a mapping; names of nested mappings are joined."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from metrics_of(value, separator, f"{prefix}{key}{separator}")
        else:
            metric = as_metric(value)
            if metric is not None:
                yield f"{prefix}{key}", metric


def as_step(step: Any) -> int | None:
    """The step as an integer, or None for the next one of its series."""
    if step is None:
        return None
    try:
        number = int(step)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if INT64_MIN <= number <= INT64_MAX else None
