"""The spans of a run as OpenTelemetry objects: the selected spans, with their events, below the nearest selected
ancestor.

Used by backends that deliver spans, on the courier's thread. Keeps, across restarts, the names, parents, starts and
events of spans that have begun and not ended. Span ids are derived from the run's, so a span that is sent twice has the
same ids twice. Sends nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tracelet.backends.base import Batch, Outcome, RunDescription, Source, SpanPart
from tracelet.journal.records import Event
from tracelet.telemetry.names import TRACEBACK
from tracelet.telemetry.reading.span_selection import Selection

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext

MAX_EVENTS = 128
"""Events per span, the latest ones: the default limit of OpenTelemetry's SDK, which collectors expect."""
MEMORY = "spans"
OPEN = "tracelet.open"
"""Attribute of a span whose end was not recorded: the status of its process, which is not an exception of the span."""

OpenSpans = dict[str, dict[str, Any]]
"""By process and id, the known data of a span that has not ended."""


class SpanStream:
    """One trace per run, or per process with `trace_per_process`. Call `mark_sent` once a batch has been sent."""

    def __init__(
        self, run: RunDescription, selection: Selection, service: str, trace_per_process: bool = False
    ) -> None:
        memory = run.memory.get(MEMORY) or {}
        self._open_spans: OpenSpans = dict(memory.get("begun", {}))
        self.sent: str = memory.get("sent", "")
        """The id of the last batch sent."""
        self._run = run
        self._selection = selection
        self._service = service
        self._trace_per_process = trace_per_process

    def convert(self, batch: Batch) -> tuple[list[ReadableSpan], OpenSpans]:
        """The spans that ended in this batch, and the state to keep once they have been sent."""
        begun = {key: {**known, "events": list(known["events"])} for key, known in self._open_spans.items()}
        return list(self._finished(batch, begun)), begun

    def mark_sent(self, batch: Batch, spans: Sequence[ReadableSpan], begun: OpenSpans) -> None:
        """The batch has been sent."""
        if begun != self._open_spans or spans:
            self._open_spans, self.sent = begun, batch.id
            self._run.remember(MEMORY, {"begun": begun, "sent": batch.id})

    def clear_open(self) -> None:
        """The spans without an end have been sent, too."""
        if self._open_spans:
            self._open_spans = {}
            self._run.remember(MEMORY, {"begun": {}, "sent": self.sent})

    def end_open(self, outcome: Outcome) -> Iterator[ReadableSpan]:
        """Spans that never ended, because their process did: they end with the run."""
        for key, known in self._open_spans.items():
            process, _, number = key.rpartition("/")
            if self._selection.includes(known["name"]) and (start := known.get("start", 0)):
                parent = self._selection.parent(known["parent"], _parents(process, self._open_spans))
                error = "" if outcome.status == "finished" else f"{outcome.status}: {outcome.reason}".rstrip(": ")
                end = max(start, round(outcome.ended * 1e9))
                source = Source(**known["source"]) if "source" in known else Source(known.get("rank", 0))
                attributes = {**known.get("attributes", {}), OPEN: True}
                part = SpanPart(
                    int(number), parent, known["name"], start, end, source.rank, known.get("thread", 0), attributes,
                    error=error,
                )  # fmt: skip
                yield self._readable(part, process, parent, known["events"], source)

    def _finished(self, batch: Batch, begun: OpenSpans) -> Iterator[ReadableSpan]:
        """The spans that ended in this batch; updates `begun`."""
        process = batch.id.rpartition(":")[0]
        for part in batch.begun:
            begun[f"{process}/{part.id}"] = {
                "name": part.name, "parent": part.parent, "start": part.start_ns, "thread": part.thread,
                "attributes": _attributes(part.attributes), "source": asdict(batch.source), "events": [],
            }  # fmt: skip
        ended = {part.id for part in batch.spans}
        loose: dict[int, list[dict[str, Any]]] = {}
        for event in batch.events:
            if event.span in ended:
                loose.setdefault(event.span, []).append(_event_record(event))
            elif f"{process}/{event.span}" in begun:
                events = begun[f"{process}/{event.span}"]["events"]
                events.append(_event_record(event))
                del events[:-MAX_EVENTS]
        above = _parents(process, begun)
        above.update({part.id: (part.name, part.parent) for part in batch.spans})
        for part in batch.spans:
            earlier = begun.pop(f"{process}/{part.id}", {"events": []})["events"]
            if self._selection.includes(part.name):
                parent = self._selection.parent(part.parent, above)
                yield self._readable(part, process, parent, [*earlier, *loose.get(part.id, ())], batch.source)

    def _readable(
        self, part: SpanPart, process: str, parent: int, events: list[dict[str, Any]], source: Source
    ) -> ReadableSpan:
        from opentelemetry.sdk.trace import Event as SpanEvent
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        from opentelemetry.trace import SpanKind, Status, StatusCode

        status = Status(StatusCode.ERROR, part.error) if part.error else Status(StatusCode.UNSET)
        told = [SpanEvent(event["name"], _attributes(event["attributes"]), event["time_ns"]) for event in events]
        if part.error and OPEN not in part.attributes:
            kind, _, message = part.error.partition(": ")
            said = {"exception.type": kind, "exception.message": message}
            if TRACEBACK in part.attributes:
                said["exception.stacktrace"] = str(part.attributes[TRACEBACK])
            told.append(SpanEvent("exception", said, part.end_ns))
        return ReadableSpan(
            name=part.name, context=self._context(process, part.id), kind=SpanKind.INTERNAL,
            resource=self._resource(source),
            parent=self._context(process, parent) if parent else None, events=told[-MAX_EVENTS:], status=status,
            attributes={
                "tracelet.span_id": part.id, "tracelet.rank": source.rank, "thread.id": part.thread,
                **_attributes({name: value for name, value in part.attributes.items() if name != TRACEBACK}),
            },
            start_time=part.start_ns, end_time=part.end_ns, instrumentation_scope=InstrumentationScope("tracelet"),
        )  # fmt: skip

    def _context(self, process: str, number: int) -> SpanContext:
        from opentelemetry.trace import SpanContext, TraceFlags

        whole = f"{self._run.id}/{process}" if self._trace_per_process else self._run.id
        trace = hashlib.sha256(whole.encode()).digest()[:16]
        span = hashlib.sha256(f"{self._run.id}/{process}/{number}".encode()).digest()[:8]
        sampled = TraceFlags(TraceFlags.SAMPLED)
        return SpanContext(int.from_bytes(trace, "big"), int.from_bytes(span, "big"), False, sampled)

    def _resource(self, source: Source) -> Resource:
        from opentelemetry.sdk.resources import Resource

        run = self._run
        described: dict[str, Any] = {
            "service.name": self._service, "host.name": source.host or run.host, "tracelet.run.id": run.id,
            "tracelet.run.name": run.name, "tracelet.rank": source.rank, "tracelet.attempt": source.attempt,
        }  # fmt: skip
        return Resource({**described, "process.pid": source.pid} if source.pid else described)


def with_attributes(span: ReadableSpan, attributes: Mapping[str, Any]) -> ReadableSpan:
    """The same span, with these attributes instead of its own."""
    from opentelemetry.sdk.trace import ReadableSpan

    return ReadableSpan(
        name=span.name, context=span.context, parent=span.parent, resource=span.resource, kind=span.kind,
        attributes=dict(attributes), events=span.events, status=span.status, start_time=span.start_time,
        end_time=span.end_time, instrumentation_scope=span.instrumentation_scope,
    )  # fmt: skip


def _parents(process: str, begun: OpenSpans) -> dict[int, tuple[str, int]]:
    """Name and parent, by id, of a process's spans that have not ended."""
    found = {}
    for key, known in begun.items():
        holder, _, number = key.rpartition("/")
        if holder == process:
            found[int(number)] = (known["name"], known["parent"])
    return found


def _event_record(event: Event) -> dict[str, Any]:
    return {"name": event.name, "time_ns": event.time * 1000, "attributes": dict(event.attributes)}


def _attributes(given: Mapping[str, Any]) -> dict[str, Any]:
    """Values that OpenTelemetry accepts: strings, numbers, booleans and lists of one of them; others as strings."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            continue
        plain = isinstance(value, (str, bool, int, float)) or (
            isinstance(value, Sequence) and len({type(item) for item in value} & {str, bool, int, float}) == 1
        )
        found[str(name)] = value if plain and not _too_large(value) else str(value)
    return found


def _too_large(value: Any) -> bool:
    """OTLP integers have 64 bits."""
    return type(value) is int and not -(2**63) <= value < 2**63
