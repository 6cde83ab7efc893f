"""The spans of checkpoint saves, synchronous and asynchronous, including the writes in the background.

Called on the training thread around Lightning's own saves, and on the thread of an `AsyncCheckpointIO` when it has
written a file. A failed save is recorded as failed; Lightning handles its exception as before.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tracelet.guard import guard
from tracelet.integrations.lightning.trainer_calls import TrainerCalls
from tracelet.integrations.patching import Function, Patch
from tracelet.journal.records import Scalar, Span
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

FileState = tuple[int, ...]
MAX_WRAPPED = 8
"""Plugins that may wrap one another."""


@dataclass
class Save:
    """One call of `Trainer.save_checkpoint`."""

    path: str
    step: int
    trial: bool
    before: FileState
    """The file of that name before the save."""
    elsewhere: bool
    """Whether the file is none of this process: remote, or written by rank 0 of another node."""
    followed: bool = False
    """Whether the thread of an `AsyncCheckpointIO` reports when the file is written."""
    span: int = 0


class CheckpointSpans:
    """One span per checkpoint that a trainer saves, and one for its write to the disk if that happens in the
    background.
    """

    def __init__(self, recorder: SpanRecorder, job: TrainingJob | None, trainer_calls: TrainerCalls) -> None:
        self._recorder = recorder
        self._job = job
        self._trainer_calls = trainer_calls
        self._saving: list[Save] = []
        """The running saves, the innermost last."""
        self._unseen: list[Save] = []
        """Saves that have returned without writing their file: something writes it in the background."""
        trainer_calls.on_finish.append(self._look_for_files)

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
        self._look_for_files()
        elsewhere = "://" in path or not trainer.is_global_zero
        self._saving.append(Save(path, step, trial, file_state(path), elsewhere))
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
            save = self._saving.pop()
            now, job = self._recorder.now_ns(), self._job
            if job is not None and not save.trial:
                if error is not None:
                    job.saves.forget(save.step)
                elif not save.followed:
                    save.span = span.id
                    self._unseen.append(save)
                    self._look_for_files()
                job.saves.ended(span, now - span.start_ns, now)
            span.end(error, now)

    def _look_for_files(self, *_: Any) -> dict[str, Scalar]:
        """Report the saves whose files are there now; at the end of a fit, too."""
        waiting = []
        for save in self._unseen:
            found = file_state(save.path)
            if not save.elsewhere and (not found or found == save.before):
                waiting.append(save)
            elif self._job is not None:
                self._job.saves.succeeded(save.step, "sync", save.span, _absolute(save.path), self._recorder.now_ns())
        self._unseen = waiting
        return {}

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
        holder, save = self._recorder.current(), self._saving[-1] if self._saving else None
        step, trial = (save.step, save.trial) if save is not None else (0, False)
        parent = holder.id if holder is not None else self._recorder.root
        if save is not None:
            save.followed = True

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
            self._job.saves.succeeded(step, "async", number, _absolute(path), now)


def file_state(path: str) -> FileState:
    """What changes when a local file or folder is written; empty for one that is not there, or is remote."""
    try:
        found = [os.stat(path), *(entry.stat() for entry in (os.scandir(path) if os.path.isdir(path) else ()))]
    except OSError:
        return ()
    return max(one.st_mtime_ns for one in found), found[0].st_ino, sum(one.st_size for one in found)


def _absolute(path: str) -> str:
    return path if "://" in path else os.path.abspath(path)


def _is_async(plugin: Any) -> bool:
    """Whether a plugin, or one that it wraps, saves in the background. By class name: each of the two distributions has
    such a class, and a user may derive from either.
    """
    for _ in range(MAX_WRAPPED):
        if any(base.__name__ == "AsyncCheckpointIO" for base in type(plugin).__mro__):
            return True
        plugin = getattr(plugin, "checkpoint_io", None)
    return False
