"""Which events of a run people are told without asking, and in which words. For `show` and `top`; pure functions."""

from __future__ import annotations

from collections.abc import Iterable

from tracelet.cli.wording import duration, value
from tracelet.records import Event
from tracelet.telemetry import names

ROUTINE = frozenset({
    "fit_started", "checkpoint_removed", names.INITIALIZATION_EVENT, names.CONFIG_EVENT, names.TRAINING_METRICS,
    names.VALIDATION_METRICS, names.TESTING_METRICS, names.SAVE_SUCCESS, names.SAVE_METRICS,
})  # fmt: skip
"""What recurs with every validation and every checkpoint, or is told by another event or section."""


def telling(events: Iterable[Event]) -> list[Event]:
    """Fits, early stopping, errors and what the program says itself, without the bookkeeping of telemetry."""
    return [event for event in events if event.name not in ROUTINE]


def told(event: Event) -> str:
    """One event on one line."""
    if event.name == "fit_finished":
        found = event.attributes
        text = f"{found.get('kind')} {found.get('number')} {found.get('status')}"
        text += f" after {duration(found.get('seconds') or 0)}"
        extra = [f"{found[name]} {name}" for name in ("epochs", "steps") if found.get(name) is not None]
        return ", ".join([text, *extra, *([value(found["reason"])] if found.get("reason") else [])])
    attributes = ", ".join(f"{value(name)}={value(found)}" for name, found in event.attributes.items())
    return f"{value(event.name)} {attributes}".rstrip()
