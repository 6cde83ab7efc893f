"""Nesting: of threads, generators, coroutines and exceptions; what the recorder hands to its sink."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import tracelet
from tests.sinks import ListSink
from tracelet import telemetry
from tracelet.capture.sink import OpenSpan
from tracelet.journal.records import Event, Span
from tracelet.store.span_table import SpanTable
from tracelet.telemetry.names import TRACEBACK
from tracelet.telemetry.recording.span_recorder import MAX_TRACEBACKS, SpanRecorder, describe_error

SETTINGS = {
    "track_git": False, "track_env": False, "track_system": False, "track_lightning": False, "track_torch": False,
    "delivery": "off", "quiet": True,
}  # fmt: skip


class Ran:
    """A run, read after it has ended."""

    def __init__(self) -> None:
        self.id = ""

    @property
    def table(self) -> SpanTable:
        return tracelet.open_store().run(self.id).spans()

    def parents(self) -> dict[str, str]:
        names = {span.id: span.name for span in self.table}
        return {span.name: names.get(span.parent, "") for span in self.table}

    def errors(self) -> dict[str, str]:
        return {span.name: span.error for span in self.table if span.error}


@pytest.fixture
def ran() -> Iterator[Ran]:
    """An active run; the test ends it by `tracelet.stop_logging()`."""
    found = Ran()
    found.id = tracelet.start_logging("spans", config=SETTINGS).id
    yield found
    tracelet.stop_logging()


def test_nesting(ran: Ran) -> None:
    """A span hangs under the innermost open one; the outermost under the application."""
    with tracelet.span("outer"), tracelet.span("inner"):
        pass
    with tracelet.span("next"):
        pass
    tracelet.stop_logging()
    assert ran.parents() == {"application": "", "outer": "application", "inner": "outer", "next": "application"}


def test_threads(ran: Ran) -> None:
    """A thread's spans hang under the application, whatever other threads have open, and carry its number."""

    def work() -> None:
        with tracelet.span("there"):
            pass

    with tracelet.span("here"):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    tracelet.stop_logging()
    assert ran.parents()["there"] == "application"
    threads = {span.name: span.thread for span in ran.table}
    assert threads["here"] != threads["there"]


def test_closed_by_another_thread(ran: Ran) -> None:
    """A span that another thread closes is off its own thread's stack."""
    span = telemetry.on_model_init_start()
    thread = threading.Thread(target=telemetry.on_model_init_end)
    thread.start()
    thread.join()
    with tracelet.span("after"):
        pass
    tracelet.stop_logging()
    assert span.id and ran.parents()["after"] == "application"


def test_generators(ran: Ran) -> None:
    """A suspended generator's span is nobody's parent; while it runs it is."""

    @tracelet.span("producing")
    def produce() -> Iterator[int]:
        for number in range(2):
            with tracelet.span(f"making {number}"):
                pass
            yield number

    for number in produce():
        with tracelet.span(f"using {number}"):
            pass
    tracelet.stop_logging()
    parents = ran.parents()
    assert {parents["making 0"], parents["making 1"]} == {"producing"}
    assert {parents["using 0"], parents["using 1"]} == {"application"}


def test_a_generator_that_nobody_finishes(ran: Ran) -> None:
    """A generator that is closed early ends its span without an error."""

    @tracelet.span("producing")
    def produce() -> Iterator[int]:
        yield from range(10)

    for _ in produce():
        break
    tracelet.stop_logging()
    assert ran.parents()["producing"] == "application" and ran.errors() == {}


def test_coroutines(ran: Ran) -> None:
    """Coroutines and asynchronous generators can be decorated; their results and exceptions are their own."""

    @tracelet.span("asked")
    async def ask(number: int) -> int:
        await asyncio.sleep(0)
        return number + 1

    @tracelet.span("streamed")
    async def stream() -> AsyncIterator[int]:
        yield 1
        yield 2

    @tracelet.span("refused")
    async def refuse() -> None:
        raise LookupError("gone")

    async def main() -> list[int]:
        with pytest.raises(LookupError, match="gone"):
            await refuse()
        return [await ask(1), *[item async for item in stream()]]

    assert asyncio.run(main()) == [2, 1, 2]
    tracelet.stop_logging()
    assert {"asked", "streamed", "refused"} < set(ran.parents())
    assert ran.errors() == {"refused": "LookupError: gone"}


def test_decorated_functions_stay_themselves(ran: Ran) -> None:
    """A decorated function keeps its name, signature and result, and each call is a span of its own."""

    @tracelet.span("adding", kind="exact")
    def add(one: int, other: int = 2) -> int:
        """Add."""
        return one + other

    assert [add(1), add(1, other=5)] == [3, 6] and add.__name__ == "add" and add.__doc__ == "Add."
    tracelet.stop_logging()
    spans = [span for span in ran.table if span.name == "adding"]
    assert [span.attributes for span in spans] == [{"kind": "exact"}] * 2


def test_exceptions(ran: Ran) -> None:
    """An exception is recorded on every span that it leaves, and is the same object outside; an empty one too."""
    error = AssertionError()
    with pytest.raises(AssertionError) as caught, tracelet.span("outer"), tracelet.span("inner"):
        raise error
    tracelet.stop_logging()
    assert caught.value is error and ran.errors() == {"outer": "AssertionError", "inner": "AssertionError"}


def test_a_failing_program(ran: Ran) -> None:
    """What is open when the run ends with an exception is closed with it, the application last."""
    telemetry.on_train_start(0)
    experiment = tracelet.get_active_experiment()
    assert experiment is not None
    with pytest.raises(ValueError, match="out"), experiment:
        raise ValueError("out")
    assert ran.errors() == {"training_loop": "ValueError: out", "application": "ValueError: out"}


def test_an_exception_that_cannot_speak() -> None:
    """An exception whose text raises is described by its type."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise SystemError

    from tracelet import guard

    observers, guard.observers[:] = guard.observers[:], []
    try:
        assert describe_error(Mute()) == "Mute"
    finally:
        guard.observers[:] = observers


def test_tracebacks() -> None:
    """The innermost span that an exception passes tells where it came from, secrets masked, a hundred times at most."""
    sink = ListSink()
    recorder = SpanRecorder(sink)

    def fail(number: int) -> None:
        outer, inner = recorder.begin("outer"), recorder.begin("inner")
        try:
            raise ValueError(f"password=hunter{number}")
        except ValueError as error:
            inner.end(error)
            outer.end(error)

    for number in range(MAX_TRACEBACKS + 5):
        fail(number)
    told = [span for span in sink if isinstance(span, Span) and span.duration_ns >= 0]
    traces = [span.attributes.get(TRACEBACK) for span in told]
    assert traces[1::2] == [None] * (MAX_TRACEBACKS + 5)
    assert all("raise ValueError" in str(trace) and "hunter" not in str(trace) for trace in traces[0:-10:2])
    assert traces[-10::2] == [None] * 5


def test_attributes_and_events(ran: Ran) -> None:
    """Attributes and events of a span are recorded with it; an event outside a span is the application's."""
    with tracelet.span("work", size=1) as span:
        span.add_attribute("color", "red")
        span.add_attributes({"depth": 2})
        span.add_event("half", share=0.5)
        telemetry.current_span().add_event("inner")
    telemetry.current_span().add_event("outer")
    tracelet.stop_logging()
    (work,) = [item for item in ran.table if item.name == "work"]
    assert work.attributes == {"size": 1, "color": "red", "depth": 2}
    holders = {event.name: event.span for event in tracelet.open_store().run(ran.id).events() if event.span}
    (root,) = [item for item in ran.table if item.name == "application"]
    assert holders["half"] == holders["inner"] == work.id and holders["outer"] == root.id


def test_without_a_run() -> None:
    """Without a run spans do nothing and functions work."""
    with tracelet.span("nobody") as span:
        span.add_attribute("a", 1)
        span.add_attributes({"b": 2})
        span.add_event("c")
    assert tracelet.span("still")(lambda: 3)() == 3
    telemetry.current_span().add_event("nothing")


def test_adopting() -> None:
    """A span that the program opens inside one of the same name that we found is that span, from its own start."""
    kept = ListSink()
    recorder = SpanRecorder(kept)
    found = recorder.begin_automatic("model_initialization", {"class": "M"})
    assert found is not None
    mine = recorder.begin("model_initialization", {"size": 3}, start_ns=5)
    assert mine is found and mine.start_ns == 5 and mine.attributes == {"class": "M", "size": 3}
    assert recorder.begin_automatic("model_initialization") is None
    recorder.end(mine)
    recorder.end(found)
    assert len([item for item in kept if isinstance(item, tuple)]) == 1


def test_inner_spans_end_with_outer_ones() -> None:
    """Closing a span closes what is open inside it; closing one twice does nothing."""
    kept = ListSink()
    recorder = SpanRecorder(kept)
    outer, inner = recorder.begin("outer"), recorder.begin("inner")
    recorder.end(outer)
    recorder.end(inner)
    assert [item[0] for item in kept if isinstance(item, tuple)] == ["inner", "outer"] and recorder.stack == []
    assert all(item.ended for item in kept if isinstance(item, OpenSpan))


def test_what_reaches_the_sink() -> None:
    """A span that ended is a tuple, one that failed a record, an event names its span or the root."""
    kept = ListSink()
    recorder = SpanRecorder(kept)
    root = recorder.begin("application")
    recorder.root = root.id
    number = recorder.add("phase", 10, 5, root.id, {"a": 1})
    failed = recorder.begin("failed")
    recorder.end(failed, KeyError("x"))
    recorder.event("said", {"b": 2}, span=number)
    recorder.close()
    spans = [item for item in kept if isinstance(item, (tuple, Span))]
    names = [item[0] if isinstance(item, tuple) else item.name for item in spans]
    assert names == ["phase", "failed", "application"]
    (event,) = [item for item in kept if isinstance(item, Event)]
    assert event.span == number
    assert recorder.find("failed") is None


def test_forked_children_record_nothing(ran: Ran) -> None:
    """In a forked child spans do nothing."""
    import os

    child = os.fork()
    if not child:
        with tracelet.span("child"):
            pass
        os._exit(0 if telemetry.current_span().id == 0 else 1)
    _, status = os.waitpid(child, 0)
    tracelet.stop_logging()
    assert status == 0 and "child" not in ran.parents()


def explicit_times() -> list[tuple[Any, Any]]:
    """All pairs of callbacks that take times."""
    names = (
        "distributed_init", "model_init", "dataloader_init", "load_checkpoint", "optimizer_init",
        "training_single_iteration", "validation", "validation_single_iteration", "testing", "testing_single_iteration",
    )  # fmt: skip
    return [(getattr(telemetry, f"on_{name}_start"), getattr(telemetry, f"on_{name}_end")) for name in names]


def test_explicit_times(ran: Ran) -> None:
    """Every pair of callbacks takes its times in milliseconds since the epoch."""
    begin = 1_700_000_000_000
    for start, end in explicit_times():
        start(start_time_msec=begin)
        end(finish_time_msec=begin + 250)
    tracelet.stop_logging()
    spans = [span for span in ran.table if span.name != "application"]
    assert len(spans) == 10
    assert {(span.start_ns, span.duration_ns) for span in spans} == {(begin * 1_000_000, 250_000_000)}


def test_ends_without_beginnings(ran: Ran) -> None:
    """An end whose beginning was never told does nothing."""
    for _start, end in explicit_times():
        end()
    telemetry.on_save_checkpoint_end()
    telemetry.on_train_end()
    tracelet.stop_logging()
    assert set(ran.parents()) == {"application"}
