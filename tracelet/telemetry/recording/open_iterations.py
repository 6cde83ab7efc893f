"""The iterations that are running, with their current phases, written while they take long: a killed or hung run shows
what it was doing.

The records are made on the writer's thread, which looks at the loops a few times a second; the training thread does
nothing for it. When the iteration ends, its own record replaces what was written here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import Any, NamedTuple, Protocol

from tracelet.capture.sink import DeferredRecords
from tracelet.guard import guard
from tracelet.journal.records import Record, Span
from tracelet.telemetry.names import (
    BATCH_TRANSFER,
    CALLBACKS,
    DATA_LOADING,
    METRIC_LOGGING,
    MODEL_BACKWARD,
    MODEL_FORWARD,
    OPTIMIZER_UPDATE,
    ZERO_GRAD,
)
from tracelet.telemetry.recording.span_recorder import SpanRecorder

LONG_NS = 500_000_000
"""Nanoseconds from which a running iteration is written; the writer writes twice in that time anyway."""
FIRST = 200
"""So many are written without further questions; later ones only if they take unusually long,"""
UNUSUAL = 3
"""which is this multiple of the mean."""
FOLLOWING = {
    DATA_LOADING: BATCH_TRANSFER, MODEL_FORWARD: MODEL_BACKWARD, ZERO_GRAD: MODEL_BACKWARD,
    MODEL_BACKWARD: OPTIMIZER_UPDATE, OPTIMIZER_UPDATE: CALLBACKS,
}  # fmt: skip
"""The phase that runs once another one has ended, under automatic optimization."""


class RunningIteration(NamedTuple):
    """An iteration that has not ended: times of the monotonic clock, `marks` as in `sink.FinishedIteration`."""

    name: str
    number: int
    """The id of its span."""
    parent: int
    begin: int
    thread: int
    marks: Sequence[Any]
    phase: str
    """What it is doing now; empty if that is unknown."""


class Loop(Protocol):
    """Something that times iterations."""

    def running_iteration(self) -> RunningIteration | None:
        """The iteration that runs now; called on the writer's thread."""


class OpenIterations(DeferredRecords):
    """Writes the running iterations of all loops of a process, each phase once."""

    def __init__(self, recorder: SpanRecorder, usual: Callable[[], float]) -> None:
        self._recorder = recorder
        self._usual = usual
        """Gives the mean duration of an iteration in seconds, as of the last window; 0 if unknown."""
        self._written: set[tuple[int, str]] = set()
        self._count = 0

    def records(self) -> list[Record]:
        """The open spans of iterations that take long; asks to be asked again."""
        self._recorder.sink.emit(self)
        found: list[Record] = []
        for loop in tuple(self._recorder.loops):
            with guard("looking at a running iteration"):
                running = loop.running_iteration()
                if running is not None and self._is_long(perf_counter_ns() - running.begin):
                    found += self._spans(running)
        return found

    def _is_long(self, age: int) -> bool:
        return age > LONG_NS and (self._count < FIRST or age > UNUSUAL * self._usual() * 1e9)

    def _spans(self, running: RunningIteration) -> list[Record]:
        origin, number = self._recorder.origin_ns, running.number
        if (number, running.phase) in self._written:
            return []
        new = not any(known == number for known, _ in self._written)
        self._written = {(known, phase) for known, phase in self._written if known == number} | {
            (number, running.phase)
        }
        self._count += new
        spans: list[Record] = []
        if new:
            spans.append(_open(running.name, number, running.begin + origin, running.parent, running.thread))
        if running.phase:
            began = running.marks[-1] if running.marks else running.begin
            phase_id = number + len(running.marks) // 2 + 1
            spans.append(_open(running.phase, phase_id, began + origin, number, running.thread))
        return spans


def _open(name: str, number: int, start_ns: int, parent: int, thread: int) -> Span:
    return Span(id=number, name=name, start_ns=start_ns, parent=parent, thread=thread)


def following(marks: Sequence[Any], manual: bool = False) -> str:
    """The phase of a Lightning iteration that follows these; empty if unknown."""
    last = marks[-2] if marks else ""
    if not last:
        return DATA_LOADING
    if manual and last not in (DATA_LOADING, BATCH_TRANSFER, CALLBACKS):
        return MODEL_FORWARD
    if last == CALLBACKS:
        return METRIC_LOGGING if MODEL_FORWARD in marks else MODEL_FORWARD
    return FOLLOWING.get(last, "")
