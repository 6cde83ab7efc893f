"""The spans of checkpoint saves, synchronous and asynchronous, including the writes in the background.

Called on the training thread around Lightning's own saves, and on the thread of an `AsyncCheckpointIO` when it has
written a file. A failed save is recorded as failed; Lightning handles its exception as before.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from tracelet.guard import guard
from tracelet.integrations.lightning.trainer_calls import TrainerCalls
from tracelet.integrations.patching import Function, Patch
from tracelet.journal.records import Span
from tracelet.telemetry.names import (
    CHECKPOINT_SAVE_ASYNC,
    CHECKPOINT_SAVE_FINALIZATION,
    CHECKPOINT_SAVE_SYNC,
    TRAINING_ITERATION,
)
from tracelet.telemetry.recording.iteration_times import step_durations
from tracelet.telemetry.recording.span_recorder import ActiveSpan, SpanRecorder, describe_error
from tracelet.telemetry.recording.training_context import UnfinishedIteration
from tracelet.telemetry.recording.training_job import TrainingJob


class CheckpointSpans:
    """One span per checkpoint that a trainer saves, and one for its write to the disk if that happens in the
    background.
    """

    def __init__(self, recorder: SpanRecorder, job: TrainingJob | None, trainer_calls: TrainerCalls) -> None:
        self._recorder = recorder
        self._job = job
        self._trainer_calls = trainer_calls
        self._saving: list[tuple[int, bool]] = []
        """(step, trial) of the running saves, the innermost last."""

    def patches(self, root: str) -> list[Patch]:
        """The methods that save checkpoints, for one distribution of Lightning."""
        return [
            Patch(f"{root}.trainer.trainer", "Trainer.save_checkpoint", self._around_save),
            Patch(f"{root}.plugins.io.async_plugin", "AsyncCheckpointIO.save_checkpoint", self._around_async),
        ]

    def _around_save(self, original: Function) -> Function:
        def save_checkpoint(trainer: Any, filepath: Any, *args: Any, **kwargs: Any) -> Any:
            span: ActiveSpan | None = None
            with guard("opening the span of a checkpoint"):
                span = self._begin(trainer, str(filepath))
            try:
                result = original(trainer, filepath, *args, **kwargs)
            except BaseException as error:
                self._end(span, str(filepath), error)
                raise
            self._end(span, str(filepath), None)
            return result

        return save_checkpoint

    def _begin(self, trainer: Any, path: str) -> ActiveSpan | None:
        trial = self._trainer_calls.is_running(trainer) and bool(self._trainer_calls.fit_of(trainer).trials)
        name = CHECKPOINT_SAVE_ASYNC if _is_async(trainer.strategy.checkpoint_io) else CHECKPOINT_SAVE_SYNC
        step = int(trainer.global_step)
        self._saving.append((step, trial))
        span = self._recorder.begin_automatic(name, {"path": path})
        if span is None:
            self._saving.pop()
            return None
        if trial:
            span.add_attribute("trial", True)
        elif self._job is not None:
            strategy = "async" if name == CHECKPOINT_SAVE_ASYNC else "sync"
            span.add_attributes(self._job.saves.started(step, strategy, self._unfinished(trainer)))
        return span

    def _unfinished(self, trainer: Any) -> UnfinishedIteration | None:
        """The iteration in whose callbacks the trainer saves, if it does."""
        progress = trainer.fit_loop.epoch_loop.batch_progress.total
        timer = next((loop for loop in self._recorder.loops if loop.name == TRAINING_ITERATION), None)
        if timer is None or self._job is None or progress.processed <= progress.completed:
            return None
        running = timer.running_iteration()
        if running is None:
            return None
        samples = timer.samples * self._job.process.world_size or int(self._job.fact("global_batch_size") or 0)
        marks = list(running.marks)
        (duration,) = step_durations([(running.begin, marks[-1], samples, marks)])
        return UnfinishedIteration(1, samples, duration)

    def _end(self, span: ActiveSpan | None, path: str, error: BaseException | None) -> None:
        with guard("closing the span of a checkpoint"):
            if span is None:
                return
            step, trial = self._saving.pop()
            now, job = self._recorder.now_ns(), self._job
            if job is not None and not trial:
                if error is not None:
                    job.saves.forget(step)
                elif span.name == CHECKPOINT_SAVE_SYNC:
                    job.saves.succeeded(step, "sync", span, os.path.abspath(path) if "://" not in path else path, now)
                job.saves.ended(span, now - span.start_ns, now)
            span.end(error, now)

    def _around_async(self, original: Function) -> Function:
        def save_checkpoint(plugin: Any, *args: Any, **kwargs: Any) -> Any:
            before, began = getattr(plugin, "_error", None), self._recorder.now_ns()
            try:
                return original(plugin, *args, **kwargs)
            finally:
                with guard("following a checkpoint in the background"):
                    self._follow(plugin, before, began, *args, **kwargs)

        return save_checkpoint

    def _follow(
        self, plugin: Any, before: Any, began: int, checkpoint: Any = None, path: Any = None, *_: Any, **__: Any
    ) -> None:
        """Report the end of the write from the plugin's only thread: a task submitted now runs right after the save."""
        executor = getattr(plugin, "_executor", None)
        if executor is None:
            return
        holder, step, trial = self._recorder.current(), *(self._saving[-1] if self._saving else (0, False))
        parent = holder.id if holder is not None else self._recorder.root

        def done() -> None:
            with guard("closing the span of a checkpoint in the background"):
                after = getattr(plugin, "_error", None)
                self._finalized(str(path), step, trial, parent, began, after if after is not before else None)

        with suppress(RuntimeError):  # the executor accepts no more work, so it has not accepted the save either
            executor.submit(done)

    def _finalized(self, path: str, step: int, trial: bool, parent: int, began: int, error: Any) -> None:
        recorder, now = self._recorder, self._recorder.now_ns()
        number = recorder.reserve_id()
        there = "://" in path or os.path.exists(path)
        failure = describe_error(error) if error is not None else "" if there else "the file is not there"
        attributes: dict[str, Any] = {"current_iteration": step, "path": path, **({"trial": True} if trial else {})}
        recorder.sink.emit(
            Span(
                id=number, name=CHECKPOINT_SAVE_FINALIZATION, start_ns=began, duration_ns=now - began, parent=parent,
                thread=recorder.thread(), attributes=attributes, error=failure,
            )
        )  # fmt: skip
        if self._job is not None and not trial and failure:
            self._job.saves.forget(step)
        elif self._job is not None and not trial:
            full = os.path.abspath(path) if "://" not in path else path
            self._job.saves.succeeded(step, "async", number, full, now)


def _is_async(plugin: Any) -> bool:
    """By class name: each of the two distributions has such a class, and a user may derive from either."""
    return any(base.__name__ == "AsyncCheckpointIO" for base in type(plugin).__mro__)
