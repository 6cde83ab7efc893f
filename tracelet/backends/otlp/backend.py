"""The `otlp` backend: spans with their events, to any system that accepts OpenTelemetry's protocol over HTTP or gRPC.

Called by a courier on its thread. The OpenTelemetry SDK's own exporter package encodes the spans; they are sent in one
request, without its retries, because the courier retries. Ids are derived from the run's, so a span that is sent twice
has the same ids twice. Metrics are not sent: use another backend for them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tracelet.backends.base import Batch, Outcome, RunDescription
from tracelet.backends.otel_spans import SpanStream
from tracelet.backends.otlp.transport import Transport, connect
from tracelet.errors import Misconfigured, Rejected
from tracelet.telemetry.reading.span_selection import Selection

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

MAX_SPANS = 2048
"""Spans per request; about 1 MB, a quarter of the default limit of gRPC servers."""
HTTP, GRPC = "http/protobuf", "grpc"


@dataclass(frozen=True)
class OtlpOptions:
    """Settings of the backend `otlp`."""

    url: str = ""
    """`http://HOST:4318` or `HOST:4317`. If empty, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or
    OTEL_EXPORTER_OTLP_ENDPOINT."""
    protocol: str = ""
    """`http/protobuf` or `grpc`. If empty, OTEL_EXPORTER_OTLP_PROTOCOL, otherwise `http/protobuf`."""
    api_key: str = ""
    """Sent as `Authorization: Bearer ...`. Other headers come from OTEL_EXPORTER_OTLP_HEADERS. Never stored."""
    service_name: str = ""
    """`service.name` of the resource. If empty, OTEL_SERVICE_NAME, otherwise the project or name of the run."""
    spans: str = "all"
    """Names of the spans to send, separated by commas, or `all`."""
    spans_deny: str = ""
    """Names of spans not to send; their children move up to the nearest ancestor that is sent."""
    timeout: float = 10.0
    """Timeout of one request in seconds."""


class OtlpBackend:
    """One trace per run."""

    name: ClassVar[str] = "otlp"
    options: ClassVar[type] = OtlpOptions
    extra: ClassVar[str] = "otlp"
    every_rank: ClassVar[bool] = True

    def __init__(self, options: OtlpOptions) -> None:
        self._options = options
        self._transport: Transport | None = None
        self._stream: SpanStream | None = None

    def open(self, run: RunDescription) -> None:
        """Determine the destination; nothing is sent yet."""
        service = self._options.service_name or os.environ.get("OTEL_SERVICE_NAME") or run.project or run.name
        self._stream = SpanStream(run, Selection.parse(self._options.spans, self._options.spans_deny), service)
        self._transport = self._connect()

    def _connect(self) -> Transport:
        protocol = self._options.protocol or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", HTTP)
        if protocol not in (HTTP, GRPC):
            raise Misconfigured(f"protocol={protocol!r} is not supported", f"Give {HTTP!r} or {GRPC!r}")
        return connect(protocol == GRPC, self._options.url, self._options.api_key, self._options.timeout)

    def check(self) -> str:
        """For `doctor`: whether the collector accepts a request without spans, and with whose credentials."""
        transport = self._connect()
        try:
            transport.send([])
        except Rejected:
            pass  # it responds: the request contained nothing to accept
        finally:
            transport.close()
        return transport.description

    def write(self, batch: Batch) -> None:
        """Send the batch's spans. Skip a batch that was sent before."""
        assert self._transport is not None and self._stream is not None  # `open` comes first
        if batch.again and batch.id == self._stream.sent:
            return
        spans, begun = self._stream.convert(batch)
        self._send(spans)
        self._stream.mark_sent(batch, spans, begun)

    def close(self, outcome: Outcome | None) -> None:
        """Close the connection. When the run is over, spans that its processes left open are ended: the processes were
        killed.
        """
        if self._transport is None or self._stream is None:
            return
        if outcome is not None:
            self._send(list(self._stream.end_open(outcome)))
            self._stream.clear_open()
        transport, self._transport = self._transport, None
        transport.close()

    def _send(self, spans: Sequence[ReadableSpan]) -> None:
        assert self._transport is not None  # `open` comes first
        for start in range(0, len(spans), MAX_SPANS):
            self._transport.send(spans[start : start + MAX_SPANS])
