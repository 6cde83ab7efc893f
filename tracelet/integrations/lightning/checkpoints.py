"""Checkpoints as references, and the best one at the end of a fit.

Called on the training thread. Before Lightning saves, everything recorded so far is written: a training that resumes
from the checkpoint does not repeat it, so a kill must not lose it. After Lightning has saved or decided, nothing is
copied, moved or read except the size of a file. A score is read after a save, which has itself waited for the device,
so reading it waits for nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tracelet.capture.parameter_values import to_scalar
from tracelet.guard import guard
from tracelet.integrations.base import Sink
from tracelet.integrations.lightning.trainer_calls import Fit, TrainerCalls
from tracelet.integrations.patching import Function, Patch
from tracelet.journal.records import Artifact, Scalar

PATIENCE = 1.0
"""Seconds that a checkpoint waits for the journal. It takes a millisecond unless the disk hangs; then this is the only
wait.
"""


class Checkpoints:
    """One artifact per checkpoint file, and an event for each removed one."""

    def __init__(self, sink: Sink, trainer_calls: TrainerCalls) -> None:
        self._sink = sink
        self._trainer_calls = trainer_calls
        self._saving: set[str] = set()
        """Files that a ModelCheckpoint is saving: it knows more about them than the trainer."""
        self.saving: list[Callable[[Any], None]] = []
        """Called with the trainer before a ModelCheckpoint saves."""
        self._patience = PATIENCE
        trainer_calls.on_finish.append(best_of)

    def patches(self, root: str) -> list[Patch]:
        """The places where checkpoints are saved, linked and removed."""
        checkpointing = f"{root}.callbacks.model_checkpoint"
        return [
            Patch(f"{root}.trainer.trainer", "Trainer.save_checkpoint", self._around_trainer),
            Patch(checkpointing, "ModelCheckpoint._save_checkpoint", self._around_callback),
            Patch(checkpointing, "ModelCheckpoint._remove_checkpoint", self._around_removal, optional=True),
            Patch(checkpointing, "ModelCheckpoint._link_checkpoint", self._around_link, optional=True),
        ]

    def _around_trainer(self, original: Function) -> Function:
        def save_checkpoint(trainer: Any, filepath: Any, *args: Any, **kwargs: Any) -> Any:
            with guard("writing the journal before a checkpoint"):
                if not self._sink.flush(self._patience):
                    self._patience = 0.0
            result = original(trainer, filepath, *args, **kwargs)
            with guard("recording a checkpoint"):
                if os.fspath(filepath) not in self._saving:
                    self._record(trainer, os.fspath(filepath), {})
            return result

        return save_checkpoint

    def _around_callback(self, original: Function) -> Function:
        def save_checkpoint(callback: Any, trainer: Any, filepath: Any, *args: Any, **kwargs: Any) -> Any:
            path = str(filepath)
            with guard("recording what a checkpoint holds"):
                for told in self.saving:
                    told(trainer)
            self._saving.add(path)
            try:
                result = original(callback, trainer, filepath, *args, **kwargs)
            finally:
                self._saving.discard(path)
            with guard("recording a checkpoint"):
                self._record(trainer, path, _judged(callback, path))
            return result

        return save_checkpoint

    def _around_removal(self, original: Function) -> Function:
        def remove_checkpoint(callback: Any, trainer: Any, filepath: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(callback, trainer, filepath, *args, **kwargs)
            with guard("recording a removed checkpoint"):
                if trainer.is_global_zero:
                    self._trainer_calls.emit_event("checkpoint_removed", {"path": _absolute(str(filepath))})
            return result

        return remove_checkpoint

    def _around_link(self, original: Function) -> Function:
        def link_checkpoint(trainer: Any, filepath: Any, linkpath: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(trainer, filepath, linkpath, *args, **kwargs)
            with guard("recording a linked checkpoint"):
                self._record(trainer, str(linkpath), {"link_to": _absolute(str(filepath))})
            return result

        return link_checkpoint

    def _record(self, trainer: Any, path: str, judged: dict[str, Scalar]) -> None:
        fit = self._trainer_calls.fit_of(trainer) if self._trainer_calls.is_running(trainer) else None
        if not trainer.is_global_zero or (fit is not None and fit.trials):
            return
        metadata: dict[str, Scalar] = {"step": trainer.global_step, "epoch": trainer.current_epoch, **judged}
        if fit is not None:
            metadata["fit"] = fit.number
        place = _absolute(path)
        if fit is not None:
            self._sink.fits.saved(place, fit.number)
        self._sink.emit(
            Artifact(
                time=time.time_ns() // 1000, name=Path(path).name, path=place, kind="checkpoint", size=_size(place),
                metadata=metadata,
            )
        )  # fmt: skip


def best_of(trainer: Any, fit: Fit) -> dict[str, Scalar]:
    """The best checkpoint according to the trainer's checkpoint callback, at the end of a fit."""
    callback = trainer.checkpoint_callback
    if fit.kind != "fit" or not getattr(callback, "best_model_path", ""):
        return {}
    return {
        "best_checkpoint": _absolute(callback.best_model_path),
        "best_score": _score(callback.best_model_score),
        "monitor": callback.monitor,
        "mode": callback.mode,
    }


def _judged(callback: Any, path: str) -> dict[str, Scalar]:
    kept = callback.best_k_models.get(path)
    return {
        "monitor": callback.monitor,
        "score": _score(callback.current_score if kept is None else kept),
        "mode": callback.mode,
        "best": bool(callback.monitor) and callback.best_model_path == path,
    }


def _score(value: Any) -> Scalar:
    return to_scalar(value.cpu() if hasattr(value, "cpu") else value)


def _absolute(path: str) -> str:
    return path if "://" in path else os.path.abspath(path)


def _size(path: str) -> int:
    """Bytes of a local file or folder; 0 for a remote one or one that is still being saved."""
    try:
        if os.path.isdir(path):
            return sum(os.path.getsize(Path(place) / name) for place, _, names in os.walk(path) for name in names)
        return os.path.getsize(path)
    except OSError:
        return 0
