"""The `otlp` backend: spans with their events, to anything that takes OpenTelemetry's protocol over HTTP or gRPC.

Called by a courier on its thread. Spans are encoded by the OpenTelemetry SDK's own exporter package and sent in one
request, without its retries: those are the courier's. Ids come from the run's, so a span that is sent twice has the
same ids twice. Metrics are not sent: see the other backends.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from tracelet.backends.base import Batch, Outcome, RunDescription, Source, SpanPart
from tracelet.backends.otlp_transport import Transport, connect
from tracelet.errors import Misconfigured
from tracelet.records import Event
from tracelet.telemetry.names import TRACEBACK
from tracelet.telemetry.selection import Selection

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext

MOST_EVENTS = 128
"""Events of one span, the latest ones: what OpenTelemetry's SDK allows, and collectors expect."""
MOST_SPANS = 2048
"""Spans of one request; about 1 MB, a quarter of what gRPC servers take by default."""
HTTP, GRPC = "http/protobuf", "grpc"
OPEN = "tracelet.open"
"""Attribute of a span whose end nobody saw: what ended it is told, and was no exception of its own."""


@dataclass(frozen=True)
class OtlpOptions:
    """Settings of the backend `otlp`."""

    url: str = ""
    """`http://HOST:4318` or `HOST:4317`; OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT if empty."""
    protocol: str = ""
    """`http/protobuf` or `grpc`; OTEL_EXPORTER_OTLP_PROTOCOL, else HTTP, if empty."""
    api_key: str = ""
    """Sent as `Authorization: Bearer ...`. Other headers come from OTEL_EXPORTER_OTLP_HEADERS. Never stored."""
    service_name: str = ""
    """`service.name` of the resource; OTEL_SERVICE_NAME, else the run's project or name, if empty."""
    spans: str = "all"
    """Names of the spans to send, separated by commas."""
    spans_deny: str = ""
    """Names of spans not to send; their children move up to the nearest span that is sent."""
    timeout: float = 10.0
    """Seconds that one request may take before it counts as failed."""


class OtlpBackend:
    """Keeps, over restarts, what it knows of spans that have begun and not ended: their names, parents and events."""

    name: ClassVar[str] = "otlp"
    options: ClassVar[type] = OtlpOptions
    extra: ClassVar[str] = "otlp"
    every_rank: ClassVar[bool] = True

    def __init__(self, options: OtlpOptions) -> None:
        self._options = options
        self._selection = Selection.parse(options.spans, options.spans_deny)
        self._transport: Transport | None = None
        self._run: RunDescription | None = None
        self._begun: dict[str, dict[str, Any]] = {}
        self._sent = ""

    def open(self, run: RunDescription) -> None:
        """Settle where to send to; nothing is sent yet."""
        protocol = self._options.protocol or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", HTTP)
        if protocol not in (HTTP, GRPC):
            raise Misconfigured(f"protocol={protocol!r} is not spoken", f"Give {HTTP!r} or {GRPC!r}")
        memory = run.memory.get("spans") or {}
        self._begun, self._sent = dict(memory.get("begun", {})), memory.get("sent", "")
        self._run = run
        self._transport = connect(
            protocol == GRPC, self._options.url, self._options.api_key, self._options.timeout
        )  # fmt: skip

    def write(self, batch: Batch) -> None:
        """Send the batch's spans. One whose batch was sent before is left out."""
        assert self._transport is not None and self._run is not None  # `open` comes first
        if batch.again and batch.id == self._sent:
            return
        begun = {key: {**known, "events": list(known["events"])} for key, known in self._begun.items()}
        spans = list(self._finished(batch, begun))
        for start in range(0, len(spans), MOST_SPANS):
            self._transport.send(spans[start : start + MOST_SPANS])
        if begun != self._begun or spans:
            self._begun, self._sent = begun, batch.id
            self._run.remember("spans", {"begun": begun, "sent": batch.id})

    def close(self, outcome: Outcome | None) -> None:
        """Let go of the connection. With the run, what its processes left open has ended: they were killed."""
        if self._transport is None or self._run is None:
            return
        if outcome is not None and self._begun:
            spans = list(self._left_open(outcome))
            for start in range(0, len(spans), MOST_SPANS):
                self._transport.send(spans[start : start + MOST_SPANS])
            self._begun = {}
            self._run.remember("spans", {"begun": {}, "sent": self._sent})
        transport, self._transport = self._transport, None
        transport.close()

    def _left_open(self, outcome: Outcome) -> Iterator[ReadableSpan]:
        """Spans whose end nobody saw, as ended with the run."""
        above: dict[str, dict[int, tuple[str, int]]] = {}
        for key, known in self._begun.items():
            process, _, number = key.rpartition("/")
            above.setdefault(process, {})[int(number)] = known["name"], known["parent"]
        for key, known in self._begun.items():
            process, _, number = key.rpartition("/")
            if not self._selection.keeps(known["name"]):
                continue
            source = Source(**known["source"])
            end = max(int(outcome.ended * 1e9), known["start"])
            part = SpanPart(
                int(number), known["parent"], known["name"], known["start"], end, source.rank, known["thread"],
                {**known["attributes"], OPEN: True}, error=outcome.reason or outcome.status,
            )  # fmt: skip
            parent = self._selection.parent(part.parent, above[process])
            yield self._readable(part, process, parent, known["events"], source)

    def _finished(self, batch: Batch, begun: dict[str, dict[str, Any]]) -> Iterator[ReadableSpan]:
        """The spans that ended in this batch; `begun` is brought up to date."""
        process = batch.id.rpartition(":")[0]
        for part in batch.begun:
            begun[f"{process}/{part.id}"] = {
                "name": part.name, "parent": part.parent, "events": [], "start": part.start_ns, "thread": part.thread,
                "attributes": _attributes(part.attributes), "source": asdict(batch.source),
            }  # fmt: skip
        ended = {part.id for part in batch.spans}
        loose: dict[int, list[dict[str, Any]]] = {}
        for event in batch.events:
            if event.span in ended:
                loose.setdefault(event.span, []).append(_kept(event))
            elif f"{process}/{event.span}" in begun:
                events = begun[f"{process}/{event.span}"]["events"]
                events.append(_kept(event))
                del events[:-MOST_EVENTS]
        above = {part.id: (part.name, part.parent) for part in batch.spans}
        for key, known in begun.items():
            holder, _, number = key.rpartition("/")
            if holder == process:
                above.setdefault(int(number), (known["name"], known["parent"]))
        for part in batch.spans:
            earlier = begun.pop(f"{process}/{part.id}", {"events": []})["events"]
            if self._selection.keeps(part.name):
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
            parent=self._context(process, parent) if parent else None, events=told[-MOST_EVENTS:], status=status,
            attributes={
                "tracelet.span_id": part.id, "tracelet.rank": source.rank, "thread.id": part.thread,
                **_attributes({name: value for name, value in part.attributes.items() if name != TRACEBACK}),
            },
            start_time=part.start_ns, end_time=part.end_ns, instrumentation_scope=InstrumentationScope("tracelet"),
        )  # fmt: skip

    def _context(self, process: str, number: int) -> SpanContext:
        from opentelemetry.trace import SpanContext, TraceFlags

        assert self._run is not None  # `open` comes first
        trace = hashlib.sha256(self._run.id.encode()).digest()[:16]
        span = hashlib.sha256(f"{self._run.id}/{process}/{number}".encode()).digest()[:8]
        sampled = TraceFlags(TraceFlags.SAMPLED)
        return SpanContext(int.from_bytes(trace, "big"), int.from_bytes(span, "big"), False, sampled)

    def _resource(self, source: Source) -> Resource:
        from opentelemetry.sdk.resources import Resource

        run = self._run
        assert run is not None  # `open` comes first
        service = self._options.service_name or os.environ.get("OTEL_SERVICE_NAME") or run.project or run.name
        described: dict[str, Any] = {
            "service.name": service, "host.name": source.host or run.host, "tracelet.run.id": run.id,
            "tracelet.run.name": run.name, "tracelet.rank": source.rank, "tracelet.attempt": source.attempt,
        }  # fmt: skip
        return Resource({**described, "process.pid": source.pid} if source.pid else described)


def _kept(event: Event) -> dict[str, Any]:
    return {"name": event.name, "time_ns": event.time * 1000, "attributes": dict(event.attributes)}


def _attributes(given: Mapping[str, Any]) -> dict[str, Any]:
    """What OpenTelemetry takes: text, numbers, switches and lists of one of them; anything else as text."""
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
