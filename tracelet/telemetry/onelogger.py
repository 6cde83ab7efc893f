"""A run's spans as the JSON lines of nv-one-logger's FileExporter, so that what reads those goes on working.

Record types, names and units are theirs: start, stop, complete, event, application_error; milliseconds since the epoch.
What theirs lacks is added: `parent_id`, `rank`, and nanoseconds. Lines come in the order of the tree: a span's begin,
what is inside it, its end; a span with nothing inside is one `complete` line.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

from tracelet.records import Event
from tracelet.run import Run
from tracelet.telemetry.selection import Selection
from tracelet.telemetry.tree import Node, ProcessSpans, processes

SPACE = uuid.UUID("6f1a2c1e-6c53-4b60-9d0c-3a1f5f2b7a10")
"""The namespace of our span ids: the same span has the same id in every export."""
MILLION = 1_000_000


def lines(run: Run, selection: Selection | None = None) -> Iterator[dict[str, Any]]:
    """All records of a run, one process after the other."""
    for process in processes(run, selection):
        for count, record in enumerate(_Walk(run.id, process).records(), 1):
            yield {**record, "count": count, "pid": process.pid, "rank": process.rank}


class _Walk:
    """One process's tree as records."""

    def __init__(self, run: str, process: ProcessSpans) -> None:
        self._run = run
        self._process = process

    def records(self) -> Iterator[dict[str, Any]]:
        """From every root downwards."""
        for root in self._process.roots:
            yield from self._of(root, None)

    def _of(self, top: Node, above: Node | None) -> Iterator[dict[str, Any]]:
        # A stack of our own: custom spans may nest deeper than Python recurses.
        pending: list[tuple[str, Any, Node | None]] = [("open", top, above)]
        while pending:
            what, item, parent = pending.pop()
            if what == "open":
                inside = _inside(item)
                if not inside and item.span.duration_ns >= 0 and not item.span.error:
                    yield self._span("complete", item, parent)
                    continue
                yield self._span("start", item, parent)
                if item.span.duration_ns >= 0:
                    pending.append(("close", item, parent))
                pending += [
                    ("open", found, item) if isinstance(found, Node) else ("event", found, item)
                    for found in reversed(inside)
                ]
            elif what == "close":
                if item.span.error:
                    yield self._error(item)
                yield self._span("stop", item, parent)
            else:
                yield self._event(item, parent)

    def _id(self, node: Node) -> str:
        process = self._process
        return str(uuid.uuid5(SPACE, f"{self._run}/{process.rank}/{process.attempt}/{node.span.id}"))

    def _span(self, kind: str, node: Node, parent: Node | None) -> dict[str, Any]:
        span = node.span
        attributes = dict(span.attributes)
        if kind != "start":
            attributes["duration_msec"] = span.duration_ns // MILLION
        record: dict[str, Any] = {"type": kind, "id": self._id(node), "name": span.name}
        if parent is not None:
            record["parent_id"] = self._id(parent)
        if attributes:
            record["attributes"] = attributes
        if kind != "stop":
            record["start_event"] = {"name": "span_start", "attributes": {"timestamp_msec": span.start_ns // MILLION}}
            record["start_ns"] = span.start_ns
        if kind != "start":
            record["stop_event"] = {"name": "span_stop", "attributes": {"timestamp_msec": node.end_ns // MILLION}}
            record["duration_ns"] = span.duration_ns
        return record

    def _event(self, event: Event, holder: Node | None) -> dict[str, Any]:
        attributes = {**event.attributes, "timestamp_msec": event.time // 1000}
        found: dict[str, Any] = {"type": "event", "event": {"name": event.name, "attributes": attributes}}
        return {"type": "event", "span_id": self._id(holder), **found} if holder is not None else found

    def _error(self, node: Node) -> dict[str, Any]:
        kind, _, message = node.span.error.partition(": ")
        attributes = {
            "error_message": f"Error in {node.span.name}: ", "exception_type": kind, "exception_message": message,
            "timestamp_msec": node.end_ns // MILLION,
        }  # fmt: skip
        return {
            "type": "application_error", "span_id": self._id(node),
            "event": {"name": "error", "attributes": attributes},
        }  # fmt: skip


def _inside(node: Node) -> list[Node | Event]:
    """Children and events by time."""
    found: list[tuple[int, int, Node | Event]] = [(child.span.start_ns, 1, child) for child in node.children]
    found += [(event.time * 1000, 0, event) for event in node.events]
    return [item for _, _, item in sorted(found, key=_when)]


def _when(item: tuple[int, int, Node | Event]) -> tuple[int, int]:
    return item[:2]
