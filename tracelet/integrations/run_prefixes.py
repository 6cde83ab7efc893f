"""Keeps apart what a program gives to several runs of one library, such as two SummaryWriters with the same tags.

A tracelet run holds everything that one program records. The first run of the library has the names as they are; each
further one has them under its own label, `val/loss`, and a notice in the record says so. Called on the user's threads.
"""

from __future__ import annotations

import time
from collections.abc import Hashable

from tracelet.capture.sanitize import storable_text
from tracelet.capture.sink import Sink
from tracelet.guard import say
from tracelet.journal.records import Notice

LONGEST_LABEL = 100
"""Characters of a label in front of every name."""


class RunPrefixes:
    """Gives each run of a library the prefix of its names."""

    def __init__(self, sink: Sink, what: str) -> None:
        self._sink = sink
        self._what = what
        """What a run of the library is, in a sentence: `TensorBoard folder`."""
        self._prefixes: dict[Hashable, str] = {}

    def prefix(self, identity: Hashable, label: str) -> str:
        """The prefix of this run: empty for the first one."""
        known = self._prefixes.get(identity)
        if known is not None:
            return known
        prefix = ""
        if self._prefixes:
            prefix = self._unique(storable_text(label)[:LONGEST_LABEL].strip("/") or "run")
            self._report(label, prefix)
        return self._prefixes.setdefault(identity, prefix)

    def _unique(self, label: str) -> str:
        taken = set(self._prefixes.values())
        candidate, number = f"{label}/", 1
        while candidate in taken:
            number += 1
            candidate = f"{label}-{number}/"
        return candidate

    def _report(self, label: str, prefix: str) -> None:
        message = f"this program uses several {self._what}s: names from {label!r} are recorded as {prefix}NAME"
        self._sink.emit(Notice(time=time.time_ns() // 1000, code="several-runs", message=message))
        say(f"{message}. Nothing is lost.", once=f"several-runs:{self._what}")
