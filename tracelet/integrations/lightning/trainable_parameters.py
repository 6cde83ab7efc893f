"""The number of trainable parameters over time, for trainings that freeze or thaw layers.

Called on the training thread at the start of a fit and of each epoch, after the callbacks' `on_train_epoch_start`,
where finetuning callbacks thaw. Records nothing while the number stays the same: the parameter
`model/trainable_parameters` has it. Reads sizes and flags, never a value.
"""

from __future__ import annotations

import time
from typing import Any

from tracelet.guard import guard
from tracelet.integrations.base import Sink
from tracelet.integrations.lightning.trainer_calls import TrainerCalls
from tracelet.integrations.model_description import count_parameters
from tracelet.integrations.patching import Function, Patch

NAME = "model/trainable_parameters"
COUNTED = "trainable parameters"
"""The key under which a fit keeps its last point."""


class TrainableParameters:
    """One series for each fit in which the number changes."""

    def __init__(self, sink: Sink, trainer_calls: TrainerCalls) -> None:
        self._emit = sink.emit
        self._trainer_calls = trainer_calls

    def patches(self, root: str) -> list[Patch]:
        """The start of the training and of each epoch's batches, for one distribution of Lightning."""
        return [
            Patch(f"{root}.loops.fit_loop", "_FitLoop.on_run_start", self._around),
            Patch(f"{root}.loops.training_epoch_loop", "_TrainingEpochLoop.on_run_start", self._around),
        ]

    def _around(self, original: Function) -> Function:
        def on_run_start(loop: Any, *args: Any, **kwargs: Any) -> Any:
            with guard("counting trainable parameters"):
                self._count(loop.trainer)
            return original(loop, *args, **kwargs)

        return on_run_start

    def _count(self, trainer: Any) -> None:
        fit = self._trainer_calls.fit_of(trainer)
        if fit.trials:
            return
        count = count_parameters(trainer.lightning_module)[1]
        key = fit.key(NAME, "train", "synced", automatic=True)
        step = trainer.fit_loop.epoch_loop._batches_that_stepped
        point = (key, step, float(count), time.time(), trainer.current_epoch, None)
        before = fit.cache.get(COUNTED)
        if before is not None and before[2] != point[2]:
            if not fit.cache.get(NAME):
                self._emit(before)
                fit.cache[NAME] = True
            self._emit(point)
        if before is None or before[2] != point[2]:
            fit.cache[COUNTED] = point
