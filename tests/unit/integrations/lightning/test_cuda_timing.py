"""Device times of an iteration's phases, with a stand-in for CUDA's events."""

from __future__ import annotations

from typing import Any

from tests.sinks import ListSink
from tracelet.capture.sink import FinishedIteration
from tracelet.integrations.lightning.cuda_timing import MAX_WAITING, SAMPLE_EVERY, DeviceClock

ITERATION: FinishedIteration = ("step", 256, 1, 0, 9, 7, 100, ["load", 2, "forward", 5, "backward", 9])


class Device:
    """A device that is as far as the test says. Events know the work that was put into the stream before them."""

    def __init__(self) -> None:
        self.queued = 0.0
        self.done = 0.0
        self.made = 0

    def event(self) -> Any:
        self.made += 1
        device = self

        class Event:
            at = 0.0

            def record(self) -> None:
                self.at = device.queued

            def query(self) -> bool:
                return device.done >= self.at

            def elapsed_time(self, end_event: Any) -> float:
                assert self.query() and end_event.query(), "asked before the device was there: this would wait"
                return float(end_event.at - self.at)

        return Event()


def iterate(clock: DeviceClock, device: Device, now: int, iteration: FinishedIteration = ITERATION) -> None:
    clock.collect()
    clock.begin(now)
    device.queued += 3.0
    clock.mark(1)
    device.queued += 4.0
    clock.mark(2)
    clock.finish(iteration)


def test_times_come_when_the_device_is_there() -> None:
    """An iteration waits until the device has passed its last event; then its phases have their device times."""
    device, kept = Device(), ListSink()
    clock = DeviceClock(device.event, kept)
    iterate(clock, device, 0)
    clock.collect()
    assert kept == []
    device.done = 7.0
    clock.collect()
    rows: list[Any] = list(kept)
    times = {row[0]: row[6] for row in rows}
    assert times == {
        "step": {"device_ms": 7.0}, "load": None, "forward": {"device_ms": 3.0}, "backward": {"device_ms": 4.0},
    }  # fmt: skip


def test_events_are_used_again() -> None:
    """Events come from a pool: a long training makes no more of them than were in use at once."""
    device, kept = Device(), ListSink()
    clock = DeviceClock(device.event, kept)
    for number in range(50):
        iterate(clock, device, number * SAMPLE_EVERY)
        device.done = device.queued
    assert device.made == 3


def test_iterations_are_sampled() -> None:
    """Between two samples iterations are told at once, without device times."""
    device, kept = Device(), ListSink()
    clock = DeviceClock(device.event, kept)
    iterate(clock, device, 0)
    iterate(clock, device, SAMPLE_EVERY - 1)
    assert kept == [ITERATION]


def test_a_device_far_behind() -> None:
    """No more than a bounded number of iterations waits; further ones are told without device times."""
    device, kept = Device(), ListSink()
    clock = DeviceClock(device.event, kept)
    for number in range(MAX_WAITING + 5):
        iterate(clock, device, number * SAMPLE_EVERY)
    assert len(kept) == 5


def test_the_end_waits_for_nobody() -> None:
    """When the loop ends, what the device has not finished is told without its times."""
    device, kept = Device(), ListSink()
    clock = DeviceClock(device.event, kept)
    iterate(clock, device, 0)
    device.done = device.queued
    iterate(clock, device, SAMPLE_EVERY)
    clock.close()
    assert kept[-1] == ITERATION and len(kept) == 5
