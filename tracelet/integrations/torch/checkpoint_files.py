"""Checkpoints that a program saves and loads itself: `torch.save` and `torch.load` of models and state dictionaries.

Called on the user's thread. A file is recorded as a reference, never copied; other saved objects (tensors, data sets)
are not checkpoints. Before a save, everything recorded so far is written: a training that resumes from the file does
not repeat it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tracelet.guard import guard
from tracelet.integrations.base import Sink
from tracelet.integrations.patching import Function, Patch
from tracelet.integrations.torch.loop_records import LoopRecords
from tracelet.integrations.torch.optimizer_records import OptimizerRecords
from tracelet.journal.records import Artifact, Scalar
from tracelet.telemetry.names import CHECKPOINT_LOAD, CHECKPOINT_SAVE_SYNC
from tracelet.telemetry.recording import active_recorder
from tracelet.telemetry.recording.span_recorder import ActiveSpan

PATIENCE = 1.0
"""Seconds that a save waits for the journal. It takes a millisecond unless the disk hangs; then this is the
only wait.
"""
DEEPEST = 3
"""Levels of a dictionary that are searched for tensors: {"states": {"net": state_dict}}."""
MOST_LOOKED_AT = 50
"""Values of one dictionary that are checked."""


class _Here(threading.local):
    saving = False
    path = ""
    """The file that this thread is loading."""


class CheckpointFiles:
    """One artifact and one span per checkpoint."""

    def __init__(self, sink: Sink, records: LoopRecords | None, optimizers: OptimizerRecords) -> None:
        self._sink = sink
        self._records = records
        self._optimizers = optimizers
        self._here = _Here()
        self._patience = PATIENCE
        self.on_load: Callable[[str], None] | None = None

    def patches(self) -> list[Patch]:
        """Saving, under both names of the function, and the two halves of loading: finding the file, reading it."""
        module = "torch.serialization"
        return [
            Patch(module, "save", self._around_save, optional=True),
            Patch("torch", "save", self._around_save, optional=True),
            Patch(module, "_open_file_like", self._around_open, optional=True),
            Patch(module, "_load", self._around_load, optional=True),
        ]

    def _around_save(self, original: Function) -> Function:
        def save(obj: Any, f: Any, *args: Any, **kwargs: Any) -> Any:
            here = self._here
            if here.saving or not isinstance(f, (str, os.PathLike)):
                return original(obj, f, *args, **kwargs)
            span: ActiveSpan | None = None
            is_checkpoint = False
            with guard("recording a checkpoint"):
                is_checkpoint = holds_state(obj)
                if is_checkpoint:
                    span = self._begin(os.fspath(f))
            here.saving = True
            try:
                result = original(obj, f, *args, **kwargs)
            except BaseException as error:
                self._end(span, os.fspath(f), error)
                raise
            finally:
                here.saving = False
            if is_checkpoint:
                self._end(span, os.fspath(f), None)
            return result

        return save

    def _begin(self, path: str) -> ActiveSpan | None:
        if not self._sink.flush(self._patience):
            self._patience = 0.0
        recorder, job = active_recorder.recorder(), active_recorder.job()
        if recorder is None or self._records is None:
            return None
        span = recorder.begin_automatic(CHECKPOINT_SAVE_SYNC, {"path": path})
        if span is not None and job is not None:
            span.add_attributes(job.saves.started(self._optimizers.steps, "sync"))
        return span

    def _end(self, span: ActiveSpan | None, path: str, error: BaseException | None) -> None:
        with guard("recording a checkpoint"):
            place = os.path.abspath(path)
            recorder, job, step = active_recorder.recorder(), active_recorder.job(), self._optimizers.steps
            if span is not None and recorder is not None:
                now = recorder.now_ns()
                if job is not None:
                    if error is None:
                        job.saves.succeeded(step, "sync", span, place, now)
                    else:
                        job.saves.forget(step)
                    job.saves.ended(span, now - span.start_ns, now)
                span.end(error, now)
            if error is None:
                metadata: dict[str, Scalar] = {"step": step} if step else {}
                self._sink.emit(
                    Artifact(
                        time=time.time_ns() // 1000, name=Path(path).name, path=place, kind="checkpoint",
                        size=os.path.getsize(place) if os.path.exists(place) else 0, metadata=metadata,
                    )
                )  # fmt: skip

    def _around_open(self, original: Function) -> Function:
        def open_file_like(name_or_buffer: Any, mode: str, *args: Any, **kwargs: Any) -> Any:
            is_path = isinstance(name_or_buffer, (str, os.PathLike)) and "r" in str(mode)
            self._here.path = os.fspath(name_or_buffer) if is_path else ""
            return original(name_or_buffer, mode, *args, **kwargs)

        return open_file_like

    def _around_load(self, original: Function) -> Function:
        def load(*args: Any, **kwargs: Any) -> Any:
            path, self._here.path = self._here.path, ""
            recorder = active_recorder.recorder() if self._records is not None else None
            began = recorder.now_ns() if recorder is not None else 0
            result = original(*args, **kwargs)
            with guard("recording a loaded checkpoint"):
                if path and holds_state(result):
                    if recorder is not None and recorder.find(CHECKPOINT_LOAD) is None:
                        current = recorder.current()
                        parent = current.id if current is not None else recorder.root
                        recorder.add(CHECKPOINT_LOAD, began, recorder.now_ns() - began, parent, {"path": path})
                    if self.on_load is not None:
                        self.on_load(os.path.abspath(path))
            return result

        return load


def holds_state(value: Any, depth: int = DEEPEST) -> bool:
    """Whether this is a model, or a dictionary of tensors by name, or of such dictionaries."""
    from torch import Tensor
    from torch.nn import Module

    if isinstance(value, Module):
        return True
    if not isinstance(value, Mapping) or not depth:
        return False
    found = list(value.values())[:MOST_LOOKED_AT]
    named = [item for key, item in zip(value, found) if isinstance(key, str)]
    if depth < DEEPEST or any("." in key or key in ("weight", "bias") for key in value if isinstance(key, str)):
        return any(isinstance(item, Tensor) or holds_state(item, depth - 1) for item in named)
    return any(holds_state(item, depth - 1) for item in named)
