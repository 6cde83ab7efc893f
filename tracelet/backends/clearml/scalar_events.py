"""Points as ClearML's scalar events: titles, series, milliseconds, and a replacement for values that ClearML cannot
store.

Used by the `clearml` backend on the courier's thread.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tracelet.backends.base import SeriesPart
from tracelet.backends.legal_names import trace

NOT_FINITE = {"nan": " (NaN)", "inf": " (inf)", "-inf": " (-inf)"}
"""ClearML would show these as zero: they go to a separate series beside their own one, with the value 0."""
SYSTEM = ":monitor:machine"
"""ClearML's own title for system metrics."""

GENERAL = "General"
OWN_SECTIONS = frozenset({GENERAL, "tracelet"})
"""For parameters: the section for names without a slash, and the one with the run's status."""

EventIdentity = tuple[str, str, int, int, str]


def titled(part: SeriesPart) -> tuple[str, str]:
    """Title and series: the parts before and after the first slash; a name without a slash is both.

    A name that would collide with another one gets a hash, so that no two metrics share a series.
    """
    if part.system:
        return SYSTEM, part.name
    title, slash, series = part.name.partition("/")
    if not (slash and title and series):
        title = series = part.name
    elif title == series:
        series = f"{series}-{trace(part.name)}"  # `loss/loss` beside `loss`
    if title == SYSTEM:
        title = f"{title}-{trace(part.name)}"
    if series.endswith(tuple(NOT_FINITE.values())):
        series = f"{series}-{trace(part.name)}"
    return title, series


def changed_names(parts: Sequence[SeriesPart]) -> dict[str, str]:
    """The metrics whose name in ClearML has a hash: our name to `TITLE/SERIES`."""
    there = {part.name: "/".join(titled(part)) for part in parts if not part.system}
    return {name: place for name, place in there.items() if place not in (name, f"{name}/{name}")}


def parameter_key(name: str) -> str:
    """The parameter as `SECTION/NAME`; two of our names never become the same."""
    section, slash, rest = name.partition("/")
    plain = slash and section and rest and section not in OWN_SECTIONS
    return name if plain else f"{GENERAL}/{name}"


def scalar_events(parts: Sequence[SeriesPart]) -> Iterator[Any]:
    """One event per point."""
    from clearml.backend_interface.metrics.events import ScalarEvent

    for part in parts:
        for step, value, time in zip(part.steps, part.values, part.times):
            title, series, shown = event_place(part, value)
            yield ScalarEvent(title, series, shown, step, timestamp=round(time * 1000))


def event_place(part: SeriesPart, value: float) -> tuple[str, str, float]:
    """Title, series and value under which ClearML shows a value."""
    title, series = titled(part)
    beside = "" if math.isfinite(value) else NOT_FINITE[repr(float(value))]
    return title, series + beside, 0.0 if beside else value


def event_identity(event: Any) -> EventIdentity:
    """The fields that identify an event."""
    return _identity(event.get_api_event().to_dict())


def event_identities(offline: Path) -> Counter[EventIdentity]:
    """The identities of the events in an offline session's folder, except a line that a crash has torn."""
    found: Counter[EventIdentity] = Counter()
    try:
        with open(offline / "metrics.jsonl", encoding="utf-8") as file:
            for line in file:
                try:
                    found.update(_identity(entry) for entry in json.loads(line))
                except ValueError:
                    continue
    except FileNotFoundError:
        pass
    return found


def _identity(entry: dict[str, Any]) -> EventIdentity:
    return entry["metric"], entry["variant"], entry["iter"], entry["timestamp"], repr(float(entry.get("value", 0.0)))
