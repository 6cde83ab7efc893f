"""The points that a backend holds of a run, as `tracelet verify` compares them with the store.

A concrete backend has a function that returns this (see `registry.READERS`). Reads only; times are not compared,
because some systems move them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tracelet.backends.base import SeriesPart

Point = tuple[int, str]
"""Step, and the value as text: NaN equals itself so."""
Place = Callable[[SeriesPart, int, float], tuple[str, Point]]


@dataclass(frozen=True)
class RemotePoints:
    """What is there."""

    series: Mapping[str, Counter[Point]]
    """Name there to its points."""
    place: Place
    """Where a point of ours belongs there: the name, and the step and value as the system gives them back."""


def text(value: float) -> str:
    """A value to compare by; zero has no sign, because most systems drop it."""
    return "nan" if value != value else repr(float(value) + 0.0)
