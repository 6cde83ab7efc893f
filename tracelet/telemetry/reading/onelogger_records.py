"""Spans and events as the JSON records of nv-one-logger's FileExporter, for programs that read those.

Used by the export of a whole run and by the backend that writes during the run; in any process. Record types, names and
units are theirs: start, stop, complete, event, application_error; milliseconds since the epoch. Fields that theirs lack
are added: `parent_id`, `rank`, and nanoseconds. Order: a span's begin, its content, its end; a span without content is
one `complete` record.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tracelet.journal.records import Event
from tracelet.telemetry.names import TRACEBACK
from tracelet.telemetry.reading.span_node import SpanNode

SPACE = uuid.UUID("6f1a2c1e-6c53-4b60-9d0c-3a1f5f2b7a10")
"""The namespace of our span ids: the same span has the same id in every export."""
MILLION = 1_000_000


@dataclass(frozen=True)
class RecordBuilder:
    """The process whose spans they are; makes their records."""

    run: str
    rank: int
    attempt: int
    pid: int

    def records(self, items: Iterable[SpanNode | Event]) -> Iterator[dict[str, Any]]:
        """All records of these, with what is inside them; without `count`, which is the file's."""
        for item in items:
            for record in self._of(item):
                yield {**record, "pid": self.pid, "rank": self.rank}

    def _of(self, top: SpanNode | Event) -> Iterator[dict[str, Any]]:
        # A stack of our own: custom spans may nest deeper than Python recurses.
        pending: list[tuple[bool, SpanNode | Event]] = [(False, top)]
        while pending:
            over, item = pending.pop()
            if isinstance(item, Event):
                yield self._event(item)
            elif over:
                if item.span.error:
                    yield self._error(item)
                yield self._span("stop", item)
            else:
                inside, ended = item.inside(), item.span.duration_ns >= 0
                if not inside and ended and not item.span.error and not item.begun_before:
                    yield self._span("complete", item)
                    continue
                if not item.begun_before:
                    yield self._span("start", item)
                if ended:
                    pending.append((True, item))
                pending += [(False, found) for found in reversed(inside)]

    def _id(self, number: int) -> str:
        return str(uuid.uuid5(SPACE, f"{self.run}/{self.rank}/{self.attempt}/{number}"))

    def _span(self, kind: str, node: SpanNode) -> dict[str, Any]:
        span = node.span
        attributes = {name: value for name, value in span.attributes.items() if name != TRACEBACK}
        if kind != "start":
            attributes["duration_msec"] = span.duration_ns // MILLION
        record: dict[str, Any] = {"type": kind, "id": self._id(span.id), "name": span.name}
        if node.parent_id:
            record["parent_id"] = self._id(node.parent_id)
        if attributes:
            record["attributes"] = attributes
        if kind != "stop":
            record["start_event"] = {"name": "span_start", "attributes": {"timestamp_msec": span.start_ns // MILLION}}
            record["start_ns"] = span.start_ns
        if kind != "start":
            record["stop_event"] = {"name": "span_stop", "attributes": {"timestamp_msec": node.end_ns // MILLION}}
            record["duration_ns"] = span.duration_ns
        return record

    def _event(self, event: Event) -> dict[str, Any]:
        attributes = {**event.attributes, "timestamp_msec": event.time // 1000}
        told = {"name": event.name, "attributes": attributes}
        return {"type": "event", "span_id": self._id(event.span), "event": told}

    def _error(self, node: SpanNode) -> dict[str, Any]:
        kind, _, message = node.span.error.partition(": ")
        attributes = {
            "error_message": f"Error in {node.span.name}: ", "exception_type": kind, "exception_message": message,
        }  # fmt: skip
        if TRACEBACK in node.span.attributes:
            attributes[TRACEBACK] = str(node.span.attributes[TRACEBACK])
        told = {"name": "error", "attributes": {**attributes, "timestamp_msec": node.end_ns // MILLION}}
        return {"type": "application_error", "span_id": self._id(node.span.id), "event": told}
