"""The GPU time of an iteration's phases, measured without ever waiting for the GPU.

Called on the training thread by `iteration_timer`. It records an event into the stream where a phase ends, and reads it
in a later iteration, once the device has passed it. It queries events on the training thread, because a query from
another thread would break a CUDA graph that is being captured. It samples iterations, so that the cost per second is
the same for short and long steps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from tracelet.capture.sink import FinishedIteration, Sink
from tracelet.capture.span_packing import iteration_spans
from tracelet.guard import guard

SAMPLE_EVERY = 100_000_000
"""Nanoseconds between two iterations with device times: recording and reading one takes about 30 us."""
MAX_WAITING = 64
"""Iterations that wait for the device. If the program runs further ahead, no more iterations get device times until the
device catches up.
"""


class DeviceEvent(Protocol):
    """The part of `torch.cuda.Event` that is used here."""

    def record(self) -> None:
        """Record the event into the current stream."""

    def query(self) -> bool:
        """Whether the device has passed the event; does not wait."""

    def elapsed_time(self, end_event: Any) -> float:
        """Milliseconds between two events that the device has passed."""


Waiting = tuple[FinishedIteration, list[DeviceEvent], list[int]]
"""(the iteration, its events, for each event but the first the number of the phase that it ends)"""


class DeviceClock:
    """The device times of one loop's iterations."""

    def __init__(self, make_event: Callable[[], DeviceEvent], sink: Sink) -> None:
        self._make_event = make_event
        self._sink = sink
        self._free: list[DeviceEvent] = []
        self._waiting: deque[Waiting] = deque()
        self._sampled = -SAMPLE_EVERY
        self._events: list[DeviceEvent] = []
        self._phases: list[int] = []

    def begin(self, now: int) -> None:
        """Start of an iteration, before its work enters the stream: decide whether to time it."""
        self._events, self._phases = [], []
        if now - self._sampled < SAMPLE_EVERY or len(self._waiting) >= MAX_WAITING:
            return
        self._sampled = now
        self._record()

    def _record(self) -> None:
        with guard("recording a CUDA event"):
            event = self._free.pop() if self._free else self._make_event()
            event.record()
            self._events.append(event)

    def mark(self, phase: int) -> None:
        """The work of a phase (its number in the iteration) is in the stream."""
        if self._events:
            before = len(self._events)
            self._record()
            if len(self._events) > before:
                self._phases.append(phase)

    def finish(self, iteration: FinishedIteration) -> None:
        """The iteration has ended on the host; it is emitted when the device has finished it too."""
        if self._phases:
            self._waiting.append((iteration, self._events, self._phases))
            self._events, self._phases = [], []
        else:
            self._sink.emit(iteration)

    def collect(self) -> None:
        """Emit the iterations that the device has finished."""
        while self._waiting and self._passed(self._waiting[0]):
            self._emit(self._waiting.popleft())

    @staticmethod
    def _passed(waiting: Waiting) -> bool:
        with guard("asking a CUDA event"):
            return waiting[1][-1].query()
        return True

    def close(self) -> None:
        """The loop has ended: emit what the device has not finished without device times."""
        self.collect()
        while self._waiting:
            self._sink.emit(self._waiting.popleft()[0])

    def _emit(self, waiting: Waiting) -> None:
        iteration, events, phases = waiting
        rows = iteration_spans(iteration)
        with guard("reading CUDA events"):
            times = [before.elapsed_time(after) for before, after in zip(events, events[1:])]
            for phase, milliseconds in zip(phases, times):
                name, number, parent, start, duration, thread, _ = rows[phase + 1]
                rows[phase + 1] = name, number, parent, start, duration, thread, {"device_ms": milliseconds}
            name, number, parent, start, duration, thread, _ = rows[0]
            whole: dict[str, object] = {"device_ms": events[0].elapsed_time(events[-1])}
            rows[0] = name, number, parent, start, duration, thread, whole
        for row in rows:
            self._sink.emit(row)
        self._free += events


def device_clock(device: Any, sink: Sink) -> DeviceClock | None:
    """A clock for this device; None for a device that works synchronously with the host."""
    if getattr(device, "type", "") != "cuda":
        return None
    import torch

    make_event: Any = torch.cuda.Event
    return DeviceClock(lambda: make_event(enable_timing=True), sink)
