"""A span as a `with` block or a decorator, for functions, coroutines and generators alike.

Called by the user's program on any thread, with or without an active run: without one, everything here does nothing. An
exception is recorded on the span and passes through untouched.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, TypeVar

from tracelet.guard import guard
from tracelet.telemetry.recording import active_recorder
from tracelet.telemetry.recording.span_recorder import ActiveSpan

Function = TypeVar("Function", bound=Callable[..., Any])


class NoopSpan:
    """The span that is handed out while no run records spans: takes everything, keeps nothing."""

    id = 0
    name = ""

    def add_attribute(self, name: str, value: Any) -> None:
        """Do nothing."""

    def add_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Do nothing."""

    def add_event(self, name: str, /, **attributes: Any) -> None:
        """Do nothing."""


NOOP_SPAN = NoopSpan()
SpanLike = ActiveSpan | NoopSpan


class span:  # noqa: N801  # it reads as a keyword: `with tracelet.span("tokenize"):`
    """A piece of work with a beginning and an end: `with span("tokenize", files=3) as s:` or `@span("tokenize")`.

    In a `with` block the value is the open span, which takes `add_attribute(name, value)` and `add_event(name,
    **attributes)`. As a decorator every call is a span; an iteration over a decorated generator is one span from its
    first item to its end.
    """

    def __init__(self, name: str, /, **attributes: Any) -> None:
        self.name = str(getattr(name, "value", name))
        self.attributes = attributes
        self._open: list[ActiveSpan] = []

    def __enter__(self) -> SpanLike:
        opened = self._begin()
        if opened is not None:
            self._open.append(opened)
        return opened or NOOP_SPAN

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open:
            self._end(self._open.pop(), error)

    def __call__(self, function: Function) -> Function:
        """Decorate a function, coroutine or generator."""
        wrapped: Any
        if inspect.isasyncgenfunction(function):
            wrapped = self._asynchronous_generator(function)
        elif inspect.iscoroutinefunction(function):
            wrapped = self._coroutine(function)
        elif inspect.isgeneratorfunction(function):
            wrapped = self._generator(function)
        else:
            wrapped = self._function(function)
        found: Any = functools.wraps(function)(wrapped)
        kept: Function = found
        return kept

    def _begin(self, depth: int = 2) -> ActiveSpan | None:
        recorder = active_recorder.recorder()
        if recorder is None:
            return None
        with guard("opening a span"):
            return recorder.begin(self.name, self.attributes, frame=sys._getframe(depth))
        return None

    def _end(self, opened: ActiveSpan | None, error: BaseException | None = None) -> None:
        if opened is not None:
            with guard("closing a span"):
                opened.end(error)

    def _function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            opened = self._begin()
            try:
                result = function(*args, **kwargs)
            except BaseException as error:
                self._end(opened, error)
                raise
            self._end(opened)
            return result

        return call

    def _coroutine(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            opened = self._begin(1)
            try:
                result = await function(*args, **kwargs)
            except BaseException as error:
                self._end(opened, error)
                raise
            self._end(opened)
            return result

        return call

    def _generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            opened = self._begin(1)
            try:
                result = yield from function(*args, **kwargs)
            except GeneratorExit:
                self._end(opened)  # whoever iterated has seen enough: no error
                raise
            except BaseException as error:
                self._end(opened, error)
                raise
            self._end(opened)
            return result

        return call

    def _asynchronous_generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            opened = self._begin(1)
            try:
                async for item in function(*args, **kwargs):
                    yield item
            except GeneratorExit:
                self._end(opened)
                raise
            except BaseException as error:
                self._end(opened, error)
                raise
            self._end(opened)

        return call


def timed_span(
    name: str, span_attributes: Mapping[str, Any] | None = None, start_event_attributes: Mapping[str, Any] | None = None
) -> span:
    """`span` with the arguments of nv-one-logger's function of this name."""
    return span(name, **{**dict(span_attributes or {}), **dict(start_event_attributes or {})})
