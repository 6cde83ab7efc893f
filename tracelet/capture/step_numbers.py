"""Checks the step that a program gives with a metric. On the user's thread."""

from __future__ import annotations

import operator
from typing import Any

from tracelet.capture.sanitize import INT64_MAX, INT64_MIN
from tracelet.errors import InvalidMetric


def checked_step(name: str, step: Any) -> int | None:
    """The step as an integer of 64 bits, None without one; else `InvalidMetric`, which names the metric."""
    if step is None:
        return None
    try:
        index = operator.index(step)
    except TypeError:
        example = step.strip() if isinstance(step, str) and step.strip().isdecimal() else 100
        raise InvalidMetric(
            f"{_step_of(name)} is {step!r}; nothing was recorded. A step is an integer: type step={example}"
        ) from None
    if not INT64_MIN <= index <= INT64_MAX:
        raise InvalidMetric(f"{_step_of(name)} does not fit into 64 bits, the limit of every backend; e.g. step=100")
    return index


def _step_of(name: str) -> str:
    return f"the step of {name!r}" if name else "the step"
