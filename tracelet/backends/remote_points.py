"""A run's points in a backend, for the comparison with the store by `tracelet verify`.

A concrete backend has a function that returns this (see `registry.READERS`). Reads only; times are not compared,
because some systems change them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tracelet.backends.base import SeriesPart

Point = tuple[int, str]
"""Step, and the value as a string, so that NaN equals itself."""
Place = Callable[[SeriesPart, int, float], tuple[str, Point]]


@dataclass(frozen=True)
class RemotePoints:
    """The points in the backend."""

    series: Mapping[str, Counter[Point]]
    """Name there to its points."""
    place: Place
    """The place of one of our points there: the name, and the step and value as the system returns them."""


def text(value: float) -> str:
    """A value as a string to compare; zero has no sign, because most systems drop it."""
    return "nan" if value != value else repr(float(value) + 0.0)
