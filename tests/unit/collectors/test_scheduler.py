"""The scheduler: when collectors are called, what becomes of their answers, and how they may fail."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from tracelet import guard
from tracelet.capture.sink import Item, SeriesKey
from tracelet.collectors.base import Collector, FactCollector, RefreshableFacts
from tracelet.collectors.environment import EnvironmentCollector
from tracelet.collectors.git import GitCollector
from tracelet.collectors.gpu import GpuCollector, GpuFacts
from tracelet.collectors.scheduler import MAX_FAILURES, Scheduler, Task
from tracelet.collectors.system import SystemCollector
from tracelet.errors import Absent
from tracelet.journal.records import Facts

LONG = 3600.0
"""An interval that no test sees the end of."""


class Counting:
    """Counts its own samples and remembers on which thread and when it was called."""

    def __init__(self, name: str = "count", every: float = 0.0, fails: Callable[[int], bool] = lambda _: False) -> None:
        self.name = name
        self.every = every
        self.fails = fails
        self.calls = 0
        self.moments: list[float] = []
        self.threads: set[str] = set()
        self.started = self.stopped = 0

    def start(self) -> None:
        self.started += 1

    def sample(self) -> Mapping[str, float]:
        self.calls += 1
        self.moments.append(time.monotonic())
        self.threads.add(threading.current_thread().name)
        if self.fails(self.calls):
            raise RuntimeError("no reading")
        return {"calls": self.calls}

    def stop(self) -> None:
        self.stopped += 1


class Missing(Counting):
    """Has nothing to read on this machine."""

    def start(self) -> None:
        raise Absent("not here")


class Topic:
    """Tells its thread, after waiting for `gate`."""

    def __init__(self, topic: str = "thing", gate: threading.Event | None = None) -> None:
        self.topic = topic
        self.gate = gate

    def collect(self) -> Mapping[str, Any]:
        if self.gate is not None:
            self.gate.wait(10)
        return {"thread": threading.current_thread().name}


class Growing(Topic):
    """Knows more the second time."""

    def __init__(self) -> None:
        super().__init__()
        self.more = False
        self.told = False

    def collect(self) -> Mapping[str, Any]:
        self.told = self.more
        return {"more": self.more}

    def stale(self) -> bool:
        return self.told != self.more


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until something holds, for as long as the machine may take."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def points(items: Sequence[Item]) -> list[tuple[str, object, object]]:
    """(name, step, value) of the keyed points among the items."""
    return [(item[0].name, item[1], item[2]) for item in items if isinstance(item, tuple) and len(item) == 6]


def facts(items: Sequence[Item]) -> list[Facts]:
    """The facts among the items."""
    return [item for item in items if isinstance(item, Facts)]


def test_samples_become_points_numbered_from_zero() -> None:
    """Each metric is one automatic series `<collector>/<metric>`, its step the number of the sample."""
    items: list[Item] = []
    collector = Counting()
    scheduler = Scheduler([collector], items.append, 0.01)
    scheduler.start()
    wait_for(lambda: len(items) >= 5)
    scheduler.stop()
    found = points(items)
    assert found == [("count/calls", index, index + 1) for index in range(len(found))]
    keys = {item[0] for item in items if isinstance(item, tuple)}
    assert [key.automatic for key in keys if isinstance(key, SeriesKey)] == [True]
    assert collector.threads == {"tracelet-collectors"}
    assert (collector.started, collector.stopped) == (1, 1)
    assert all(isinstance(item, tuple) and abs(float(str(item[3])) - time.time()) < 60 for item in items)


def test_stopping_takes_one_last_sample_and_does_not_wait_for_the_interval() -> None:
    """A short run has a first and a last sample, however long the interval is."""
    items: list[Item] = []
    scheduler = Scheduler([Counting()], items.append, LONG)
    scheduler.start()
    wait_for(lambda: items)
    scheduler.stop()
    scheduler.stop()
    assert points(items) == [("count/calls", 0, 1), ("count/calls", 1, 2)]


def test_stopping_does_not_wait_for_a_collector_that_hangs() -> None:
    """A sample stuck in the kernel, as on a dead network disk, does not hold the end of the program."""
    gate = threading.Event()

    class Hanging(Counting):
        def sample(self) -> Mapping[str, float]:
            gate.wait(30)
            return {}

    scheduler = Scheduler([Hanging()], lambda _: None, LONG)
    scheduler.start()
    before = time.monotonic()
    scheduler.stop()
    assert time.monotonic() - before < 10
    assert not gate.is_set()
    gate.set()


def test_a_run_that_is_over_at_once_still_has_its_facts() -> None:
    """Stopping waits for facts that are on their way."""
    items: list[Item] = []
    scheduler = Scheduler([], items.append, LONG, facts=[Topic("a"), Topic("b")])
    scheduler.start()
    scheduler.stop()
    assert [record.topic for record in facts(items)] == ["a", "b"]


def test_starting_does_not_wait_for_facts() -> None:
    """Facts are read on the scheduler's thread, and `start()` returns while they are."""
    gate = threading.Event()
    items: list[Item] = []
    scheduler = Scheduler([], items.append, LONG, facts=[Topic(gate=gate)])
    scheduler.start()
    assert items == []
    gate.set()
    scheduler.stop()
    (record,) = facts(items)
    assert record.values == {"thread": "tracelet-collectors"}
    assert abs(record.time / 1e6 - time.time()) < 60


def test_facts_that_grow_are_told_again() -> None:
    """A collector that says it is stale is asked once more, at the next wake or at the end."""
    items: list[Item] = []
    growing = Growing()
    assert isinstance(growing, RefreshableFacts)
    scheduler = Scheduler([], items.append, LONG, facts=[growing, Topic()])
    scheduler.start()
    wait_for(lambda: len(items) == 2)
    growing.more = True
    scheduler.stop()
    assert [record.values for record in facts(items) if "more" in record.values] == [{"more": False}, {"more": True}]


def test_a_collectors_own_interval_is_kept() -> None:
    """One that names its `every` keeps it; the others follow the user's interval."""
    slow, quick = Counting("slow", every=LONG), Counting("quick")
    scheduler = Scheduler([slow, quick], lambda _: None, 0.01)
    scheduler.start()
    wait_for(lambda: quick.calls > 5)
    assert slow.calls == 1
    scheduler.stop()
    assert slow.calls == 2


def test_time_is_kept_without_drift_and_missed_samples_are_not_made_up_for() -> None:
    """The grid stays where it began; after a long sleep there is one sample, not one for each that was missed."""
    task = Task(Counting(), 10.0)
    task.due = 100.0
    task.schedule_next(100.3)
    assert task.due == 110.0
    task.schedule_next(110.9)
    assert task.due == 120.0
    task.schedule_next(3725.0)
    assert task.due == 3730.0
    task.schedule_next(3730.0)
    assert task.due == 3740.0


@pytest.mark.allow_guarded
def test_a_collector_that_keeps_failing_is_retired_with_one_message(caplog: pytest.LogCaptureFixture) -> None:
    """Three failures in a row end it, and nobody else; it is stopped, and said so once."""
    broken, sound = Counting("broken", fails=lambda _: True), Counting("sound")
    scheduler = Scheduler([broken, sound], lambda _: None, 0.01)
    with caplog.at_level(logging.WARNING, "tracelet"):
        scheduler.start()
        wait_for(lambda: sound.calls > 10)
        scheduler.stop()
    assert (broken.calls, broken.stopped) == (MAX_FAILURES, 1)
    assert sum("not sampled any more" in message for message in caplog.messages) == 1
    assert guard.failures["sampling broken"] == MAX_FAILURES
    assert sound.stopped == 1


@pytest.mark.allow_guarded
def test_a_failure_now_and_then_is_forgiven() -> None:
    """Only failures in a row count; the steps of what was read stay without a gap."""
    items: list[Item] = []
    flaky = Counting(fails=lambda call: call % 3 != 0)
    scheduler = Scheduler([flaky], items.append, 0.01)
    scheduler.start()
    wait_for(lambda: flaky.calls > 10)
    scheduler.stop()
    found = points(items)
    assert len(found) >= 3
    assert [step for _, step, _ in found] == list(range(len(found)))


def test_what_is_absent_is_said_at_debug_level_only(caplog: pytest.LogCaptureFixture) -> None:
    """A machine without a GPU gets one debug line, no warning and no series."""

    class NoTopic(Topic):
        def collect(self) -> Mapping[str, Any]:
            raise Absent("nothing to tell")

    items: list[Item] = []
    missing = Missing("gpu")
    with caplog.at_level(logging.DEBUG, "tracelet"):
        scheduler = Scheduler([missing], items.append, LONG, facts=[NoTopic()])
        scheduler.start()
        scheduler.stop()
    assert [(record.levelname, "not here" in record.message) for record in caplog.records] == [
        ("DEBUG", True),
        ("DEBUG", False),
    ]
    assert (items, missing.calls, missing.stopped) == ([], 0, 0)


@pytest.mark.allow_guarded
def test_broken_facts_do_not_cost_the_others() -> None:
    """A fact collector that raises is guarded, and the next one is asked."""

    class Broken(Topic):
        def collect(self) -> Mapping[str, Any]:
            raise ValueError("broken")

    items: list[Item] = []
    scheduler = Scheduler([], items.append, LONG, facts=[Broken("x"), Topic("y")])
    scheduler.start()
    scheduler.stop()
    assert [record.topic for record in facts(items)] == ["y"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_forked_child_runs_nothing_and_may_call_stop() -> None:
    """In the child there is no thread, no sample is taken, and stop() returns."""
    collector = Counting()
    scheduler = Scheduler([collector], lambda _: None, LONG)
    scheduler.start()
    wait_for(lambda: collector.calls)
    child = os.fork()
    if child == 0:
        scheduler.stop()
        os._exit(0 if threading.active_count() == 1 and collector.calls == 1 else 1)
    assert os.waitpid(child, 0)[1] == 0
    scheduler.stop()
    assert collector.calls == 2


def test_stop_without_start_does_nothing() -> None:
    """A scheduler that was never started can be stopped."""
    collector = Counting()
    Scheduler([collector], lambda _: None, 1.0, facts=[Topic()]).stop()
    assert collector.started == 0


def test_the_built_in_collectors_are_what_the_scheduler_takes() -> None:
    """Every built-in collector fits its protocol, and all of them together run on this machine."""
    periodic: list[Collector] = [SystemCollector(), GpuCollector()]
    once: list[FactCollector] = [GitCollector(), EnvironmentCollector(), GpuFacts()]
    assert all(isinstance(collector, Collector) for collector in periodic)
    assert all(isinstance(collector, FactCollector) for collector in once)
    items: list[Item] = []
    scheduler = Scheduler(periodic, items.append, 0.05, facts=once)
    scheduler.start()
    wait_for(lambda: len([name for name, _, _ in points(items) if name == "system/cpu_percent"]) > 2)
    scheduler.stop()
    assert "environment" in {record.topic for record in facts(items)}
    assert {name.partition("/")[0] for name, _, _ in points(items)} <= {"system", "gpu"}
