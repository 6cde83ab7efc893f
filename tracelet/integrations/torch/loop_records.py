"""Plain PyTorch loops as spans and counts: training iterations, evaluations, throughput.

Called on the training thread some time after the end of an iteration, or on the writer's while that one waits. If a
program times its iterations or their phases by hand (`tracelet.telemetry`), nothing more is recorded here.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter_ns
from typing import Any

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
from tracelet.telemetry.recording.open_iterations import LONG_NS, Loop, RunningIteration
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
        self._running: dict[int, int] = {}
        """By begin, the ids of iterations that were written while they were running."""

    def register(self, loop: Loop) -> None:
        """A thread has a loop from now on."""
        self._recorder.loops.append(loop)

    def unregister(self, loop: Loop) -> None:
        """The loop is over."""
        if loop in self._recorder.loops:
            self._recorder.loops.remove(loop)

    def running(
        self, begin: int, thread: int, marks: Sequence[Any], phase: str, evaluating: bool, evaluation: int
    ) -> RunningIteration | None:
        """An iteration of a loop as it runs now; called on the writer's thread."""
        training = self._span
        if self._recorder.timed_by_hand or len(marks) % 2 or (training is None and not evaluating):
            return None
        if perf_counter_ns() - begin < LONG_NS:
            return None
        number = self._running.get(begin) or self._running.setdefault(begin, self._recorder.reserve_id())
        if evaluating or training is None:
            return RunningIteration(VALIDATION_ITERATION, number, evaluation, begin, thread, marks, phase)
        return RunningIteration(TRAINING_ITERATION, number, training.id, begin, thread, marks, phase)

    def trained(self, done: LoaderPass, end: int, thread: int) -> None:
        """A training iteration of this thread has ended."""
        recorder, marks, begin = self._recorder, done.marks, done.begin
        if recorder.timed_by_hand:
            return
        if marks and end - marks[-1] < NEGLIGIBLE:
            marks[-1] = end
        parent = self._span.id if self._span is not None and not self._span.ended else self._begin(begin)
        number, origin = self._running.pop(begin, 0) or recorder.reserve_id(), recorder.origin_ns
        self._emit((TRAINING_ITERATION, number, parent, begin, end, thread, origin, marks))
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

    def evaluated(self, done: LoaderPass, end: int, thread: int) -> None:
        """An iteration of an evaluation has ended."""
        if self._recorder.timed_by_hand:
            return
        marks = done.marks
        if marks and marks[-2] is DATA_LOADING:
            marks += MODEL_FORWARD, end
        done.evaluated += 1
        recorder = self._recorder
        number = self._running.pop(done.begin, 0) or recorder.reserve_id()
        self._emit((VALIDATION_ITERATION, number, done.number, done.begin, end, thread, recorder.origin_ns, marks))
        if self._job is not None:
            self._job.validation.durations.add(end - done.begin)

    def ended(self, done: LoaderPass, end: int, thread: int) -> None:
        """A pass has ended; an evaluation becomes a span."""
        if not done.evaluated or self._recorder.timed_by_hand:
            return
        recorder = self._recorder
        span = ActiveSpan(recorder, done.number, VALIDATION_LOOP, self._parent(), done.began + recorder.origin_ns, None)
        span.thread = thread
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
