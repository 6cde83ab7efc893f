"""Checks what a program gives to `alert` and makes an event of it. On the user's thread; sends nothing itself."""

from __future__ import annotations

from typing import Any

from tracelet.capture.clock import now
from tracelet.capture.sanitize import storable_text
from tracelet.errors import InvalidArgument
from tracelet.journal.records import Event
from tracelet.redaction.masking import mask_text

LEVELS = ("info", "warning", "error")
LONGEST = 4000
"""Characters; messengers take few more."""


def alert_event(title: Any, text: Any, level: Any) -> Event:
    """The event `alert`; secrets in it are masked as in printed text. `InvalidArgument` for an unknown level."""
    if not isinstance(title, str) or not title.strip():
        raise InvalidArgument(f"an alert needs a title, not {title!r}. Example: tracelet.alert('Loss is NaN')")
    if level not in LEVELS:
        raise InvalidArgument(f"level={level!r} has no meaning: it is one of {', '.join(LEVELS)}")
    words = {"title": title, "text": "" if text is None else str(text), "level": level}
    return Event(time=now(), name="alert", attributes={
        name: mask_text(storable_text(word))[:LONGEST] for name, word in words.items()
    })  # fmt: skip
