"""The checkpoint and the step from which a training resumes: recorded as an event, and reported to `on_checkpoint`.

Called on the training thread when the first epoch begins: only then has Lightning restored its step count. Reads no
file.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from tracelet.guard import guard
from tracelet.integrations.lightning.trainer_calls import TrainerCalls
from tracelet.integrations.patching import Function, Patch
from tracelet.store.resumed_series import RESUMED_EVENT


class CheckpointResume:
    """Records fits that resume. Calls `on_checkpoint` with the path, on rank 0."""

    def __init__(self, trainer_calls: TrainerCalls) -> None:
        self._trainer_calls = trainer_calls
        self.on_checkpoint: Callable[[str], None] | None = None

    def patches(self, root: str) -> list[Patch]:
        """The beginning of an epoch, for one distribution of Lightning."""
        return [Patch(f"{root}.loops.training_epoch_loop", "_TrainingEpochLoop.on_run_start", self._around_epoch)]

    def _around_epoch(self, original: Function) -> Function:
        def on_run_start(loop: Any, *args: Any, **kwargs: Any) -> Any:
            with guard("telling where a training goes on"):
                self._tell(loop.trainer)
            return original(loop, *args, **kwargs)

        return on_run_start

    def _tell(self, trainer: Any) -> None:
        fit = self._trainer_calls.fit_of(trainer)
        if fit.trials or fit.cache.get(RESUMED_EVENT):
            return
        fit.cache[RESUMED_EVENT] = True
        step = trainer.fit_loop.epoch_loop._batches_that_stepped
        path = trainer.ckpt_path
        if not (step or path):
            return
        place = os.path.abspath(path) if path and "://" not in str(path) else str(path or "")
        attributes = {"fit": fit.number, "step": int(step), "epoch": int(trainer.current_epoch), "checkpoint": place}
        self._trainer_calls.emit_event(RESUMED_EVENT, dict(attributes))
        if place and self.on_checkpoint is not None and trainer.is_global_zero:
            self.on_checkpoint(place)
