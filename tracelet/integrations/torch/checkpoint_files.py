"""Checkpoints that a program saves and loads itself: `torch.save` and `torch.load` of models and state dictionaries.

Called on the user's thread. A file is recorded as a reference, never copied; other saved objects (tensors, data sets)
are not checkpoints. Before a save, everything recorded so far is written: a training that resumes from the file does
not repeat it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

from tracelet.guard import guard
from tracelet.integrations.base import Sink
from tracelet.integrations.nested_calls import in_recorded_call
from tracelet.integrations.patching import Function, Patch
from tracelet.integrations.saved_checkpoint import SavedCheckpoints
from tracelet.integrations.torch.loop_records import LoopRecords
from tracelet.integrations.torch.optimizer_records import OptimizerRecords

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
        self._saved = SavedCheckpoints(sink, with_spans=records is not None)
        self._optimizers = optimizers
        self._here = _Here()
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
            here, span, is_checkpoint = self._here, None, False
            if here.saving or not isinstance(f, (str, os.PathLike)) or in_recorded_call():
                return original(obj, f, *args, **kwargs)
            path, step = os.fspath(f), self._optimizers.steps
            with guard("recording a checkpoint"):
                is_checkpoint = holds_state(obj)
                span = self._saved.begin(path, step) if is_checkpoint else None
            here.saving = True
            try:
                result = original(obj, f, *args, **kwargs)
            except BaseException as error:
                if is_checkpoint:
                    self._saved.end(span, path, step, error)
                raise
            finally:
                here.saving = False
            if is_checkpoint:
                self._saved.end(span, path, step, None)
            return result

        return save

    def _around_open(self, original: Function) -> Function:
        def open_file_like(name_or_buffer: Any, mode: str, *args: Any, **kwargs: Any) -> Any:
            is_path = isinstance(name_or_buffer, (str, os.PathLike)) and "r" in str(mode)
            self._here.path = os.fspath(name_or_buffer) if is_path else ""
            return original(name_or_buffer, mode, *args, **kwargs)

        return open_file_like

    def _around_load(self, original: Function) -> Function:
        def load(*args: Any, **kwargs: Any) -> Any:
            path, self._here.path = self._here.path, ""
            began = self._saved.now()
            result = original(*args, **kwargs)
            with guard("recording a loaded checkpoint"):
                if path and holds_state(result):
                    self._saved.loaded(path, began)
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
