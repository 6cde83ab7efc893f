"""Other trackers to which a program itself reported, so that its run is not delivered back to them.

Written as an event by the integrations, read by the couriers. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from tracelet.journal.records import Event

SOURCE_TRACKER = "source_tracker"
"""The event's name; its attribute `library` is the tracker's name, which is also the backend's."""


def is_source(backend: str, events: Iterable[Event]) -> bool:
    """Whether these events say that the run was recorded from this backend."""
    return any(event.name == SOURCE_TRACKER and event.attributes.get("library") == backend for event in events)
