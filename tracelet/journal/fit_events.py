"""The events around each fit, and around each evaluation of one. Used by those who record them and by readers; pure."""

from __future__ import annotations

from tracelet.journal.records import Event

FIT_STARTED, FIT_FINISHED = "fit_started", "fit_finished"


def begun_fit(event: Event) -> int:
    """The number of the fit that begins with this event; 0 for other events, and for evaluations."""
    number = event.attributes.get("number")
    begins = event.name == FIT_STARTED and event.attributes.get("kind", "fit") == "fit"
    return number if begins and isinstance(number, int) else 0


def ends_fit(event: Event) -> bool:
    """Whether a fit ends with this event; an evaluation is none."""
    return event.name == FIT_FINISHED and event.attributes.get("kind", "fit") == "fit"
