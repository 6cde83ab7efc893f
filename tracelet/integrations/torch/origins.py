"""The origins of optimizers, schedulers and gradient scalers: the model of their parameters, and the scaler of their
loss.

Called on the user's thread around constructors and rare calls. It finds the model in the generator that
`Module.parameters()` has returned, before anything iterates it; it consumes nothing of it.
"""

from __future__ import annotations

import time
import weakref
from typing import Any

from tracelet.guard import guard
from tracelet.integrations.base import SeriesKey, Sink
from tracelet.integrations.patching import Function, Patch
from tracelet.integrations.tensor_values import detached
from tracelet.integrations.torch.optimizer_records import OptimizerRecords

SCALE = "tracelet/loss_scale"


class Origins:
    """Remembers models and schedulers until their optimizer steps, and records the scale of losses."""

    def __init__(self, sink: Sink, optimizers: OptimizerRecords) -> None:
        self._emit = sink.emit
        self._optimizers = optimizers
        self._scale = SeriesKey(SCALE, "train", None, "synced", True)

    def patches(self) -> list[Patch]:
        """Constructors of optimizers, the last step of the schedulers' constructors, and the scaler's update."""
        schedulers = "torch.optim.lr_scheduler"
        return [
            Patch("torch.optim.optimizer", "Optimizer.__init__", self._around_init, optional=True, direct=True),
            Patch(schedulers, "LRScheduler._initial_step", self._around_scheduler, optional=True),
            Patch(schedulers, "ReduceLROnPlateau._reset", self._around_scheduler, optional=True),
            Patch("torch.amp.grad_scaler", "GradScaler.update", self._around_update, optional=True),
        ]

    def _around_init(self, original: Function) -> Function:
        def __init__(optimizer: Any, params: Any, *args: Any, **kwargs: Any) -> None:
            with guard("looking for an optimizer's model"):
                model = model_of(params)
                self._optimizers.models.pop(id(optimizer), None)  # of an earlier optimizer at this address
                if model is not None:
                    self._optimizers.models[id(optimizer)] = weakref.ref(model)
            original(optimizer, params, *args, **kwargs)

        return __init__

    def _around_scheduler(self, original: Function) -> Function:
        def made(scheduler: Any, *args: Any, **kwargs: Any) -> Any:
            with guard("remembering a scheduler"):
                pair = weakref.ref(scheduler.optimizer), weakref.ref(scheduler)
                if not any(known() is scheduler for _, known in self._optimizers.schedulers):
                    self._optimizers.schedulers.append(pair)
            return original(scheduler, *args, **kwargs)

        return made

    def _around_update(self, original: Function) -> Function:
        def update(scaler: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(scaler, *args, **kwargs)
            with guard("recording the scale of losses"):
                self._optimizers.skipped()
                scale = getattr(scaler, "_scale", None)
                if scale is not None:
                    self._emit((self._scale, None, detached(scale), time.time(), -1, None))
            return result

        return update


def model_of(params: Any) -> Any:
    """The module whose `parameters()` returned this generator; None for anything else."""
    from torch.nn import Module

    code = getattr(params, "gi_code", None)
    if code is None or code not in (Module.parameters.__code__, Module.named_parameters.__code__):
        return None
    frame = params.gi_frame
    return frame.f_locals.get("self") if frame is not None else None
