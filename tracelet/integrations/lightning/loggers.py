"""What a program or a callback gives to a logger directly: `self.logger.log_metrics(...)`, `log_hyperparams(...)`.

Called on the training thread. The classes of the loggers that a Trainer has are patched when the Trainer is met, and
put back by `stop`. What Lightning itself hands to its loggers is not taken here: `metrics` has it already. A callback
that writes the same to each of several loggers is one source, so only a Trainer's first logger counts for metrics.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from tracelet.guard import guard
from tracelet.integrations.base import SeriesKey, Sink
from tracelet.integrations.lightning.lifecycle import Lifecycle
from tracelet.integrations.lightning.metrics import frozen
from tracelet.integrations.lightning.standalone import is_number
from tracelet.integrations.patching import Application, Function, apply


class LoggerCalls:
    """Follows the loggers of every Trainer."""

    def __init__(self, sink: Sink, lifecycle: Lifecycle) -> None:
        self._emit = sink.emit
        self._lifecycle = lifecycle
        self._applications: dict[tuple[type, str], Application | None] = {}
        self._first: weakref.WeakKeyDictionary[Any, weakref.ref[Any]] = weakref.WeakKeyDictionary()
        """The first logger of each trainer, with the trainer."""
        self._keys: dict[str, SeriesKey] = {}
        self.tell: Callable[[Mapping[Any, Any]], None] | None = None
        """Takes hyperparameters given to a logger."""

    def watch(self, trainer: Any) -> None:
        """See what is given to this trainer's loggers from now on."""
        for index, logger in enumerate(trainer.loggers):
            if index == 0:
                self._first[logger] = weakref.ref(trainer)
            self._patch(type(logger), "log_hyperparams", self._around_hyperparams)
            self._patch(type(logger), "log_metrics", self._around_metrics)

    def stop(self) -> None:
        """Put the loggers' methods back."""
        for application in reversed(list(self._applications.values())):
            if application is not None:
                application.revert()
        self._applications.clear()

    def _patch(self, kind: type, name: str, make_wrapper: Callable[[Function], Function]) -> None:
        owner = next((base for base in kind.__mro__ if name in vars(base)), None)
        if owner is not None and (owner, name) not in self._applications:
            self._applications[owner, name] = apply(owner, name, make_wrapper)

    def _around_hyperparams(self, original: Function) -> Function:
        def log_hyperparams(logger: Any, *args: Any, **kwargs: Any) -> Any:
            with guard("recording logged hyperparameters"):
                params = args[0] if args else kwargs.get("params")
                if params is not None and self.tell is not None:
                    self.tell(params)
            # TensorBoardLogger writes a placeholder metric from within.
            with self._lifecycle.relaying():
                return original(logger, *args, **kwargs)

        return log_hyperparams

    def _around_metrics(self, original: Function) -> Function:
        def log_metrics(logger: Any, *args: Any, **kwargs: Any) -> Any:
            if self._lifecycle.is_relaying():
                return original(logger, *args, **kwargs)
            with guard("recording metrics given to a logger"):
                self._take(logger, *args, **kwargs)
            with self._lifecycle.relaying():
                return original(logger, *args, **kwargs)

        return log_metrics

    def _take(self, logger: Any, metrics: Mapping[str, Any], step: Any = None, *_: Any, **__: Any) -> None:
        reference = self._first.get(logger)
        trainer = reference() if reference is not None else None
        if trainer is None:
            return
        fit, epoch = None, -1
        if self._lifecycle.is_running(trainer):
            fit, epoch = self._lifecycle.fit_of(trainer), trainer.current_epoch
            if fit.trials:
                return
            if step is None:
                step = trainer.fit_loop.epoch_loop._batches_that_stepped
        now = time.time()
        for name, value in metrics.items():
            # A LearningRateMonitor logs what we record anyway, under the same names.
            if is_number(value) and name not in self._lifecycle.automatic:
                key = fit.key(name, "", "mean") if fit is not None else self._key(name)
                self._emit((key, step, frozen(value), now, epoch, None))

    def _key(self, name: str) -> SeriesKey:
        key = self._keys.get(name)
        if key is None:
            key = self._keys[name] = SeriesKey(name, reduce="mean")
        return key
