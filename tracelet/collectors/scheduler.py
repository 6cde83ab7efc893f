"""Runs the collectors in one thread: facts once, metrics periodically. The session starts it, and later the agent.

Everything but `start()` and `stop()` happens on the thread `tracelet-collectors`, so that starting a run costs only the
start of a thread. It knows no session: results go to `emit`, as points named `<collector>/<metric>` whose step is the
number of the sample, and as `Facts`. It keeps time without drift, never makes up for missed samples (a suspended
laptop), lets no exception of a collector escape, and does nothing in a forked child.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from tracelet import guard
from tracelet.capture.sink import Item, SeriesKey
from tracelet.collectors.base import Collector, FactCollector, RefreshableFacts
from tracelet.errors import Absent
from tracelet.journal.records import Facts

Emit = Callable[[Item], None]

MAX_FAILURES = 3
"""A collector that fails this often in a row is disabled."""

STOP_TIMEOUT = 0.15
"""Longest wait of `stop()` for the last samples; a collector that hangs in the kernel must not delay the user's exit.
"""

FACTS_TIMEOUT = 3.0
"""Longest wait of `stop()` for outstanding facts, so that a run of half a second has its commit as well."""


class Task:
    """One periodic collector with its timing and its series."""

    __slots__ = ("collector", "due", "every", "keys", "samples", "failures")

    def __init__(self, collector: Collector, interval: float) -> None:
        self.collector = collector
        self.every = collector.every if collector.every > 0 else interval
        self.due = 0.0
        self.keys: dict[str, SeriesKey] = {}
        self.samples = 0
        self.failures = 0

    def key(self, metric: str) -> SeriesKey:
        """The key of this metric's series."""
        key = self.keys.get(metric)
        if key is None:
            key = self.keys[metric] = SeriesKey(f"{self.collector.name}/{metric}", automatic=True)
        return key

    def schedule_next(self, now: float) -> None:
        """Schedule the next sample on this task's own grid, skipping the samples that were missed."""
        self.due += self.every * max(1.0, (now - self.due) // self.every + 1.0)


class Scheduler:
    """Samples `collectors` every `interval` seconds (or their own `every`) and collects `facts` once, in one thread."""

    def __init__(
        self,
        collectors: Sequence[Collector],
        emit: Emit,
        interval: float,
        facts: Sequence[FactCollector] = (),
    ) -> None:
        self._collectors = tuple(collectors)
        self._emit = emit
        self._interval = interval
        self._facts = deque(facts)
        self._refreshable: list[RefreshableFacts] = []
        self._tasks: list[Task] = []
        self._stopping = threading.Event()
        self._facts_done = threading.Event()
        self._thread: threading.Thread | None = None
        self._pid = 0

    def start(self) -> None:
        """Start the thread; returns at once."""
        if self._thread is None:
            self._pid = os.getpid()
            self._thread = threading.Thread(target=self._run, name="tracelet-collectors", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Take a last sample and end the thread. Waits, up to a limit, for facts that are still being collected."""
        thread = self._thread
        if thread is None or self._pid != os.getpid():
            return
        self._thread = None
        self._stopping.set()
        self._facts_done.wait(FACTS_TIMEOUT)
        thread.join(STOP_TIMEOUT)
        if thread.is_alive():
            guard.logger.debug("tracelet: a collector does not respond; it is abandoned")

    def _run(self) -> None:
        for collector in self._collectors:
            self._start_task(collector)
        while not self._stopping.is_set():
            self._sample_due()
            self._requeue_stale()
            if self._facts:
                self._collect(self._facts.popleft())
                continue
            self._facts_done.set()
            self._stopping.wait(self._pause())
        self._finish()

    def _finish(self) -> None:
        """The last round: outstanding facts, one last sample of each collector, then stop all."""
        self._requeue_stale()
        while self._facts:
            self._collect(self._facts.popleft())
        self._facts_done.set()
        for task in tuple(self._tasks):
            self._sample(task)
        for task in self._tasks:
            with guard.guard(f"stopping the collector {task.collector.name}"):
                task.collector.stop()

    def _pause(self) -> float | None:
        if not self._tasks:
            return self._interval if self._refreshable else None
        return max(0.0, min(task.due for task in self._tasks) - time.monotonic())

    def _start_task(self, collector: Collector) -> None:
        with guard.guard(f"starting the collector {collector.name}"):
            try:
                collector.start()
            except Absent as absent:
                guard.logger.debug("tracelet: no %s metrics: %s", collector.name, absent)
                return
            task = Task(collector, self._interval)
            task.due = time.monotonic()
            self._tasks.append(task)

    def _sample_due(self) -> None:
        for task in tuple(self._tasks):
            if task.due <= time.monotonic():
                self._sample(task)
                task.schedule_next(time.monotonic())

    def _sample(self, task: Task) -> None:
        task.failures += 1
        with guard.guard(f"sampling {task.collector.name}"):
            reading = task.collector.sample()
            moment = time.time()
            for metric, value in reading.items():
                self._emit((task.key(metric), task.samples, value, moment, -1, None))
            task.samples += 1
            task.failures = 0
        if task.failures >= MAX_FAILURES:
            self._retire(task)

    def _retire(self, task: Task) -> None:
        self._tasks.remove(task)
        name = task.collector.name
        guard.say(
            f"{name} failed {MAX_FAILURES} times in a row and is not sampled any more in this run; other collectors "
            "continue"
        )
        with guard.guard(f"stopping the collector {name}"):
            task.collector.stop()

    def _collect(self, collector: FactCollector) -> None:
        with guard.guard(f"reading the {collector.topic} facts"):
            try:
                values = dict(collector.collect())
            except Absent as absent:
                guard.logger.debug("tracelet: no %s facts: %s", collector.topic, absent)
                return
            if isinstance(collector, RefreshableFacts):
                self._refreshable.append(collector)
            self._emit(Facts(time=time.time_ns() // 1000, topic=collector.topic, values=values))

    def _requeue_stale(self) -> None:
        """Queue facts again that have changed since they were read (for example, torch was imported)."""
        for collector in tuple(self._refreshable):
            with guard.guard(f"checking the {collector.topic} facts"):
                if collector.stale():
                    self._refreshable.remove(collector)
                    self._facts.append(collector)
