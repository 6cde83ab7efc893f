"""The otlp backend against a real OTLP receiver, over HTTP and gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

import tracelet
from tests.servers.collector import Collector, collecting, plain
from tracelet.agent.delivery.batch_reader import BatchReader
from tracelet.backends.base import Batch, Outcome, RunDescription, Source, SpanPart
from tracelet.backends.otel_spans import MAX_EVENTS
from tracelet.backends.otlp.backend import GRPC, OtlpBackend, OtlpOptions
from tracelet.errors import Misconfigured, Rejected, Unavailable
from tracelet.journal.records import Event
from tracelet.telemetry import model_forward, training_iteration, training_loop
from tracelet.telemetry.names import TRACEBACK

START = 1_700_000_000_000_000_000


@pytest.fixture
def collector() -> Iterator[Collector]:
    """An HTTP server that decodes what it is sent."""
    with collecting() as found:
        yield found


def described(folder: Path, **changes: Any) -> RunDescription:
    memory: dict[str, Any] = changes.pop("memory", {})
    given: dict[str, Any] = {
        "id": "abc123", "name": "resnet", "project": "vision", "started": 1.7e9, "command": ["python"],
        "folder": str(folder),
        "host": "node1", "params": {}, "tags": {}, "git": {}, "environment": {}, "artifacts_folder": folder,
        "store": folder, "memory": memory, "remember": memory.__setitem__,
    }  # fmt: skip
    known = {name: value for name, value in given.items() if name in RunDescription.__dataclass_fields__}
    return RunDescription(**{**known, **changes})


def span(number: int, parent: int = 0, name: str = "work", **more: Any) -> SpanPart:
    return SpanPart(number, parent, name, START + number, START + number + 1000, **more)


def delivered(collector: Collector, folder: Path, *batches: Batch, **options: Any) -> OtlpBackend:
    backend = OtlpBackend(OtlpOptions(url=collector.url, **options))
    backend.open(described(folder))
    for batch in batches:
        backend.write(batch)
    return backend


def test_a_run_arrives_span_by_span(collector: Collector, tmp_path: Path) -> None:
    """Each span of a real run arrives once, with the right parent, times, attributes and events."""
    with tracelet.start_logging("run", config={"track_git": False, "delivery": "off", "quiet": True}) as experiment:
        with training_loop(), training_iteration(), model_forward() as inner:
            inner.add_attribute("tokens", 12)
        with tracelet.span("mine", files=3) as mine:
            mine.add_event("half", done=0.5)
    feed, backend = BatchReader(experiment.folder), OtlpBackend(OtlpOptions(url=collector.url))
    backend.open(described(tmp_path))
    cursors: dict[str, tuple[int, int]] = {}
    while (portion := feed.next(cursors)) is not None:
        if portion.batch is not None:
            backend.write(portion.batch)
        cursors[portion.pending.journal] = portion.pending.stop
    backend.close(Outcome("finished", "", 1.7e9))
    table = tracelet.open_store().run(experiment.id).spans()
    found = collector.by_name()
    assert sorted(found) == sorted(table.names) and len(collector.spans()) == len(table)
    by_id = {one.span_id: one.name for one in collector.spans()}
    parents = {one.name: by_id.get(one.parent_span_id, "") for one in collector.spans()}
    assert parents == {
        "application": "", "training_loop": "application", "training_single_iteration": "training_loop",
        "model_forward": "training_single_iteration", "mine": "application",
    }  # fmt: skip
    expected = {item.name: item for item in table}
    for name, one in found.items():
        assert (one.start_time_unix_nano, one.end_time_unix_nano) == (
            expected[name].start_ns, expected[name].start_ns + expected[name].duration_ns,
        )  # fmt: skip
    assert plain(found["model_forward"].attributes)["tokens"] == 12
    assert [event.name for event in found["mine"].events] == ["half"]
    events = [event.name for one in collector.spans() for event in one.events]
    assert events.count("one_logger_initialization") == 1 and events.count("training_metrics_update") == 1


def test_resource(collector: Collector, tmp_path: Path) -> None:
    """The resource says which service, host, run and rank."""
    delivered(collector, tmp_path, Batch("rank-0:0-1", spans=[span(1, rank=0)]))
    (resource,) = collector.resources()
    assert resource["service.name"] == "vision" and resource["host.name"] == "node1"
    assert resource["tracelet.run.id"] == "abc123" and resource["tracelet.rank"] == 0
    assert "process.pid" not in resource


def test_error(collector: Collector, tmp_path: Path) -> None:
    """A span that an exception ended has the status ERROR and an exception event."""
    delivered(collector, tmp_path, Batch("rank-0:0-1", spans=[span(1, error="ValueError: no")]))
    (one,) = collector.spans()
    assert one.status.code == 2 and one.status.message == "ValueError: no"
    assert plain(one.events[0].attributes) == {"exception.type": "ValueError", "exception.message": "no"}
    delivered(collector, tmp_path, Batch("b:0-1", spans=[span(1, error="E: x", attributes={TRACEBACK: "line 3"})]))
    assert plain(collector.spans()[-1].events[0].attributes)["exception.stacktrace"] == "line 3"


def test_events_wait_for_their_span(collector: Collector, tmp_path: Path) -> None:
    """Events that come before their span ends go with it, also when the backend was opened anew in between."""
    memory: dict[str, Any] = {}
    first = OtlpBackend(OtlpOptions(url=collector.url))
    first.open(described(tmp_path, memory=memory))
    begun = SpanPart(1, 0, "training_loop", START, START - 1)
    events = [Event(time=1_700_000_000_000_000 + n, name="update", span=1) for n in range(MAX_EVENTS + 5)]
    first.write(Batch("rank-0:0-1", begun=[begun], events=events))
    first.close(None)
    assert collector.spans() == []
    second = OtlpBackend(OtlpOptions(url=collector.url))
    second.open(described(tmp_path, memory=memory))
    second.write(Batch("rank-0:1-2", spans=[span(1, name="training_loop")]))
    (one,) = collector.spans()
    assert len(one.events) == MAX_EVENTS and one.events[-1].time_unix_nano == (1_700_000_000_000_000 + 132) * 1000


def test_ranks(collector: Collector, tmp_path: Path) -> None:
    """Ranks use the same numbers for their spans: each keeps its own, and says which rank, host and process it is."""
    batches = [
        Batch(
            f"rank-{rank}.0:0-1", spans=[span(1, name="application"), span(2, parent=1)],
            source=Source(rank=rank, pid=100 + rank, host=f"node{rank}"),
        )
        for rank in (0, 1)
    ]  # fmt: skip
    delivered(collector, tmp_path, *batches)
    received = collector.with_resources()
    assert len({one.span_id for _, one in received}) == 4 and len({one.trace_id for _, one in received}) == 1
    roots = {one.span_id: resource["tracelet.rank"] for resource, one in received if not one.parent_span_id}
    for resource, one in received:
        rank = resource["tracelet.rank"]
        assert (resource["host.name"], resource["process.pid"]) == (f"node{rank}", 100 + rank)
        assert plain(one.attributes)["tracelet.rank"] == rank
        assert roots[one.parent_span_id or one.span_id] == rank


def test_what_a_kill_left_open(collector: Collector, tmp_path: Path) -> None:
    """Spans whose end nobody saw are sent when the run is over: with their events, as failed, marked as open."""
    memory: dict[str, Any] = {}
    begun = [
        SpanPart(1, 0, "application", START, START - 1),
        SpanPart(2, 1, "training_loop", START + 5, START, attributes={"fit": 1}),
    ]
    backend = OtlpBackend(OtlpOptions(url=collector.url))
    backend.open(described(tmp_path, memory=memory))
    backend.write(Batch("rank-0.0:0-1", begun=begun, events=[Event(time=START // 1000, name="update", span=2)]))
    backend.close(None)
    assert collector.spans() == []
    for _ in range(2):
        backend.open(described(tmp_path, memory=memory))
        backend.close(Outcome("killed", "the process disappeared", START / 1e9 + 60))
    loop, application = collector.by_name()["training_loop"], collector.by_name()["application"]
    assert len(collector.spans()) == 2 and loop.parent_span_id == application.span_id
    assert loop.end_time_unix_nano - START >= 59_000_000_000
    assert (loop.status.code, loop.status.message) == (2, "killed: the process disappeared")
    assert plain(loop.attributes)["tracelet.open"] is True and plain(loop.attributes)["fit"] == 1
    assert [event.name for event in loop.events] == ["update"]


def test_repeats_are_recognised(collector: Collector, tmp_path: Path) -> None:
    """A batch that comes again is sent once; one that never arrived is sent under the same ids."""
    memory: dict[str, Any] = {}
    batch = Batch("rank-0:0-1", spans=[span(1), span(2, parent=1)])
    again = Batch("rank-0:0-1", spans=batch.spans, again=True)
    backend = OtlpBackend(OtlpOptions(url=collector.url))
    backend.open(described(tmp_path, memory=memory))
    collector.answer = 503
    with pytest.raises(Unavailable):
        backend.write(batch)
    collector.answer = 200
    backend.write(again)
    backend.close(None)
    backend.open(described(tmp_path, memory=memory))
    backend.write(again)
    assert len(collector.spans()) == 2


def test_left_out_spans(collector: Collector, tmp_path: Path) -> None:
    """Denied spans do not arrive, and their children hang under the nearest span that does, batches apart."""
    batches = (
        Batch("rank-0:0-1", begun=[SpanPart(1, 0, "application", 1, 0), SpanPart(2, 1, "training_loop", 1, 0)]),
        Batch("rank-0:1-2", spans=[span(3, 2, "training_single_iteration"), span(4, 3, "mine")]),
        Batch("rank-0:2-3", spans=[span(2, 1, "training_loop"), span(1, 0, "application")]),
    )
    delivered(collector, tmp_path, *batches, spans_deny="training_loop, training_single_iteration")
    found = collector.by_name()
    assert sorted(found) == ["application", "mine"]
    assert found["mine"].parent_span_id == found["application"].span_id


@pytest.mark.parametrize(
    ("answer", "raised"),
    [(503, Unavailable), (429, Unavailable), (401, Misconfigured), (404, Misconfigured), (400, Rejected),
     (302, Misconfigured)],
)  # fmt: skip
def test_what_an_answer_means(collector: Collector, tmp_path: Path, answer: int, raised: type[Exception]) -> None:
    """A collector's refusal is told as what it is, after one request: a redirection is not followed, to a login say."""
    collector.answer = answer
    with pytest.raises(raised, match=str(answer)):
        delivered(collector, tmp_path, Batch("rank-0:0-1", spans=[span(1)]))
    assert len(collector.paths) == 1


def test_nobody_listens(tmp_path: Path) -> None:
    """Without a collector the backend is unavailable."""
    backend = OtlpBackend(OtlpOptions(url="http://127.0.0.1:9", timeout=2))
    backend.open(described(tmp_path))
    with pytest.raises(Unavailable, match="does not answer"):
        backend.write(Batch("rank-0:0-1", spans=[span(1)]))


def test_path_and_headers(collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Address and headers come from the options, or else from OpenTelemetry's environment variables."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=vision%20lab")
    backend = OtlpBackend(OtlpOptions(api_key="secret"))
    backend.open(described(tmp_path))
    backend.write(Batch("rank-0:0-1", spans=[span(1)]))
    assert collector.paths == ["/v1/traces"]
    assert collector.headers[0]["x-team"] == "vision lab"
    assert collector.headers[0]["authorization"] == "Bearer secret"


@pytest.mark.parametrize("options", [OtlpOptions(protocol="smoke"), OtlpOptions(url="ftp://host")])
def test_nonsense(tmp_path: Path, options: OtlpOptions) -> None:
    """Settings that cannot be meant stop the backend with a sentence."""
    with pytest.raises(Misconfigured):
        OtlpBackend(options).open(described(tmp_path))


def test_attributes_of_any_kind(collector: Collector, tmp_path: Path) -> None:
    """What OpenTelemetry has no type for arrives as text."""
    odd = {"none": None, "map": {"a": 1}, "mixed": [1, "a"], "large": 2**70, "list": [1, 2], "text": "x", "empty": []}
    delivered(collector, tmp_path, Batch("rank-0:0-1", spans=[span(1, attributes=odd)]))
    found = plain(collector.spans()[0].attributes)
    assert found["map"] == "{'a': 1}" and found["mixed"] == "[1, 'a']" and found["large"] == str(2**70)
    assert [item.int_value for item in found["list"].values] == [1, 2] and "none" not in found


def test_grpc(tmp_path: Path) -> None:
    """The same spans arrive over gRPC, and its refusals are told as what they are."""
    grpc = pytest.importorskip("grpc")
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as services

    found, refuse = Collector(), [False]

    class Servicer(services.TraceServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:
            if refuse[0]:
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you")
            found.requests.append(request)
            return ExportTraceServiceResponse()

    pool = ThreadPoolExecutor(max_workers=1)
    server = grpc.server(pool)
    add: Any = services.add_TraceServiceServicer_to_server
    add(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        found.url = f"127.0.0.1:{port}"
        backend = delivered(found, tmp_path, Batch("rank-0:0-1", spans=[span(1), span(2, parent=1)]), protocol=GRPC)
        first, second = found.spans()
        assert second.parent_span_id == first.span_id
        refuse[0] = True
        with pytest.raises(Misconfigured, match="who are you"):
            backend.write(Batch("rank-0:1-2", spans=[span(3)]))
        backend.close(None)
        with pytest.raises(Unavailable):
            delivered(Collector(), tmp_path, Batch("rank-0:0-1", spans=[span(1)]), protocol=GRPC, timeout=2)
    finally:
        server.stop(None).wait()
        pool.shutdown()
