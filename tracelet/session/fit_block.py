"""`tracelet.fit(fold=3)`: the program says where a fit of its own begins and ends, and what it is.

Runs on the user's thread, twice for each fit. Without an active run it records nothing. Exceptions pass; it never
raises one of its own but for parameters that are none.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from tracelet.capture.clock import now
from tracelet.capture.exception_text import describe_exception
from tracelet.capture.parameters import checked_params
from tracelet.capture.record_size import split_values
from tracelet.capture.sink import Sink
from tracelet.guard import guard
from tracelet.journal.fit_events import FIT_FINISHED, FIT_STARTED
from tracelet.journal.records import FAILED, FINISHED, INTERRUPTED, Event, Params, Scalar

LIBRARY = "program"
"""Where a library names itself."""
REASON_LENGTH = 500
"""A reason is one line; exceptions of tensors can print pages."""


class FitBlock:
    """A fit of the program's own: a context manager that may be entered once."""

    def __init__(self, sink: Sink | None, params: Mapping[str, Any]) -> None:
        self._sink = sink
        self._values = checked_params(params)
        self._began = 0.0
        self.number = 0
        """The fit's number in the run, from 1; 0 before it has begun, and without a run."""

    def __enter__(self) -> FitBlock:
        with guard("beginning a fit"):
            self._begin()
        return self

    def _begin(self) -> None:
        if self._sink is None:
            return
        self._began = time.monotonic()
        self.number = self._sink.fits.begin(block=True)
        self._report(FIT_STARTED, {})
        for part in split_values(self._values) if self._values else ():
            self._sink.emit(Params(time=now(), values=part, fit=self.number))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with guard("ending a fit"):
            self._end(error)

    def _end(self, error: BaseException | None) -> None:
        if self._sink is None or not self.number:
            return
        status = FINISHED if error is None else INTERRUPTED if isinstance(error, KeyboardInterrupt) else FAILED
        about: dict[str, Scalar] = {"status": status, "seconds": time.monotonic() - self._began}
        if error is not None:
            about["reason"] = describe_exception(error).splitlines()[0][:REASON_LENGTH]
        self._sink.fits.end(self.number)
        self._report(FIT_FINISHED, about)

    def _report(self, name: str, about: Mapping[str, Scalar]) -> None:
        assert self._sink is not None  # only a fit of a run is reported
        attributes = {"number": self.number, "kind": "fit", "library": LIBRARY, **about}
        self._sink.emit(Event(time=now(), name=name, attributes=attributes))
