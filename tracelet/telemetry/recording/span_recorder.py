"""Starts and ends spans on any thread, tracks which are open, and emits them to the sink.

One recorder belongs to one run. Every thread has its own stack of open spans; a thread without one attaches its spans
to the run's `application` span. Nothing here blocks, raises into the user's program, or costs more than a few
microseconds.
"""

from __future__ import annotations

import itertools
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, Protocol

from tracelet.capture.exception_text import describe_exception
from tracelet.capture.sink import IDS_PER_ITERATION, OpenSpan, Sink
from tracelet.guard import guard
from tracelet.journal.records import Event, Span
from tracelet.redaction.masking import mask_text
from tracelet.telemetry.names import TRACEBACK

CO_GENERATOR_KINDS = 0x20 | 0x80 | 0x200
"""Code flags of generators, coroutines and asynchronous generators (see the `inspect` module)."""
MAX_MESSAGE = 1000
"""Characters kept of an exception's message."""
MAX_TRACEBACK = 8000
"""Characters kept of its traceback, the last ones: the place where it was raised is at the end."""

NO_FAILURES = frozenset({"_TunerExitException"})
"""Exceptions by which a framework ends a part normally: Lightning's tuner its trial fit."""

MAX_TRACEBACKS = 100
"""Told in one process: who raises exceptions by the thousand knows where."""


class SpanOwner(Protocol):
    """Whether the subject of a span is still running, for spans that nothing may close."""

    def running(self) -> bool:
        """Asked on the span's own thread."""

    def error(self) -> BaseException | None:
        """The exception that ended it, if there was one and it is still accessible."""


class ActiveSpan(OpenSpan):
    """An open span, as the user holds it. Its methods may be called from any thread."""

    __slots__ = ("_recorder", "automatic", "frame", "owner", "stack")

    def __init__(
        self, recorder: SpanRecorder, id: int, name: str, parent: int, start_ns: int, frame: FrameType | None
    ) -> None:
        super().__init__(id, name, parent, start_ns, threading.get_ident())
        self._recorder = recorder
        self.frame = frame
        """The generator's frame, where a generator opened it: see `SpanRecorder._parent`."""
        self.stack = recorder.stack
        """The stack of the thread that opened it; another thread may close it."""
        self.automatic = False
        """Opened by us, not by the user's program."""
        self.owner: SpanOwner | None = None

    def add_attribute(self, name: str, value: Any) -> None:
        """Set one attribute; recorded when the span ends."""
        self.attributes[str(name)] = value

    def add_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Set several attributes."""
        self.attributes.update({str(name): value for name, value in attributes.items()})

    def add_event(self, name: str, /, **attributes: Any) -> None:
        """Record that something happened now within this span."""
        self._recorder.event(str(getattr(name, "value", name)), attributes, span=self)

    def end(self, error: BaseException | None = None, end_ns: int | None = None) -> None:
        """Close this span; see `SpanRecorder.end`."""
        self._recorder.end(self, error, end_ns)


class SpanRecorder:
    """The spans of one process of one run."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.root = 0
        """The id of the `application` span, under which threads without an open span hang theirs."""
        self.manual_names: set[str] = set()
        """Names of spans that the program always records itself: no automatic ones are added."""
        self.timed_by_hand = False
        """Whether the program times its iterations or their phases itself."""
        self.loops: list[Any] = []
        """The loops of this process that time iterations: see `open_iterations.Loop`."""
        self._ids = itertools.count(1, IDS_PER_ITERATION)
        self.reserve_id: Callable[[], int] = self._ids.__next__
        """An id for a span that will be added when it is over, so that its children can name it now."""
        self._local = threading.local()
        self._stacks: list[list[ActiveSpan]] = []
        """Of all threads that have anything open."""
        self._tracebacks_left = MAX_TRACEBACKS
        self._last_error = (0, 0)
        """The exception whose traceback was recorded last, and the span that it will end next."""
        # Wall time for the origin, the monotonic clock for everything after: spans never run backwards.
        self._origin_ns = time.time_ns() - time.perf_counter_ns()

    def now_ns(self) -> int:
        """Nanoseconds since the epoch, monotonic within the process."""
        return self._origin_ns + time.perf_counter_ns()

    @staticmethod
    def thread() -> int:
        """The number of the calling thread."""
        return threading.get_ident()

    def at_ns(self, seconds: float) -> int:
        """A wall-clock time in seconds since the epoch as nanoseconds."""
        return int(seconds * 1e9)

    @property
    def stack(self) -> list[ActiveSpan]:
        """The open spans of the calling thread, outermost first."""
        try:
            found: list[ActiveSpan] = self._local.stack
        except AttributeError:
            found = self._local.stack = []
        return found

    def find(self, name: str) -> ActiveSpan | None:
        """The innermost open span of this name: of the calling thread, or else of any."""
        for stack in (self.stack, *reversed(self._stacks)):
            for span in reversed(stack):
                if span.name == name and not span.ended:
                    return span
        return None

    def current(self) -> ActiveSpan | None:
        """The innermost open span of the calling thread."""
        stack = self.stack
        return stack[-1] if stack else None

    def begin(
        self,
        name: str,
        attributes: dict[str, Any] | None = None,
        start_ns: int | None = None,
        frame: FrameType | None = None,
    ) -> ActiveSpan:
        """Open a span under the calling thread's innermost one. `frame`: the caller's, if it may be a generator's."""
        stack = self.stack
        self._close_abandoned(stack)
        adopted = self._promote_automatic(stack, name, attributes, start_ns)
        if adopted is not None:
            return adopted
        suspended = frame if frame is not None and frame.f_code.co_flags & CO_GENERATOR_KINDS else None
        span = ActiveSpan(self, next(self._ids), name, self._parent(stack), start_ns or self.now_ns(), suspended)
        if attributes:
            span.attributes.update(attributes)
        if not stack:
            self._stacks = [other for other in self._stacks if other and other is not stack] + [stack]
        stack.append(span)
        self.sink.emit(span)
        return span

    def begin_automatic(self, name: str, attributes: dict[str, Any] | None = None) -> ActiveSpan | None:
        """Open an automatic span; None if the program has opened it already.

        If the program opens one of the same name inside it, both are one span: see `_promote_automatic`.
        """
        self._close_abandoned(self.stack)
        if name in self.manual_names or any(span.name == name and not span.ended for span in self.stack):
            return None
        span = self.begin(name, attributes)
        span.automatic = True
        return span

    def begin_detached(self, name: str, attributes: dict[str, Any] | None, start_ns: int) -> ActiveSpan:
        """Open a span in the past that is on no thread's stack: only what names it as its parent is in it."""
        span = ActiveSpan(self, next(self._ids), name, self.root, start_ns, None)
        span.attributes.update(attributes or {})
        self.sink.emit(span)
        return span

    def _close_abandoned(self, stack: list[ActiveSpan]) -> None:
        """Close spans that have ended without being closed."""
        while stack and stack[-1].owner is not None and not stack[-1].owner.running():
            self.end(stack[-1], stack[-1].owner.error())

    @staticmethod
    def _promote_automatic(
        stack: list[ActiveSpan], name: str, attributes: dict[str, Any] | None, start_ns: int | None
    ) -> ActiveSpan | None:
        for span in reversed(stack):
            if span.automatic and span.name == name and not span.ended:
                span.automatic = False
                span.start_ns = start_ns or span.start_ns
                span.attributes.update(attributes or {})
                return span
        return None

    def _parent(self, stack: list[ActiveSpan]) -> int:
        for span in reversed(stack):
            # A generator that is not running right now has no caller: whoever runs instead is not inside its span.
            if span.frame is None or span.frame.f_back is not None:
                return span.id
        return self.root

    def end(self, span: ActiveSpan, error: BaseException | None = None, end_ns: int | None = None) -> None:
        """Close a span, and with an error all that are open inside it. Closing one twice does nothing."""
        if span.ended:
            return
        stop = end_ns or self.now_ns()
        stack = span.stack
        if stack and stack[-1] is span:
            stack.pop()
        elif span in stack:
            self._end_inside(stack, span, error, stop)
        self._finish(span, error, stop)

    def _end_inside(self, stack: list[ActiveSpan], span: ActiveSpan, error: BaseException | None, stop: int) -> None:
        process = stack.index(span)
        for inner in reversed(stack[process + 1 :]):
            # A generator's span may outlive the span that it was opened in; anything else inside is over with it.
            if inner.frame is None and not inner.ended:
                stack.remove(inner)
                self._finish(inner, error, stop)
        stack.remove(span)

    def _finish(self, span: ActiveSpan, error: BaseException | None, stop: int) -> None:
        span.ended = True
        span.frame = span.owner = None
        duration = max(0, stop - span.start_ns)
        if error is None or type(error).__name__ in NO_FAILURES:
            attributes = span.attributes or None
            self.sink.emit((span.name, span.id, span.parent, span.start_ns, duration, span.thread, attributes))
            return
        attributes = dict(span.attributes)
        if self._last_error != (id(error), span.id) and error.__traceback__ is not None and self._tracebacks_left:
            self._tracebacks_left -= 1
            attributes[TRACEBACK] = format_traceback(error)
        self._last_error = id(error), span.parent
        self.sink.emit(
            Span(
                id=span.id, name=span.name, start_ns=span.start_ns, duration_ns=duration, parent=span.parent,
                thread=span.thread, attributes=attributes, error=describe_error(error),
            )
        )  # fmt: skip

    def add(
        self, name: str, start_ns: int, duration_ns: int, parent: int, attributes: dict[str, Any] | None = None
    ) -> int:
        """Record a span that is over already; its id. For hot paths, which time their phases themselves."""
        span_id = next(self._ids)
        self.sink.emit((name, span_id, parent, start_ns, duration_ns, threading.get_ident(), attributes))
        return span_id

    def placeholder(self, name: str) -> ActiveSpan:
        """An entry for the stack under a reserved id, for work that an `IterationTimer` times."""
        span = ActiveSpan(self, 0, name, 0, 0, None)
        span.ended = True
        return span

    @property
    def origin_ns(self) -> int:
        """What turns `time.perf_counter_ns()` into nanoseconds since the epoch."""
        return self._origin_ns

    def event(
        self,
        name: str,
        attributes: dict[str, Any] | None = None,
        span: ActiveSpan | int | None = None,
        time_ns: int | None = None,
    ) -> None:
        """Record an event on a span: the one given (or its id), or the calling thread's innermost one, or the root."""
        if not isinstance(span, int):
            holder = span or self.current()
            span = holder.id if holder else self.root
        moment = (time_ns or self.now_ns()) // 1000
        self.sink.emit(Event(time=moment, name=name, attributes=attributes or {}, span=span))

    def close(self, error: BaseException | None = None) -> None:
        """End everything that the calling thread has open; the root last."""
        for span in reversed(list(self.stack)):
            self.end(span, error)


def describe_error(error: BaseException) -> str:
    """The exception's message, truncated to a readable length."""
    return describe_exception(error)[:MAX_MESSAGE].rstrip(": ")


def format_traceback(error: BaseException) -> str:
    """The traceback as Python prints it, with secrets masked. Empty if it is unavailable."""
    with guard("reading a traceback"):
        return mask_text("".join(traceback.format_exception(type(error), error, error.__traceback__)))[-MAX_TRACEBACK:]
    return ""
