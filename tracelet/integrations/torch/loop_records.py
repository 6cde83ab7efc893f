"""Plain PyTorch loops as spans and counts: training iterations, evaluations, throughput.

Called on the training thread at the end of an iteration. If a program times its iterations or their phases by hand
(`tracelet.telemetry`), nothing more is recorded here.
"""

from __future__ import annotations

import threading

from tracelet.guard import guard
from tracelet.integrations.torch.loader_pass import NEGLIGIBLE, LoaderPass
from tracelet.telemetry.names import (
    DATA_LOADING,
    MODEL_FORWARD,
    TRAINING_ITERATION,
    TRAINING_LOOP,
    VALIDATION_ITERATION,
    VALIDATION_LOOP,
)
from tracelet.telemetry.recording.span_recorder import ActiveSpan, SpanRecorder
from tracelet.telemetry.recording.training_job import TrainingJob


class LoopRecords:
    """One training loop for the process, from its first iteration to its last, and the evaluations in it."""

    def __init__(self, recorder: SpanRecorder, job: TrainingJob | None) -> None:
        self._recorder = recorder
        self._job = job
        self._emit = recorder.sink.emit
        self._span: ActiveSpan | None = None
        self._last = 0
        """The end of the last iteration or evaluation."""
        self.reserve = recorder.reserve_id
        self.iterations = 0

    def trained(self, done: LoaderPass, end: int) -> None:
        """A training iteration has ended."""
        recorder, marks, begin = self._recorder, done.marks, done.begin
        if recorder.timed_by_hand:
            return
        if marks and end - marks[-1] < NEGLIGIBLE:
            marks[-1] = end
        parent = self._span.id if self._span is not None and not self._span.ended else self._begin(begin)
        number, origin = recorder.reserve_id(), recorder.origin_ns
        self._emit((TRAINING_ITERATION, number, parent, begin, end, threading.get_ident(), origin, marks))
        self._last = end
        self.iterations += 1
        if self._job is not None:
            training = self._job.training
            training.pending.append((begin, end, done.samples, marks))
            if len(training.pending) >= training.report_at:
                with guard("counting iterations"):
                    training.report()

    def received(self, begin: int, batch: object) -> None:
        """A training may count its tokens: the batch of the iteration that began then."""
        if self._job is not None and self._job.training.token_counts.enabled:
            with guard("counting the tokens of a batch"):
                self._job.training.token_counts.count(begin, batch)

    def evaluated(self, done: LoaderPass, end: int) -> None:
        """An iteration of an evaluation has ended."""
        if self._recorder.timed_by_hand:
            return
        marks = done.marks
        if marks and marks[-2] is DATA_LOADING:
            marks += MODEL_FORWARD, end
        done.evaluated += 1
        recorder = self._recorder
        number, thread = recorder.reserve_id(), threading.get_ident()
        self._emit((VALIDATION_ITERATION, number, done.number, done.begin, end, thread, recorder.origin_ns, marks))
        if self._job is not None:
            self._job.validation.durations.add(end - done.begin)

    def ended(self, done: LoaderPass, end: int) -> None:
        """A pass has ended; an evaluation becomes a span."""
        if not done.evaluated or self._recorder.timed_by_hand:
            return
        recorder = self._recorder
        span = ActiveSpan(recorder, done.number, VALIDATION_LOOP, self._parent(), done.began + recorder.origin_ns, None)
        if self._job is not None:
            self._job.validation.ended(span)
        span.end(None, end + recorder.origin_ns)
        if self._span is not None:
            self._last = max(self._last, end)

    def close(self) -> None:
        """The run ends: the training loop ends with its last iteration."""
        span, self._span = self._span, None
        if span is None or span.ended:
            return
        if self._job is not None and self._job.training.span is span:
            self._job.training.end_loop()
        span.end(None, self._last + self._recorder.origin_ns)

    def _parent(self) -> int:
        return self._recorder.root if self._span is None else self._span.id

    def _begin(self, begin: int) -> int:
        """Open the span of the training, unless the program has opened one by hand."""
        job, recorder = self._job, self._recorder
        if job is not None and job.training.span is not None and not job.training.span.ended:
            return job.training.span.id
        attributes = job.training.begin_loop(0) if job is not None else {}
        self._span = recorder.begin_detached(TRAINING_LOOP, attributes, begin + recorder.origin_ns)
        if job is not None:
            job.training.loop_started(self._span)
        return self._span.id
