"""Metrics logged through Fabric, with or without loggers.

Called on the user's thread. `Fabric.log` and a LightningModule driven by Fabric both end in `Fabric.log_dict`, so only
that is patched. Like the trainers, Fabric is two module trees: `lightning.fabric` and `lightning_fabric`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from tracelet.guard import guard
from tracelet.integrations.base import SeriesKey, Sink
from tracelet.integrations.lightning.hyperparameters import Hyperparameters
from tracelet.integrations.lightning.logger_calls import LoggerCalls
from tracelet.integrations.lightning.trainer_calls import TrainerCalls
from tracelet.integrations.patching import Function, Patch
from tracelet.integrations.saved_checkpoint import SavedCheckpoints
from tracelet.integrations.tensor_values import detached, is_number

FABRICS = ("lightning.fabric", "lightning_fabric")
STEP_NAMES = ("global_step", "step", "iteration", "iter_num", "step_count")


class FabricMetrics:
    """Records the arguments of `Fabric.log_dict`; without a step, it counts the points of each name."""

    def __init__(self, sink: Sink, trainer_calls: TrainerCalls) -> None:
        self._emit = sink.emit
        self._trainer_calls = trainer_calls
        self._keys: dict[str, SeriesKey] = {}

    def patches(self, root: str) -> list[Patch]:
        """The method through which everything logged with this Fabric passes."""
        return [Patch(f"{root}.fabric", "Fabric.log_dict", self._around_log_dict)]

    def _around_log_dict(self, original: Function) -> Function:
        def log_dict(fabric: Any, *args: Any, **kwargs: Any) -> Any:
            with guard("capturing metrics logged through Fabric"):
                self._take(*args, **kwargs)
            with self._trainer_calls.relaying():
                return original(fabric, *args, **kwargs)

        return log_dict

    def _take(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        now = time.time()
        for name, value in metrics.items():
            if is_number(value):
                key = self._keys.get(name)
                if key is None:
                    key = self._keys[name] = SeriesKey(name, fit=None, reduce="mean")
                self._emit((key, step, detached(value), now, -1, None))


class FabricRun:
    """What a Fabric is set up with, the hyperparameters given to its loggers, and its checkpoints."""

    def __init__(self, sink: Sink, hyperparameters: Hyperparameters, loggers: LoggerCalls, with_spans: bool) -> None:
        self._hyperparameters = hyperparameters
        self._loggers = loggers
        self._saved = SavedCheckpoints(sink, with_spans)
        self.on_load: Callable[[str], None] | None = None

    def patches(self, root: str) -> list[Patch]:
        """Setting up, saving, loading, and Fabric's own loggers."""
        fabric = f"{root}.fabric"
        return [
            Patch(fabric, "Fabric.setup", self._around_setup, optional=True),
            Patch(fabric, "Fabric.setup_module", self._around_setup, optional=True),
            Patch(fabric, "Fabric.save", self._around_save, optional=True),
            Patch(fabric, "Fabric.load", self._around_load, optional=True),
            *self._loggers.fabric_patches(root),
        ]

    def _around_setup(self, original: Function) -> Function:
        def setup(fabric: Any, module: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(fabric, module, *args, **kwargs)
            with guard("recording how Fabric was set up"):
                self._hyperparameters.tell_fabric(fabric, module)
            return result

        return setup

    def _around_save(self, original: Function) -> Function:
        def save(fabric: Any, path: Any, state: Any, *args: Any, **kwargs: Any) -> Any:
            if not fabric.is_global_zero:
                return original(fabric, path, state, *args, **kwargs)
            span, step, place = None, _step_in(state), os.fspath(path)
            with guard("recording a checkpoint"):
                span = self._saved.begin(place, step)
            try:
                result = original(fabric, path, state, *args, **kwargs)
            except BaseException as error:
                self._saved.end(span, place, step, error)
                raise
            self._saved.end(span, place, step, None)
            return result

        return save

    def _around_load(self, original: Function) -> Function:
        def load(fabric: Any, path: Any, *args: Any, **kwargs: Any) -> Any:
            began = self._saved.now()
            result = original(fabric, path, *args, **kwargs)
            with guard("recording a loaded checkpoint"):
                self._saved.loaded(os.fspath(path), began)
                if self.on_load is not None:
                    self.on_load(os.path.abspath(path))
            return result

        return load


def _step_in(state: Any) -> int:
    """The step that a program has put into its checkpoint, under one of the usual names; 0 if there is none."""
    if isinstance(state, Mapping):
        for name in STEP_NAMES:
            if type(state.get(name)) is int:
                return int(state[name])
    return 0
