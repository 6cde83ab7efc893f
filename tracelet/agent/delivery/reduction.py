"""Reduces the values of several ranks to one, without numpy, for the agent: `store.aggregation` does it for readers.

The arithmetic is Lightning's under `sync_dist=True` with gloo; see there. Pure.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Sequence
from typing import NamedTuple


class RankValue(NamedTuple):
    """One rank's point."""

    value: float
    weight: float
    total: float


def reduce_values(name: str, parts: Sequence[RankValue]) -> float:
    """The value over ranks; `parts` are those of the ranks that have it, the lowest rank first."""
    if len(parts) == 1 or name == "synced":
        return parts[0].value
    values = [part.value for part in parts]
    if name == "min":
        return _min_or_max(values, min)
    if name == "max":
        return _min_or_max(values, max)
    return _sum(values)[0] if name == "sum" else _mean(parts, values)


def _min_or_max(values: Sequence[float], choose: Callable[[Sequence[float]], float]) -> float:
    return math.nan if any(math.isnan(value) for value in values) else choose(values)


def _mean(parts: Sequence[RankValue], values: Sequence[float]) -> float:
    count = len(parts)
    weights = [part.weight for part in parts]
    examples = sum(weights)
    if math.isnan(examples) or examples <= 0:
        if min(values) == max(values):
            return values[0]
        total, float32 = _sum(values)
        return _round(total / count, float32)
    each = math.trunc(examples / count)
    if each and not any(math.isnan(part.total) for part in parts):
        total, float32 = _sum([part.total for part in parts])
        return _round(_round(total / count, float32) / each, float32)
    return math.fsum(value * weight for value, weight in zip(values, weights)) / examples


def _sum(values: Sequence[float]) -> tuple[float, bool]:
    """The sum, from the last rank down to the first; and whether it was computed in float32."""
    float32 = all(math.isnan(value) or _as_float32(value) == value for value in values)
    total = values[-1]
    for value in reversed(values[:-1]):
        total = _round(total + value, float32)
    return total, float32


def _round(value: float, float32: bool) -> float:
    return _as_float32(value) if float32 else value


def _as_float32(value: float) -> float:
    return array("f", [value])[0]
