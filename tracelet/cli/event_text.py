"""Events of a run as text, with the process of each. For `show` and `top`; pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tracelet.cli.formatting import date, duration, value
from tracelet.journal.records import Event
from tracelet.store.run import Run
from tracelet.telemetry.reading.routine_events import is_routine

TIMESTAMP = "timestamp_sec"
"""The suffix of attribute names that are seconds since the epoch, as in nv-one-logger."""


class RunEvent(NamedTuple):
    """An event, prefixed with `rank 1: ` if the run has several ranks."""

    event: Event
    prefix: str


def notable(found: Iterable[RunEvent]) -> list[RunEvent]:
    """The events shown by default."""
    return [found_event for found_event in found if not is_routine(found_event.event)]


def run_events(run: Run) -> list[RunEvent]:
    """All events, by time."""
    views = [(view, view.started) for view in run.views if view.started]
    several = len({started.rank for _, started in views if started.role == "rank"}) > 1
    found = [
        RunEvent(event, f"{started.role} {started.rank}: " if several else "")
        for view, started in views
        for event in view.records(Event)
    ]
    return sorted(found, key=lambda found_event: found_event.event.time)


def describe_event(event: Event) -> str:
    """One event on one line."""
    if event.name == "fit_finished":
        found = event.attributes
        text = f"{found.get('kind')} {found.get('number')} {found.get('status')}"
        seconds = found.get("seconds")
        text += f" after {duration(seconds)}" if isinstance(seconds, (int, float)) else ""
        counted = [(found[name], name) for name in ("epochs", "steps") if found.get(name) is not None]
        extra = [f"{count} {name.removesuffix('s') if count == 1 else name}" for count, name in counted]
        extra = ["tuner trials"] if found.get("tuned") else extra
        extra += [value(found["reason"])] if found.get("reason") else _end(found)
        return ", ".join([text, *extra])
    attributes = ", ".join(f"{value(name)}={_attribute(name, found)}" for name, found in event.attributes.items())
    return f"{value(event.name)} {attributes}".rstrip()


def _end(found: Mapping[str, object]) -> list[str]:
    """What ended a fit without an exception."""
    if found.get("stopped_by"):
        return [f"stopped by {value(found['stopped_by'])}"]
    return [f"{value(found['ended_by'])} reached"] if str(found.get("ended_by", "")).startswith("max_") else []


def _attribute(name: str, found: object) -> str:
    return date(found) if name.endswith(TIMESTAMP) and isinstance(found, (int, float)) else value(found)
