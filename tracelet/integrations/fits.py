"""Numbers the trainings of a library other than Lightning, and records the start and the end of each.

Numbers and events are the same as for Lightning's fits: points have the number of their fit, and the events
`fit_started` and `fit_finished` surround it. An evaluation has the number of what it evaluates. Called on the user's
threads, a few times for each training.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tracelet.capture.exception_text import describe_exception
from tracelet.capture.sink import SeriesKey, Sink
from tracelet.guard import guard
from tracelet.journal.records import FAILED, FINISHED, INTERRUPTED, Event, Scalar

REASON_LENGTH = 500
"""A reason is one line; exceptions of tensors can print pages."""


class Fit:
    """One training or evaluation, and the keys of its series."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._keys: dict[tuple[str, str, str], SeriesKey] = {}

    def key(self, name: str, stage: str = "", reduce: str = "") -> SeriesKey:
        """The key of a series within this fit."""
        key = self._keys.get((name, stage, reduce))
        if key is None:
            key = self._keys[name, stage, reduce] = SeriesKey(name, stage, self.number, reduce)
        return key


class Fits:
    """The fits of one library in this process."""

    def __init__(self, sink: Sink, library: str) -> None:
        self._sink = sink
        self._library = library
        self.running: list[Fit] = []
        """The innermost last."""

    @property
    def current(self) -> Fit | None:
        """The innermost running fit."""
        return self.running[-1] if self.running else None

    @contextmanager
    def fit(
        self, kind: str, subjects: Sequence[Any], finishing: Callable[[], dict[str, Scalar]], **attributes: Scalar
    ) -> Iterator[Fit]:
        """Surrounds a training of the library; `finishing` returns attributes for the last event. Exceptions pass.

        `subjects`: the model and whatever trains it, by which a later evaluation finds its fit.
        """
        fit = Fit(self._begin(kind, subjects))
        self.running.append(fit)
        began = time.monotonic()
        about: dict[str, Scalar] = {"number": fit.number, "kind": kind, "library": self._library}
        block = self._sink.fits.enclosing_block(fit.number)
        if block:
            about["block"] = block
        status, reason = FINISHED, ""
        self.report("fit_started", {**about, **attributes})
        try:
            yield fit
        except BaseException as error:
            status = INTERRUPTED if isinstance(error, KeyboardInterrupt) else FAILED
            with guard("describing the end of a fit"):
                reason = describe_exception(error).splitlines()[0][:REASON_LENGTH]
            raise
        finally:
            if fit in self.running:
                self.running.remove(fit)
            about["status"], about["seconds"] = status, time.monotonic() - began
            if reason:
                about["reason"] = reason
            with guard("describing the end of a fit"):
                about.update(finishing())
            self._sink.fits.end(fit.number)
            self.report("fit_finished", about)

    def _begin(self, kind: str, subjects: Sequence[Any]) -> int:
        fits = self._sink.fits
        if kind != "fit":
            number = fits.current() or fits.fitted(*subjects)
            fits.evaluate(number)
            return number
        number = fits.begin()
        with guard("remembering what is fitted"):
            fits.remember(number, *subjects)
        return number

    def report(self, name: str, attributes: dict[str, Scalar]) -> None:
        """Add an event to the run."""
        self._sink.emit(Event(time=time.time_ns() // 1000, name=name, attributes=dict(attributes)))
