"""Parameters of libraries, recorded once and again only if they have changed or another fit has begun.

Called on the user's threads, a few times for each training.
"""

from __future__ import annotations

import time
from typing import Any

from tracelet.capture.parameters import flatten
from tracelet.capture.sink import Sink
from tracelet.capture.statement import calling_statement
from tracelet.journal.records import Params, Scalar


class ReportedParams:
    """Emits `Params` under a prefix, with the library as their source."""

    def __init__(self, sink: Sink, source: str) -> None:
        self._sink = sink
        self._source = source
        self._known: dict[str, str] = {}
        """Name to the text of the value, with its type: `1 == True == 1.0`, and NaN differs from itself."""
        self._asked: set[str] = set()
        self._fits_begun = 0
        """How many fits had begun at the last report: those of a later fit are recorded whole."""

    def once(self, what: str) -> bool:
        """Whether this is the first call in the run, for reports that are made once."""
        first = what not in self._asked
        self._asked.add(what)
        return first

    def report(self, values: Any, prefix: str = "") -> None:
        """Record the new values of a mapping, namespace or dataclass."""
        fits = self._sink.fits
        if fits.counted > max(1, self._fits_begun):
            self._known.clear()
        self._fits_begun = fits.counted
        fresh: dict[str, Scalar] = {}
        for name, value in flatten(values).items():
            text = f"{type(value).__name__} {value!r}"
            if self._known.get(f"{prefix}{name}") != text:
                self._known[f"{prefix}{name}"] = text
                fresh[f"{prefix}{name}"] = value
        if fresh:
            fit = fits.current()
            place = "" if fit else calling_statement()
            self._sink.emit(
                Params(time=time.time_ns() // 1000, values=fresh, source=self._source, fit=fit, place=place)
            )
