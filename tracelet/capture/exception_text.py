"""An exception as one line of text, secrets masked. Used wherever one is recorded, on the thread that records it."""

from __future__ import annotations

from tracelet.guard import guard
from tracelet.redaction.masking import mask_text

MAX_TEXT = 100_000
"""Characters of an exception's text that are read for a sentence about it; some hold whole tensors, written out."""


def describe_exception(error: BaseException) -> str:
    """`Type: message`, secrets masked; never fails, whatever the exception's own text does. Spans and events use it."""
    message = ""
    with guard("reading an exception's text"):
        message = mask_text(str(error)[:MAX_TEXT])
    return f"{type(error).__name__}: {message}".rstrip(": ")
