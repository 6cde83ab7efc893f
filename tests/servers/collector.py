"""A real OTLP receiver for tests: an HTTP server on loopback that decodes the protobuf that it is sent."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector:
    """What arrived, and what to answer."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.answer = 200
        self.url = ""

    def spans(self) -> list[Any]:
        """All spans, in the order of their arrival."""
        return [span for _, span in self.with_resources()]

    def with_resources(self) -> list[tuple[dict[str, Any], Any]]:
        """All spans, each with the attributes of its resource."""
        return [
            (plain(group.resource.attributes), span)
            for request in list(self.requests)
            for group in request.resource_spans
            for scope in group.scope_spans
            for span in scope.spans
        ]

    def by_name(self) -> dict[str, Any]:
        """The last span of each name."""
        return {span.name: span for span in self.spans()}

    def resources(self) -> list[dict[str, Any]]:
        """The attributes of every resource."""
        return [plain(group.resource.attributes) for request in self.requests for group in request.resource_spans]


def plain(attributes: Any) -> dict[str, Any]:
    """Attributes as Python values."""
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens."""
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            found.paths.append(self.path)
            found.headers.append({name.lower(): value for name, value in self.headers.items()})
            if found.answer == 200:
                found.requests.append(ExportTraceServiceRequest.FromString(gzip.decompress(body)))
            self.send_response(found.answer)
            if found.answer == 302:
                self.send_header("location", found.url + "/login")
            self.end_headers()

        def do_GET(self) -> None:
            found.paths.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, name="collector")
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
