"""A run as a timeline for Perfetto and chrome://tracing: every rank's spans, with the system metrics as counters below.

Generated event by event, so that memory does not grow with the file. Reading side; any process.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tracelet.store.run import Run
from tracelet.telemetry.reading.span_node import SpanNode
from tracelet.telemetry.reading.span_selection import Selection
from tracelet.telemetry.reading.span_tree import ProcessSpans, plain_attributes, processes

NANOSECONDS = 1000
"""In the microsecond that the format counts in."""
ATTEMPT = 1_000_000
"""Between the process numbers of two starts of one rank: a rank's own is that of its first."""
MACHINE_PID = 1_000 * ATTEMPT
"""The process number of the system metrics."""
MACHINE = ("system/", "gpu/")
COUNTER_POINTS = 5000
"""Points of a counter: more than a screen is wide."""


def trace_events(run: Run, selection: Selection | None = None) -> Iterator[dict[str, Any]]:
    """The elements of `traceEvents`. Times are microseconds since the run began, so that none loses its nanoseconds."""
    origin = int(run.info.started * 1e9)
    for process in processes(run, selection):
        yield from _process(process, origin)
    yield from _counters(run, origin)


def _process(process: ProcessSpans, origin: int) -> Iterator[dict[str, Any]]:
    pid = process.rank + process.attempt * ATTEMPT
    label = f"rank {process.rank}" + (f", attempt {process.attempt}" if process.attempt else "")
    yield _named("process_name", pid, 0, f"{label} ({process.host}, pid {process.pid})")
    yield {"ph": "M", "name": "process_sort_index", "pid": pid, "tid": 0, "args": {"sort_index": process.rank}}
    latest = max((node.end_ns for node in process), default=origin)
    threads: dict[int, int] = {}
    for node in process:
        if node.span.thread not in threads:
            threads[node.span.thread] = number = len(threads) + 1
            yield _named("thread_name", pid, number, "training" if number == 1 else f"thread {node.span.thread}")
        yield from _span(node, pid, threads[node.span.thread], origin, latest)


def _span(node: SpanNode, pid: int, thread: int, origin: int, latest: int) -> Iterator[dict[str, Any]]:
    span = node.span
    duration = span.duration_ns if span.duration_ns >= 0 else latest - span.start_ns
    yield {
        "ph": "X", "name": span.name, "cat": "span", "pid": pid, "tid": thread,
        "ts": (span.start_ns - origin) / NANOSECONDS, "dur": duration / NANOSECONDS,
        "args": {"id": span.id, "parent": span.parent, **plain_attributes(node)},
    }  # fmt: skip
    for event in node.events:
        yield {
            "ph": "i", "s": "t", "name": event.name, "cat": "event", "pid": pid, "tid": thread,
            "ts": (event.time * NANOSECONDS - origin) / NANOSECONDS, "args": event.attributes,
        }  # fmt: skip


def _counters(run: Run, origin: int) -> Iterator[dict[str, Any]]:
    names = [name for name in run.metrics() if name.startswith(MACHINE)]
    if names:
        yield _named("process_name", MACHINE_PID, 0, "machine")
        sorting = {"sort_index": MACHINE_PID}
        yield {"ph": "M", "name": "process_sort_index", "pid": MACHINE_PID, "tid": 0, "args": sorting}
    for name in names:
        series = run.chart(name, COUNTER_POINTS)
        for moment, value in zip(series.times.tolist(), series.values.tolist()):
            if value == value:  # a NaN cannot be drawn
                yield {
                    "ph": "C", "name": name, "pid": MACHINE_PID, "tid": 0, "ts": moment * 1e6 - origin / NANOSECONDS,
                    "args": {"value": value},
                }  # fmt: skip


def _named(what: str, pid: int, tid: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "args": {"name": name}}
