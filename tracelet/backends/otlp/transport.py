"""Sends encoded spans to a collector, in one HTTP request or one gRPC call. Reports failures and never retries.

Called by the `otlp` backend on a courier's thread. The OpenTelemetry SDK does the encoding but not the sending, because
its exporters retry failed requests themselves and do not say why they gave up.
"""

from __future__ import annotations

import gzip
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from tracelet.errors import Misconfigured, Rejected, Unavailable, install_command
from tracelet.redaction.masking import mask_url

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

HTTP_ENDPOINT, GRPC_ENDPOINT = "http://localhost:4318", "localhost:4317"
"""The default addresses of collectors."""
PATH = "/v1/traces"
REJECTED_STATUS = frozenset({400, 413, 422})
"""HTTP: this request will never be accepted."""
MISCONFIGURED_STATUS = frozenset({401, 403, 404, 405})
"""HTTP: no request will be accepted until somebody fixes the settings."""


MAX_RESPONSE = 1024 * 1024
"""Bytes read of a response; a collector's has a few."""


class Transport(Protocol):
    """Sends spans. Raises the exceptions of a backend."""

    description: str
    """The destination and the source of the credential, without the credential."""

    def send(self, spans: Sequence[ReadableSpan]) -> None:
        """Deliver; when it returns, the collector has the spans."""

    def close(self) -> None:
        """Close the connection."""


def connect(grpc: bool, url: str, api_key: str, timeout: float) -> Transport:
    """The transport of a protocol. Misconfigured if its package is missing."""
    headers, source = _headers(api_key)
    if grpc:
        address = url or _from_environment() or GRPC_ENDPOINT
        try:
            return GrpcTransport(address, headers, timeout, source)
        except ImportError as error:
            raise Misconfigured(
                f"OTLP over gRPC needs a package that is missing ({error.name})",
                "Type: pip install opentelemetry-exporter-otlp-proto-grpc, or use protocol='http/protobuf'",
            ) from None
    traces = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "")
    address = traces if traces and not url else _with_path(url or _from_environment() or HTTP_ENDPOINT)
    try:
        import opentelemetry.exporter.otlp.proto.common.trace_encoder  # noqa: F401
    except ImportError as error:
        raise Misconfigured(
            f"the otlp backend needs a package that is missing ({error.name})", f"Type: {install_command('otlp')}"
        ) from None
    return HttpTransport(address, headers, timeout, source)


def _from_environment() -> str:
    names = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"
    return next((os.environ[name] for name in names if os.environ.get(name)), "")


def _with_path(url: str) -> str:
    address = url if "://" in url else f"http://{url}"
    return address if urllib.parse.urlsplit(address).path not in ("", "/") else address.rstrip("/") + PATH


def _headers(api_key: str) -> tuple[dict[str, str], str]:
    """The headers of every request, and the source of the credential among them."""
    names = "OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"
    variable = next((name for name in names if os.environ.get(name)), "")
    pairs = (part.partition("=") for part in os.environ.get(variable, "").split(",") if "=" in part)
    found = {name.strip().lower(): urllib.parse.unquote(value.strip()) for name, _, value in pairs}
    if api_key:
        found["authorization"] = f"Bearer {api_key}"
        return found, "with the api_key passed to tracelet"
    return found, f"with the headers in {variable}" if found else "without a credential"


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: urllib would pass the credential on, drop the spans, and report success."""

    def redirect_request(self, *_: Any) -> None:
        """Send no other request."""


class HttpTransport:
    """OTLP as protobuf in HTTP."""

    def __init__(self, url: str, headers: dict[str, str], timeout: float, source: str) -> None:
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise Misconfigured(f"{mask_url(url)!r} is not the URL of a collector", f"Give one such as {HTTP_ENDPOINT}")
        self._url, self._shown = url, mask_url(url)
        self.description = f"{self._shown}, {source}"
        self._headers = {**headers, "content-type": "application/x-protobuf", "content-encoding": "gzip"}
        self._timeout = timeout
        self._opener = urllib.request.build_opener(_NoRedirects)

    def send(self, spans: Sequence[ReadableSpan]) -> None:
        """One POST."""
        from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

        body = gzip.compress(encode_spans(spans).SerializeToString(), 1)
        request = urllib.request.Request(self._url, body, self._headers, method="POST")  # noqa: S310  # checked above
        try:
            with self._opener.open(request, timeout=self._timeout) as answer:
                answer.read(MAX_RESPONSE)
        except urllib.error.HTTPError as error:
            with error:
                self._raise_for_status(error.code, error.reason)
        except (OSError, ValueError) as error:
            raise Unavailable(f"the collector at {self._shown} does not answer ({error})") from error

    def _raise_for_status(self, code: int, reason: str) -> None:
        said = f"the collector at {self._shown} answered {code} {reason}"
        if 300 <= code < 400:
            raise Misconfigured(f"{said}: it redirects elsewhere", "Set the url option to the address it redirects to")
        if code in MISCONFIGURED_STATUS:
            raise Misconfigured(said, "Check the url option and the api_key, or OTEL_EXPORTER_OTLP_HEADERS")
        if code in REJECTED_STATUS:
            raise Rejected([], said)
        raise Unavailable(said)

    def close(self) -> None:
        """Nothing is open between two requests."""


class GrpcTransport:
    """OTLP over gRPC, with the stub from the protocol's definition."""

    def __init__(self, address: str, headers: dict[str, str], timeout: float, source: str) -> None:
        import grpc
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

        parts = urllib.parse.urlsplit(address if "://" in address else f"//{address}")
        target = parts.netloc or address
        self._channel: Any = (
            grpc.secure_channel(target, grpc.ssl_channel_credentials())
            if parts.scheme == "https"
            else grpc.insecure_channel(target)
        )
        make_stub: Any = TraceServiceStub
        self._stub = make_stub(self._channel)
        self._metadata = tuple(headers.items())
        self._timeout = timeout
        self._target = target.rpartition("@")[2]
        self.description = f"{self._target}, {source}"

    def send(self, spans: Sequence[ReadableSpan]) -> None:
        """One call."""
        import grpc
        from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

        try:
            self._stub.Export(encode_spans(spans), timeout=self._timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            code = error.code()
            said = f"the collector at {self._target} answered {code.name}: {error.details()}"
            if code in (
                grpc.StatusCode.UNAUTHENTICATED,
                grpc.StatusCode.PERMISSION_DENIED,
                grpc.StatusCode.UNIMPLEMENTED,
            ):
                raise Misconfigured(said, "Check the url option and the api_key") from error
            if code == grpc.StatusCode.INVALID_ARGUMENT:
                raise Rejected([], said) from error
            raise Unavailable(said) from error

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()
