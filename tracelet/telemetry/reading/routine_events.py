"""Which events of a run are routine and hidden by default. For `show`, `top` and the dashboard; pure."""

from __future__ import annotations

from collections.abc import Iterable

from tracelet.journal.records import Event
from tracelet.store.source_trackers import SOURCE_TRACKER
from tracelet.telemetry import names

ROUTINE = frozenset({
    "fit_started", "checkpoint_removed", names.INITIALIZATION_EVENT, names.CONFIG_EVENT, names.TRAINING_METRICS,
    names.VALIDATION_METRICS, names.TESTING_METRICS, names.SAVE_SUCCESS, names.SAVE_METRICS, SOURCE_TRACKER,
})  # fmt: skip
"""What recurs with every validation and every checkpoint, or is told by another event or section."""


def is_routine(event: Event) -> bool:
    """Whether it recurs, or is shown elsewhere, so that it is hidden by default."""
    return event.name in ROUTINE


def notable(events: Iterable[Event]) -> list[Event]:
    """Fits, early stopping, errors and what the program says itself, without the bookkeeping of telemetry."""
    return [event for event in events if not is_routine(event)]
