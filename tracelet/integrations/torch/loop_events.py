"""What the hooks of a plain loop note on the training thread: what happened, when, and to which object.

A hook only appends; `plain_loop` makes iterations of many events at once, because the same code takes several times as
long when a training step has just emptied the processor's caches. Events are flat in one list (four entries each), so
that the garbage collector has nothing to count.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

(
    REQUESTED, REQUESTED_WITHOUT_GRADIENTS, RECEIVED, EXHAUSTED, RELEASED, PUT_INTO_EVALUATION, CLEARING, CLEARED,
    DIFFERENTIATING, DIFFERENTIATED, STEPPING, STEPPED,
) = range(12)  # fmt: skip
WIDTH = 4
"""Entries of one event: kind, time, object, number of samples."""
LONGEST_WAIT = 100_000_000
"""Nanoseconds until events are taken: less than the journal's flush interval."""


class Reading(weakref.ref[Any]):
    """An iterator of a DataLoader, which is told apart without being kept alive."""

    __slots__ = ("key", "released")

    def __init__(self, iterator: Any, on_release: Callable[[Reading], None]) -> None:
        super().__init__(iterator, on_release)  # type: ignore[call-arg]
        self.key = id(iterator)
        self.released = False
        """Whether the loop has released the iterator: a `break` is not reported otherwise."""

    def __new__(cls, iterator: Any, on_release: Callable[[Reading], None]) -> Reading:
        """A weak reference is created with its callback."""
        return super().__new__(cls, iterator, on_release)


class LoopEvents:
    """The events of one thread that are not taken yet."""

    __slots__ = ("_has_gradients", "_reading", "_readings", "due", "noted")

    def __init__(self) -> None:
        import torch

        self._has_gradients = torch.is_grad_enabled
        self.noted: list[Any] = []
        self.due = perf_counter_ns() + LONGEST_WAIT
        """When they are to be taken."""
        self._reading: Reading | None = None
        self._readings: dict[int, Reading] = {}

    def note(self, kind: int, subject: Any = None) -> None:
        """Note that something happened now."""
        noted = self.noted
        noted += kind, perf_counter_ns(), subject, 0

    def request(self, iterator: Any) -> int:
        """Note that a batch is requested; the time."""
        reading = self._reading
        if reading is None or reading() is not iterator:
            reading = self._reading = self._find(iterator)
            self.due = 0  # a new pass is known at once
        noted, now = self.noted, perf_counter_ns()
        noted += REQUESTED if self._has_gradients() else REQUESTED_WITHOUT_GRADIENTS, now, reading, 0
        return now

    def receive(self, iterator: Any, samples: int) -> None:
        """Note that the batch has arrived."""
        now, reading, noted = perf_counter_ns(), self._reading, self.noted
        if reading is None or reading() is not iterator:  # requests are nested if a data set reads another loader
            reading = self._find(iterator)
        noted += RECEIVED, now, reading, samples

    def exhaust(self, iterator: Any) -> None:
        """Note that there is no further batch."""
        self.note(EXHAUSTED, self._find(iterator))

    def take(self) -> list[Any]:
        """All events so far."""
        self.due = perf_counter_ns() + LONGEST_WAIT
        taken = self.noted[:]
        del self.noted[: len(taken)]  # always the same list: another thread may release an iterator meanwhile
        return taken

    @property
    def overdue(self) -> bool:
        """Whether a hook should have taken them by now."""
        return bool(self.noted) and perf_counter_ns() > self.due + LONGEST_WAIT

    def _find(self, iterator: Any) -> Reading:
        found = self._readings.get(id(iterator))
        if found is None or found() is not iterator:
            found = self._readings[id(iterator)] = Reading(iterator, self._release)
        return found

    def _release(self, reading: Reading) -> None:
        """The iterator is gone; called on whichever thread has released it last."""
        noted = self.noted
        noted += RELEASED, perf_counter_ns(), reading, 0
        if self._readings.get(reading.key) is reading:
            del self._readings[reading.key]
