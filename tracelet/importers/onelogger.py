"""The `onelogger` importer: JSON lines of NVIDIA one-logger's FileExporter: spans, events and errors.

The file has whole milliseconds and no parents: a span's parent is the latest span that was open when it began, in the
order of the file. Numbers of events that name an iteration are metrics too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracelet.importers.base import Item, SourceRun
from tracelet.importers.point_columns import PointColumns
from tracelet.importers.text_numbers import measured
from tracelet.importers.timestamps import from_millis
from tracelet.journal.records import FAILED, FINISHED, KILLED, Event, Notice, Span, Status

SUFFIXES = (".jsonl", ".json", ".log")
KINDS = frozenset({"start", "stop", "complete", "event", "application_error", "telemetry_data_error"})
STEP, TIME = "current_iteration", "timestamp_msec"
UPDATE = "metrics_update"
MICRO_NS = 1000


class OneloggerImporter:
    """Reads files of records."""

    name = "onelogger"

    def find(self, path: Path) -> list[SourceRun]:
        """A run for each file whose first line is a record."""
        files = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.suffix in SUFFIXES)
        return [
            SourceRun(self.name, file, name=file.stem) for file in files
            if file.suffix in SUFFIXES and file.is_file() and _is_records(file)
        ]  # fmt: skip

    def read(self, run: SourceRun) -> Iterator[Item]:
        """Spans and events in the order of the file, then metrics."""
        reading = _Reading()
        with open(run.path, encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.endswith("\n"):  # the last one may be being written
                    yield from reading.items(line)
        yield from reading.rest()


def _is_records(path: Path) -> bool:
    with open(path, "rb") as file:
        record = _record(file.readline(1_000_000).decode("utf-8", errors="replace"))
    return record is not None and "count" in record and "pid" in record


def _record(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and record.get("type") in KINDS else None


@dataclass
class _Open:
    """A span that has not stopped."""

    id: int
    name: str
    start: int
    parent: int
    attributes: dict[str, Any]


class _Reading:
    """The state of reading a file."""

    def __init__(self) -> None:
        self._points = PointColumns()
        self._open: dict[str, _Open] = {}
        self._ids: dict[str, int] = {}
        self._damaged = 0
        self._latest = 0
        self._failed = ""

    def items(self, line: str) -> Iterator[Item]:
        record = _record(line)
        try:
            yield from self._items(record) if record is not None else self._count_damaged()
        except (KeyError, TypeError, AttributeError):
            self._damaged += 1

    def _count_damaged(self) -> Iterator[Item]:
        self._damaged += 1
        return iter(())

    def _items(self, record: dict[str, Any]) -> Iterator[Item]:
        kind = record["type"]
        if kind == "start":
            self._start(record)
        elif kind in ("stop", "complete"):
            if kind == "complete":
                self._start(record)
            yield from self._stop(record)
        elif kind == "telemetry_data_error":
            yield self._event(record["error"], 0)
        else:
            event = record.get("event") or record["error"]
            if kind == "application_error":
                self._failed = str(event.get("attributes", {}).get("exception_type") or event["name"])
            yield self._event(event, self._ids.get(record.get("span_id", ""), 0))

    def _start(self, record: dict[str, Any]) -> None:
        parent = next(reversed(self._open.values())).id if self._open else 0
        number = self._ids[record["id"]] = len(self._ids) + 1
        start = self._time(record["start_event"]["attributes"])
        self._open[record["id"]] = _Open(number, record["name"], start, parent, record.get("attributes") or {})

    def _stop(self, record: dict[str, Any]) -> Iterator[Item]:
        span = self._open.pop(record["id"], None)
        if span is None:
            self._damaged += 1
            return
        end = self._time(record["stop_event"]["attributes"])
        yield _span(span, (end - span.start) * MICRO_NS, span.attributes | (record.get("attributes") or {}))

    def _event(self, event: dict[str, Any], span: int) -> Event:
        attributes = dict(event.get("attributes") or {})
        time = self._time(attributes)
        attributes.pop(TIME, None)
        step = measured(attributes.get(STEP))
        if step is not None and event["name"].endswith(UPDATE):
            for name, cell in attributes.items():
                value = measured(cell)
                if value is not None and name != STEP:
                    self._points.add(name, step, value, time)
        return Event(time=time, name=event["name"], attributes=attributes, span=span)

    def _time(self, attributes: dict[str, Any]) -> int:
        time = from_millis(attributes.get(TIME))
        self._latest = max(self._latest, time)
        return time

    def rest(self) -> Iterator[Item]:
        """Spans that never stopped, the points, and how the program ended."""
        for span in self._open.values():
            yield _span(span, -1, span.attributes)
        yield from self._points.rest()
        yield from self._points.notices()
        if self._damaged:
            message = f"{self._damaged:,} lines are no records of one-logger and are not imported"
            yield Notice(time=self._latest, code="import", message=message, count=self._damaged)
        status = KILLED if self._open else FAILED if self._failed else FINISHED
        reason = "a span never stopped" if self._open else self._failed
        yield Status(time=self._latest, status=status, reason=reason)


def _span(span: _Open, duration_ns: int, attributes: dict[str, Any]) -> Span:
    return Span(
        id=span.id, name=span.name, start_ns=span.start * MICRO_NS, duration_ns=duration_ns, parent=span.parent,
        attributes=attributes,
    )  # fmt: skip
