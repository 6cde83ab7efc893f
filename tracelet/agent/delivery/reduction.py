"""One value out of those of several ranks, without numpy: what `store.aggregation` computes for readers,
for the agent.

The arithmetic is Lightning's under `sync_dist=True` with gloo; see there. Pure.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Part(NamedTuple):
    """One rank's point."""

    value: float
    weight: float
    total: float


def reduced(name: str, parts: Sequence[Part]) -> float:
    """The value over ranks; `parts` are those of the ranks that have it, the lowest rank first."""
    if len(parts) == 1 or name == "synced":
        return parts[0].value
    values = [part.value for part in parts]
    if name == "min":
        return _extreme(values, min)
    if name == "max":
        return _extreme(values, max)
    return _added(values)[0] if name == "sum" else _mean(parts, values)


def _extreme(values: Sequence[float], choose: Callable[[Sequence[float]], float]) -> float:
    return math.nan if any(math.isnan(value) for value in values) else choose(values)


def _mean(parts: Sequence[Part], values: Sequence[float]) -> float:
    count = len(parts)
    weights = [part.weight for part in parts]
    examples = sum(weights)
    if math.isnan(examples) or examples <= 0:
        if min(values) == max(values):
            return values[0]
        total, single = _added(values)
        return _rounded(total / count, single)
    each = math.trunc(examples / count)
    if each and not any(math.isnan(part.total) for part in parts):
        total, single = _added([part.total for part in parts])
        return _rounded(_rounded(total / count, single) / each, single)
    return math.fsum(value * weight for value, weight in zip(values, weights)) / examples


def _added(values: Sequence[float]) -> tuple[float, bool]:
    """The sum, from the last rank down to the first; and whether it was made in float32."""
    single = all(math.isnan(value) or _single(value) == value for value in values)
    total = values[-1]
    for value in reversed(values[:-1]):
        total = _rounded(total + value, single)
    return total, single


def _rounded(value: float, single: bool) -> float:
    return _single(value) if single else value


def _single(value: float) -> float:
    return array("f", [value])[0]
