"""A checkpoint that a program saves or loads itself: its span, its event with the size, and a reference to the file.

Used by the integrations of PyTorch and Fabric on the training thread. The file is recorded as a reference, never
copied.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from tracelet.guard import guard
from tracelet.integrations.base import Sink
from tracelet.journal.records import Artifact, Scalar
from tracelet.telemetry.names import CHECKPOINT_LOAD, CHECKPOINT_SAVE_SYNC
from tracelet.telemetry.recording import active_recorder
from tracelet.telemetry.recording.checkpoint_saves import size_of
from tracelet.telemetry.recording.span_recorder import ActiveSpan

PATIENCE = 1.0
"""Seconds that a save waits for the journal. It takes a millisecond unless the disk hangs; then this is the
only wait.
"""


class SavedCheckpoints:
    """Saves and loads of one integration; spans only if the run records them."""

    def __init__(self, sink: Sink, with_spans: bool) -> None:
        self._sink = sink
        self._with_spans = with_spans
        self._patience = PATIENCE

    def begin(self, path: str, step: int) -> ActiveSpan | None:
        """A save begins: write everything recorded so far, because a resumed training does not repeat it."""
        recorder, job = active_recorder.recorder(), active_recorder.job()
        if job is not None:
            job.catch_up()
        if not self._sink.flush(self._patience):
            self._patience = 0.0
        if recorder is None or not self._with_spans:
            return None
        span = recorder.begin_automatic(CHECKPOINT_SAVE_SYNC, {"path": path})
        if span is not None and job is not None:
            span.add_attributes(job.saves.started(step, "sync"))
        return span

    def end(self, span: ActiveSpan | None, path: str, step: int, error: BaseException | None) -> None:
        """The save has ended; the file is an artifact unless an exception ended the save."""
        with guard("recording a checkpoint"):
            place = path if "://" in path else os.path.abspath(path)
            self._end_span(span, place, step, error)
            if error is None:
                metadata: dict[str, Scalar] = {"step": step} if step else {}
                self._sink.emit(
                    Artifact(
                        time=time.time_ns() // 1000, name=Path(path).name, path=place, kind="checkpoint",
                        size=size_of(place) or 0, metadata=metadata,
                    )
                )  # fmt: skip

    @staticmethod
    def _end_span(span: ActiveSpan | None, place: str, step: int, error: BaseException | None) -> None:
        recorder, job = active_recorder.recorder(), active_recorder.job()
        if span is None or recorder is None:
            return
        now = recorder.now_ns()
        if job is not None:
            if error is None:
                job.saves.succeeded(step, "sync", span, place, now)
            else:
                job.saves.forget(step)
            job.saves.ended(span, now - span.start_ns, now)
        span.end(error, now)

    def now(self) -> int:
        """The start time of a load."""
        recorder = active_recorder.recorder()
        return recorder.now_ns() if recorder is not None else 0

    def loaded(self, path: str, began: int) -> None:
        """A load has ended."""
        recorder = active_recorder.recorder()
        if recorder is None or not self._with_spans or recorder.find(CHECKPOINT_LOAD) is not None:
            return
        current = recorder.current()
        attributes: dict[str, Any] = {"path": path}
        parent = current.id if current is not None else recorder.root
        recorder.add(CHECKPOINT_LOAD, began, recorder.now_ns() - began, parent, attributes)
