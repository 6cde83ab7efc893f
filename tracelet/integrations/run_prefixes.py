"""Separates the values that a program gives to several runs of one library, such as two SummaryWriters with the same
tags.

A tracelet run holds everything that one program records. The library's first run keeps its names unchanged; each
further one has its own label as a prefix, `val/loss`, and a notice in the record says so. Called on the user's threads.
"""

from __future__ import annotations

import time
from collections.abc import Hashable

from tracelet.capture.sanitize import storable_text
from tracelet.capture.sink import Sink
from tracelet.guard import say
from tracelet.journal.records import Notice

LONGEST_LABEL = 100
"""Characters of a label before each name."""


class RunPrefixes:
    """Assigns each run of a library the prefix of its names."""

    def __init__(self, sink: Sink, what: str) -> None:
        self._sink = sink
        self._what = what
        """The library's word for a run, for messages: `TensorBoard folder`."""
        self._prefixes: dict[Hashable, str] = {}

    def known(self, identity: Hashable) -> str | None:
        """The prefix of a run that has one."""
        return self._prefixes.get(identity)

    def prefix(self, identity: Hashable, label: str) -> str:
        """The prefix of this run: empty for the first one."""
        known = self.known(identity)
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
