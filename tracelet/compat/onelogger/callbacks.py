"""nv-one-logger's callbacks and context managers of the whole program, and its `timed_span`; the others are those of
`tracelet.telemetry`.

Called by the user's program, on its threads. The end of the application ends the run that the provider has started.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from tracelet import telemetry
from tracelet.compat.onelogger.provider import Recorder, TrainingTelemetryProvider
from tracelet.compat.onelogger.vocabulary import plain
from tracelet.telemetry.recording.callbacks import Milliseconds
from tracelet.telemetry.recording.span import SpanLike, span

on_app_start = telemetry.on_app_start


def on_app_end(finish_time_msec: Milliseconds = None) -> None:
    """The program is over: everything that is open ends, and so does the run, if the provider has started it."""
    telemetry.on_app_end(finish_time_msec)
    TrainingTelemetryProvider.instance().finish()


class application:  # noqa: N801  # it is used as a function: `@application()`
    """The whole program, as a `with` block or a decorator."""

    def __enter__(self) -> SpanLike:
        return on_app_start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        on_app_end()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Decorate a function: each call is the program."""

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with application():
                return function(*args, **kwargs)

        return call


def timed_span(
    name: Any, span_attributes: Mapping[str, Any] | None = None, start_event_attributes: Mapping[str, Any] | None = None
) -> span:
    """A span of the program's own, as a `with` block."""
    return telemetry.timed_span(name, plain(span_attributes), plain(start_event_attributes))


def get_recorder() -> Recorder:
    """The provider's recorder."""
    return TrainingTelemetryProvider.instance().recorder
