"""Selected spans of a run as traces of MLflow 3: one trace per process, linked to the run.

Used by the `mlflow` backend on the courier's thread, inside `calling`, if its option `spans` selects any. Requires an
MLflow client and server that accept single spans; uses the store of MLflow's tracing client, so that a server and a
database work alike. MLflow recognizes a repeated span by its id.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tracelet.backends.base import Batch, Outcome, RunDescription
from tracelet.backends.otel_spans import SpanStream, with_attributes
from tracelet.telemetry.names import ITERATIONS, PHASES
from tracelet.telemetry.reading.span_selection import Selection

if TYPE_CHECKING:
    from mlflow.entities import Span
    from mlflow.tracking import MlflowClient
    from opentelemetry.sdk.trace import ReadableSpan

OUTLINE = "outline"
"""All spans but those of single iterations: loops, checkpoints, initializations, and the user's own."""
MAX_SPANS_PER_CALL = 500
"""Spans per request: a server with SQLite takes about half a second for them."""
MAX_SPANS = 10_000
"""Spans per run: MLflow's pages load a trace whole, and its database takes about 1 kB per span."""
NO_TRACES = frozenset({"NOT_IMPLEMENTED", "ENDPOINT_NOT_FOUND", "INVALID_PARAMETER_VALUE", "BAD_REQUEST"})
MEMORY = "traces"


class TraceUploader:
    """Sends the selected spans until MLflow refuses them, then stops; does not affect metrics."""

    def __init__(self, client: MlflowClient, experiment: str, run_id: str, run: RunDescription, spans: str) -> None:
        selection = Selection.parse("all", ITERATIONS | PHASES) if spans == OUTLINE else Selection.parse(spans)
        self._stream = SpanStream(run, selection, run.project or run.name, trace_per_process=True)
        self._client, self._experiment, self._run_id, self._run = client, experiment, run_id, run
        memory = run.memory.get(MEMORY) or {}
        self._linked: set[str] = set(memory.get("linked", ()))
        self._count, self._full = int(memory.get("count", 0)), bool(memory.get("full"))
        self._refused = ""

    def write(self, batch: Batch) -> Iterator[tuple[list[Any], str]]:
        """Send the batch's spans. Reports once if MLflow refuses them, or if there are too many."""
        if self._refused:
            return
        try:
            spans, begun = self._stream.convert(batch)
        except ImportError as error:  # MLflow 2 does not install OpenTelemetry
            self._refused = f"this version of MLflow does not accept spans ({error})"
            yield [{"spans": len(batch.spans)}], self._refused
            return
        room = MAX_SPANS - self._count
        chosen = [span for place, span in enumerate(spans) if place < room or span.parent is None]
        self._refused = self._send(chosen)
        if self._refused:
            yield [{"spans": len(spans)}], self._refused
        if len(chosen) < len(spans) and not self._full:
            self._full = True
            yield [{"spans": len(spans) - len(chosen)}], f"MLflow gets {MAX_SPANS:,} spans of a run and no more"
        self._count += len(chosen)
        self._stream.mark_sent(batch, spans, begun)
        if chosen:
            memory = {"linked": sorted(self._linked), "count": self._count, "full": self._full}
            self._run.remember(MEMORY, memory)

    def close(self, outcome: Outcome) -> None:
        """End the spans that the process could not end itself, so that the trace does not look unfinished."""
        if not self._refused:
            self._send(list(self._stream.end_open(outcome)))

    def _send(self, spans: Sequence[ReadableSpan]) -> str:
        """Why MLflow refuses spans; empty if it has stored these."""
        from mlflow.exceptions import MlflowException

        made = [_as_mlflow(span) for span in spans]
        try:
            for start in range(0, len(made), MAX_SPANS_PER_CALL):
                self._log(made[start : start + MAX_SPANS_PER_CALL])
            self._link({str(span.trace_id) for span in made})
        except (NotImplementedError, AttributeError, ImportError) as error:
            return f"this version of MLflow does not accept spans ({error})"
        except MlflowException as error:
            if error.error_code not in NO_TRACES:
                raise
            return f"this version of MLflow does not accept spans ({error.message})"
        return ""

    def _log(self, spans: list[Span]) -> None:
        from mlflow.tracing.client import TracingClient

        TracingClient(self._client.tracking_uri).log_spans(self._experiment, spans)

    def _link(self, traces: set[str]) -> None:
        if fresh := sorted(traces - self._linked):
            self._client.link_traces_to_run(fresh, self._run_id)
            self._linked.update(fresh)


def _as_mlflow(span: ReadableSpan) -> Span:
    """The same span with the attributes by which MLflow identifies it, each as a JSON string, as MLflow stores them."""
    from mlflow.entities import Span

    assert span.context is not None
    trace = f"tr-{span.context.trace_id:032x}"
    told = {**(span.attributes or {}), "mlflow.traceRequestId": trace, "mlflow.spanType": "UNKNOWN"}
    return Span(with_attributes(span, {name: json.dumps(_plain(value)) for name, value in told.items()}))


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
