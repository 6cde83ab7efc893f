"""Direct calls of a logger by a program or a callback: `self.logger.log_metrics(...)`, `log_hyperparams(...)`.

Called on the training thread. Lightning's own loggers are in the table of patches, because a program may write to one
before it creates a Trainer; other loggers' classes are patched when a Trainer that has them is found, and restored by
`stop`. Values that Lightning itself passes to its loggers are skipped: `metrics` records them already. A program that
writes the same values to several loggers is one source, so only a Trainer's first logger counts for metrics.
"""

from __future__ import annotations

import itertools
import time
import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from tracelet.guard import guard
from tracelet.integrations.base import SeriesKey, Sink
from tracelet.integrations.function_wrapper import AppliedPatch, apply
from tracelet.integrations.lightning.trainer_calls import TrainerCalls
from tracelet.integrations.patching import Function, Patch
from tracelet.integrations.tensor_values import detached, is_number

BUILT_IN = (
    "csv_logs.CSVLogger", "tensorboard.TensorBoardLogger", "mlflow.MLFlowLogger", "wandb.WandbLogger",
    "comet.CometLogger", "neptune.NeptuneLogger", "litlogger.LitLogger",
)  # fmt: skip
"""Lightning's own loggers; no version has all of them."""
MAX_REMEMBERED = 1000
"""Values passed to loggers without a Trainer that are remembered, to recognize them at the next logger."""


class DuplicateFilter:
    """Recognizes a value that was passed to one logger when it is passed to the next one."""

    def __init__(self) -> None:
        self._loggers: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        self._numbers = itertools.count(1)
        self._given: dict[tuple[Any, ...], Counter[int]] = {}

    def is_new(self, logger: Any, name: str, step: Any, value: Any) -> bool:
        """Whether this logger has now received this value more often than any other logger."""
        number = self._loggers.setdefault(logger, next(self._numbers))
        # Recognize a tensor on another device by identity: reading it could wait for the device.
        known = repr(detached(value)) if getattr(value, "is_cpu", True) else id(value)
        times = self._given.setdefault((name, step, known), Counter())
        if len(self._given) > MAX_REMEMBERED:
            del self._given[next(iter(self._given))]
        before = max(times.values(), default=0)
        times[number] += 1
        return times[number] > before


class LoggerCalls:
    """Records calls of the loggers of every Trainer."""

    def __init__(self, sink: Sink, trainer_calls: TrainerCalls) -> None:
        self._emit = sink.emit
        self._trainer_calls = trainer_calls
        self._applications: dict[tuple[type, str], AppliedPatch | None] = {}
        self._patches: list[Patch] = []
        self._places: weakref.WeakKeyDictionary[Any, tuple[weakref.ref[Any], int]] = weakref.WeakKeyDictionary()
        """The trainer with which each logger was last seen, and its position among that trainer's loggers."""
        self._duplicates = DuplicateFilter()
        self._keys: dict[str, SeriesKey] = {}
        self.tell: Callable[[Mapping[Any, Any]], None] | None = None
        """Receives hyperparameters passed to a logger."""

    def patches(self, root: str) -> list[Patch]:
        """The methods of Lightning's own loggers, for one distribution."""
        patches = []
        for place in BUILT_IN:
            module, kind = place.split(".")
            for name, wrap in (("log_hyperparams", self._around_hyperparams), ("log_metrics", self._around_metrics)):
                patches.append(Patch(f"{root}.loggers.{module}", f"{kind}.{name}", wrap, optional=True))
        self._patches += patches
        return patches

    def fabric_patches(self, root: str) -> list[Patch]:
        """The methods of Fabric's own loggers, which Lightning's are derived from."""
        patches = [
            Patch(f"{root}.loggers.{module}", f"{kind}.{name}", wrap, optional=True)
            for module, kind in (("csv_logs", "CSVLogger"), ("tensorboard", "TensorBoardLogger"))
            for name, wrap in (("log_hyperparams", self._around_hyperparams), ("log_metrics", self._around_metrics))
        ]
        self._patches += patches
        return patches

    def watch(self, trainer: Any) -> None:
        """Record calls of this trainer's loggers from now on."""
        for index, logger in enumerate(trainer.loggers):
            self._places[logger] = weakref.ref(trainer), index
            self._patch(type(logger), "log_hyperparams", self._around_hyperparams)
            self._patch(type(logger), "log_metrics", self._around_metrics)

    def stop(self) -> None:
        """Restore the loggers' methods."""
        for application in reversed(list(self._applications.values())):
            if application is not None:
                application.revert()
        self._applications.clear()
        self._patches.clear()

    def _patch(self, kind: type, name: str, make_wrapper: Callable[[Function], Function]) -> None:
        owner = next((base for base in kind.__mro__ if name in vars(base)), None)
        if owner is None or (owner, name) in self._applications:
            return
        built_in = any(
            done.owner is owner and done.name == name for patch in self._patches for done in patch.applications
        )
        self._applications[owner, name] = None if built_in else apply(owner, name, make_wrapper)

    def _around_hyperparams(self, original: Function) -> Function:
        def log_hyperparams(logger: Any, *args: Any, **kwargs: Any) -> Any:
            if self._trainer_calls.is_relaying():
                return original(logger, *args, **kwargs)
            with guard("recording logged hyperparameters"):
                params = args[0] if args else kwargs.get("params")
                if params is not None and self.tell is not None:
                    self.tell(params)
            # TensorBoardLogger itself writes a placeholder metric.
            with self._trainer_calls.relaying():
                return original(logger, *args, **kwargs)

        return log_hyperparams

    def _around_metrics(self, original: Function) -> Function:
        def log_metrics(logger: Any, *args: Any, **kwargs: Any) -> Any:
            if self._trainer_calls.is_relaying():
                return original(logger, *args, **kwargs)
            with guard("recording metrics given to a logger"):
                self._take(logger, *args, **kwargs)
            with self._trainer_calls.relaying():
                return original(logger, *args, **kwargs)

        return log_metrics

    def _take(self, logger: Any, metrics: Mapping[str, Any], step: Any = None, *_: Any, **__: Any) -> None:
        reference, place = self._places.get(logger, (None, 0))
        if place:
            return
        trainer = reference() if reference is not None else None
        fit, epoch = None, -1
        if trainer is not None and self._trainer_calls.is_running(trainer):
            fit, epoch = self._trainer_calls.fit_of(trainer), trainer.current_epoch
            if fit.trials:
                return
            for prepare in self._trainer_calls.before_logged:
                prepare(trainer, fit)
            if step is None:
                step = trainer.fit_loop.epoch_loop._batches_that_stepped
        now = time.time()
        for name, value in metrics.items():
            # A LearningRateMonitor logs what `learning_rate` records anyway, under the same names.
            if not is_number(value) or name in self._trainer_calls.automatic:
                continue
            if reference is None and not self._duplicates.is_new(logger, name, step, value):
                continue
            key = fit.key(name, "", "mean") if fit is not None else self._key(name)
            self._emit((key, step, detached(value), now, epoch, None))

    def _key(self, name: str) -> SeriesKey:
        key = self._keys.get(name)
        if key is None:
            key = self._keys[name] = SeriesKey(name, fit=None, reduce="mean")
        return key
