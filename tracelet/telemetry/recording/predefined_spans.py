"""What starting and ending a predefined span implies: its attributes, counters and events.

Called by `context_managers` and `callbacks`, on the training thread. Without an active run it does nothing. Nothing is
recorded twice: inside an iteration that the Lightning integration times, phases are already known, and an automatic
span becomes the program's own when the program opens the same one by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

from tracelet.guard import guard
from tracelet.telemetry.names import (
    APPLICATION,
    CHECKPOINT_SAVE_ASYNC,
    CHECKPOINT_SAVE_SYNC,
    INITS,
    ITERATIONS,
    PHASES,
    TESTING_ITERATION,
    TESTING_LOOP,
    TRAINING_ITERATION,
    TRAINING_LOOP,
    VALIDATION_ITERATION,
    VALIDATION_LOOP,
)
from tracelet.telemetry.recording import active_recorder
from tracelet.telemetry.recording.span import NOOP_SPAN, NoopSpan, SpanLike
from tracelet.telemetry.recording.span_recorder import ActiveSpan
from tracelet.telemetry.recording.training_job import TrainingJob


def begin(
    name: str,
    attributes: Mapping[str, Any] | None = None,
    start_ns: int | None = None,
    frame: FrameType | None = None,
    prepare: Callable[[TrainingJob], Mapping[str, Any]] | None = None,
) -> SpanLike:
    """Open a predefined span; `prepare` counts its beginning and gives the attributes that need the counters."""
    recorder, job = active_recorder.recorder(), active_recorder.job()
    if recorder is None or job is None:
        return NOOP_SPAN
    with guard(f"opening the span {name}"):
        if (name in PHASES or name in ITERATIONS) and any(span.ended for span in recorder.stack):
            return NOOP_SPAN  # inside a bracket Lightning's integration times the iteration and all its phases
        if name == APPLICATION and any(span.name == name and not span.automatic for span in recorder.stack):
            return NOOP_SPAN  # it has begun already
        if name in INITS:
            recorder.manual_names.add(name)
        if name in PHASES or name in ITERATIONS:
            recorder.timed_by_hand = True
        known = dict(attributes or {})
        if prepare is not None:
            known.update(prepare(job))
        opened = recorder.begin(name, known, start_ns, frame)
        if name == TRAINING_LOOP:
            job.training.loop_started(opened)
        return opened
    return NOOP_SPAN


def end(opened: SpanLike | None, error: BaseException | None = None, end_ns: int | None = None) -> None:
    """Close a predefined span, with what its end tells."""
    job, recorder = active_recorder.job(), active_recorder.recorder()
    if opened is None or isinstance(opened, NoopSpan) or job is None or recorder is None or opened.ended:
        return
    with guard(f"closing the span {opened.name}"):
        stop = end_ns or recorder.now_ns()
        told = ON_END.get(opened.name)
        if told is not None:
            if error is None or opened.name not in ITERATIONS:
                told(job, opened, stop)
        elif opened.name in PHASES:
            job.training.add_phase(opened.name, stop - opened.start_ns)
        recorder.end(opened, error, stop)


def end_latest(name: str, end_ns: int | None = None) -> None:
    """Close the innermost open span of this name, whichever thread opened it."""
    recorder = active_recorder.recorder()
    if recorder is not None:
        end(recorder.find(name), None, end_ns)


def _end_application(job: TrainingJob, opened: ActiveSpan, stop: int) -> None:
    if job.training.span is not None:
        job.training.end_loop(time_ns=stop)
    inside = opened.stack[opened.stack.index(opened) + 1 :] if opened in opened.stack else []
    for inner in reversed(inside):
        job.recorder.end(inner, None, stop)


def _count(opened: ActiveSpan, name: str) -> int:
    """What the program has told of an iteration: `span.add_attribute("samples", 32)`."""
    told = opened.attributes.get(name)
    return told if isinstance(told, int) else 0


ON_END: dict[str, Callable[[TrainingJob, ActiveSpan, int], None]] = {
    APPLICATION: _end_application,
    TRAINING_LOOP: lambda job, opened, stop: job.training.end_loop(time_ns=stop),
    TRAINING_ITERATION: lambda job, opened, stop: job.training.add_iteration(
        opened.start_ns, stop, _count(opened, "samples"), _count(opened, "tokens")
    ),
    VALIDATION_LOOP: lambda job, opened, stop: job.validation.ended(opened, stop),
    VALIDATION_ITERATION: lambda job, opened, stop: job.validation.durations.add(stop - opened.start_ns),
    TESTING_LOOP: lambda job, opened, stop: job.testing.ended(opened, stop),
    TESTING_ITERATION: lambda job, opened, stop: job.testing.durations.add(stop - opened.start_ns),
    CHECKPOINT_SAVE_SYNC: lambda job, opened, stop: job.saves.ended(opened, stop - opened.start_ns, stop),
    CHECKPOINT_SAVE_ASYNC: lambda job, opened, stop: job.saves.ended(opened, stop - opened.start_ns, stop),
}
"""What the end of a span means besides its duration."""


def begin_save(step: int, start_ns: int | None = None, frame: FrameType | None = None) -> SpanLike:
    """Open the span of a checkpoint save, named for the strategy that the program has told."""
    job = active_recorder.job()
    strategy = job.config.save_checkpoint_strategy if job is not None else "sync"
    name = CHECKPOINT_SAVE_ASYNC if strategy == "async" else CHECKPOINT_SAVE_SYNC
    return begin(name, None, start_ns, frame, lambda job: job.saves.started(step, strategy))


def succeed_save(step: int, time_ns: int | None = None, path: str = "") -> None:
    """The checkpoint of this step is safe: tell so on the save's span, or on the application if that is over."""
    recorder, job = active_recorder.recorder(), active_recorder.job()
    if recorder is None or job is None:
        return
    with guard("recording a checkpoint"):
        strategy = job.config.save_checkpoint_strategy
        holder = recorder.find(CHECKPOINT_SAVE_SYNC) if strategy == "sync" else None
        job.saves.succeeded(step, strategy, holder or recorder.root, path, time_ns)


def loop_attributes(
    iterations_start: int, samples_start: int | None, iterations_target: Any, samples_target: Any
) -> Callable[[TrainingJob], Mapping[str, Any]]:
    """What a training loop that begins here has to say; targets may be callables."""

    def prepare(job: TrainingJob) -> Mapping[str, Any]:
        targets = [target() if callable(target) else target for target in (iterations_target, samples_target)]
        return job.training.begin_loop(iterations_start, samples_start, *targets)

    return prepare
