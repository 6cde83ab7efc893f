"""Detects the end of a model's constructor and its outcome, because a wrapper of the base class does not see the
outermost constructor return.

Used by `initialization_spans`, on the thread that creates the model. A frame keeps a trace function, which Python calls
only while a debugger traces. The frame releases the function when it is destroyed: that is the end of the constructor.
"""

from __future__ import annotations

import gc
import sys
import weakref
from types import CodeType, FrameType, TracebackType
from typing import Any

from tracelet.guard import guard
from tracelet.telemetry.recording.span_recorder import ActiveSpan

FOREIGN_FRAMES = 3
"""Frames between two constructors of one object that may belong to a decorator."""
MAX_CALLERS = 8
"""Frames searched for the exception, between the constructor and the place where it was caught."""


class NotConstructed(Exception):
    """Marks the span of a constructor whose exception the program has caught: Python does not expose that exception."""


class ReturnHook:
    """Closes a span when the frame that holds it is destroyed, which is when the constructor has returned or, after an
    exception, when the program has released the exception.
    """

    def __init__(self, span: ActiveSpan, instance: Any) -> None:
        self._span = span
        self._instance = weakref.ref(instance)

    def __call__(self, *_: Any) -> None:
        """Traces nothing: only a callable can be a trace function."""

    def __del__(self) -> None:
        with guard("closing the span of a model's constructor"):
            # By now the caller of the constructor has the instance, if there is one.
            returned = self._instance() is not None
            self._span.end(None if returned else NotConstructed("the constructor raised an exception"))


class ConstructorCall:
    """Whether a constructor still runs, for frames that something keeps alive, as an exception does."""

    def __init__(self, mark: ReturnHook) -> None:
        self._mark = weakref.ref(mark)  # only the frame holds it

    def running(self) -> bool:
        """Whether its frame is among those running on this thread."""
        mark = self._mark()
        frame: FrameType | None = sys._getframe()
        while frame is not None and frame.f_trace is not mark:
            frame = frame.f_back
        return mark is not None and frame is not None

    def error(self) -> BaseException | None:
        """The exception that keeps its frame alive, if there is one. Searches every object of the process, once."""
        mark = self._mark()
        frames = [] if mark is None else [one for one in gc.get_referrers(mark) if isinstance(one, FrameType)]
        if not frames or mark is None or frames[0].f_trace is not mark:
            return None
        found: list[Any] = [one for one in gc.get_referrers(frames[0]) if _is_trace_of(one, frames[0])]
        for _ in range(MAX_CALLERS):
            holders = gc.get_referrers(*found) if found else []
            for one in holders:
                if isinstance(one, BaseException) and any(one.__traceback__ is trace for trace in found):
                    return one
            found = [one for one in holders if isinstance(one, TracebackType) and one.tb_next in found]
        return None


def _is_trace_of(candidate: object, frame: FrameType) -> bool:
    return isinstance(candidate, TracebackType) and candidate.tb_frame is frame


def outermost_constructor(instance: Any, frame: FrameType) -> FrameType | None:
    """The frame of the outermost `__init__` of this object that called the given frame, directly or indirectly."""
    codes = set(_constructors(type(instance)))
    found, here, foreign = None, frame.f_back, 0
    while here is not None and foreign <= FOREIGN_FRAMES:
        if here.f_code in codes:
            found, foreign = here, 0
        else:
            foreign += 1
        here = here.f_back
    return found


def _constructors(kind: type) -> list[CodeType]:
    codes: list[CodeType] = []
    for base in kind.__mro__:
        function = vars(base).get("__init__")
        while function is not None:
            code = getattr(function, "__code__", None)
            if isinstance(code, CodeType):
                codes.append(code)
            function = getattr(function, "__wrapped__", None)
    return codes
