"""The span recorder of the run that is active in this process, if it records spans.

The session sets it when a run starts and clears it when the run ends; everything else calls `recorder()`, on any
thread. It is a plain module global, because asking must cost nothing in programs that do not track.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tracelet.capture.sink import Sink
from tracelet.guard import guard
from tracelet.telemetry.names import APPLICATION
from tracelet.telemetry.recording.open_iterations import OpenIterations
from tracelet.telemetry.recording.span_recorder import SpanRecorder
from tracelet.telemetry.recording.training_context import ProcessInfo
from tracelet.telemetry.recording.training_job import TrainingJob

_recorder: SpanRecorder | None = None
_job: TrainingJob | None = None


def recorder() -> SpanRecorder | None:
    """The active run's recorder, or None."""
    return _recorder


def job() -> TrainingJob | None:
    """What is counted and told about the active run's training, or None."""
    return _job


def no_failure() -> BaseException | None:
    """The answer of a session whose program has not failed."""
    return None


class Telemetry:
    """The part of a session that records spans: the `application` span from start to stop, and all that hangs under it.

    `failure` is asked at the end for what ended the program; it is recorded on every span that was left open.
    """

    def __init__(
        self,
        sink: Sink,
        settings: Mapping[str, Any],
        process: ProcessInfo | None = None,
        failure: Callable[[], BaseException | None] = no_failure,
    ) -> None:
        self._sink = sink
        self._interval = int(settings.get("telemetry_interval", 0)) or None
        self._process = process or ProcessInfo()
        self._failure = failure
        self._own_recorder: SpanRecorder | None = None

    def start(self) -> None:
        """Open the application's span."""
        global _recorder, _job
        mine = SpanRecorder(self._sink)
        root = mine.begin(APPLICATION)
        root.automatic = True
        mine.root = root.id
        self._own_recorder, _recorder, _job = mine, mine, TrainingJob(mine, self._process, self._interval)
        _job.report_start(root)
        durations = _job.training.durations
        self._sink.emit(OpenIterations(mine, lambda: durations.mean))

    def stop(self) -> None:
        """Close what is open; from now on the telemetry calls of the program do nothing."""
        mine, self._own_recorder = self._own_recorder, None
        if mine is None:
            return
        with guard("closing spans"):
            mine.close(self._failure())
        if _recorder is mine:
            clear()


def clear() -> None:
    """No run records spans in this process any more; all that a forked child may do."""
    global _recorder, _job
    _recorder = _job = None
