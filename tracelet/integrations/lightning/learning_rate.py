"""Learning rates at every step, named as Lightning's own LearningRateMonitor names them, and gradient norms on request.

Called on the training thread at the start of each training batch, and before each optimizer step if gradients are
tracked. Names come from a LearningRateMonitor of ours that is never given to a trainer. Never reads a device.
"""

from __future__ import annotations

import importlib
import time
from typing import Any

from tracelet.guard import failed, guard
from tracelet.integrations.base import SeriesKey, Sink
from tracelet.integrations.gradient_norm import GRADIENT_NORM, total_norm
from tracelet.integrations.lightning.trainer_calls import Fit, TrainerCalls
from tracelet.integrations.patching import Function, Patch
from tracelet.integrations.tensor_values import detached

Rates = list[tuple[Any, list[SeriesKey]]]
"""Each optimizer with one series per parameter group."""
ROOT = "lr root"
"""The key under which a fit keeps the distribution of its trainer."""


class LearningRates:
    """One automatic series per parameter group."""

    def __init__(self, sink: Sink, trainer_calls: TrainerCalls) -> None:
        self._emit = sink.emit
        self._trainer_calls = trainer_calls
        trainer_calls.before_logged.append(self._name_anew)

    def patches(self, root: str) -> list[Patch]:
        """Lightning's last call before the callbacks' `on_train_batch_start`, where its monitor reads."""
        module = f"{root}.trainer.connectors.logger_connector.logger_connector"
        return [
            Patch(
                module, "_LoggerConnector.on_batch_start", lambda original: self._around(original, root), direct=True
            ),
            Patch(f"{root}.loops.fit_loop", "_FitLoop.on_run_start", lambda original: self._before(original, root)),
        ]

    def _before(self, original: Function, root: str) -> Function:
        def on_run_start(loop: Any, *args: Any, **kwargs: Any) -> Any:
            with guard("naming learning rates"):
                # Before any callback can log a rate: names in `automatic` are only recorded from here.
                fit = self._trainer_calls.fit_of(loop.trainer)
                fit.cache[ROOT] = root
                self._rates(loop.trainer, fit, root)
            return original(loop, *args, **kwargs)

        return on_run_start

    def _name_anew(self, trainer: Any, fit: Fit) -> None:
        """A callback may have added parameter groups, which renames all rates, since the last batch began."""
        root = fit.cache.get(ROOT)
        if root is not None:
            self._rates(trainer, fit, root)

    def _around(self, original: Function, root: str) -> Function:
        trainer_calls = self._trainer_calls

        def on_batch_start(connector: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                trainer = connector.trainer
                if trainer_calls.recording and getattr(trainer.state.stage, "value", "") == "train":
                    self._take(trainer, root)
            except Exception as error:  # noqa: BLE001  a guard by hand saves three calls in every step
                failed("capturing learning rates", error)
            return original(connector, *args, **kwargs)

        return on_batch_start

    def _take(self, trainer: Any, root: str) -> None:
        fit = self._trainer_calls.fit_of(trainer)
        loop = trainer.fit_loop
        step = loop.epoch_loop._batches_that_stepped
        # Under accumulation several batches belong to one step, and the rate does not change between them.
        if fit.trials or fit.cache.get("lr step") == step:
            return
        fit.cache["lr step"] = step
        now, epoch, emit = time.time(), loop.epoch_progress.current.completed, self._emit
        for optimizer, keys in self._rates(trainer, fit, root):
            for group, key in zip(optimizer.param_groups, keys):
                rate = group.get("lr")
                if rate is not None:
                    emit((key, step, rate if type(rate) is float else detached(rate), now, epoch, None))

    def _rates(self, trainer: Any, fit: Fit, root: str) -> Rates:
        optimizers = trainer.optimizers
        known = fit.cache.get("lr")
        if known is not None and known[0] is optimizers:
            rates: Rates = known[1]
            for optimizer, keys in rates:
                if len(optimizer.param_groups) != len(keys):
                    break
            else:
                return rates
        rates = [
            (optimizer, [fit.key(name, "train", "synced", automatic=True) for name in names])
            for optimizer, names in named(trainer, root)
        ]
        self._trainer_calls.automatic.update(key.name for _, keys in rates for key in keys)
        fit.cache["lr"] = optimizers, rates
        return rates


def named(trainer: Any, root: str) -> list[tuple[Any, list[str]]]:
    """Each optimizer of the trainer with the names that LearningRateMonitor would give its groups' rates."""
    monitor = importlib.import_module(f"{root}.callbacks.lr_monitor").LearningRateMonitor()
    configs = trainer.lr_scheduler_configs
    names, seen, kinds = monitor._find_names_from_schedulers(configs)
    found = list(zip([config.scheduler.optimizer for config in configs], names))
    names, others = monitor._find_names_from_optimizers(
        trainer.optimizers, seen_optimizers=seen, seen_optimizer_types=kinds
    )
    return found + list(zip(others, names))


class GradientNorms:
    """The 2-norm of all gradients that an optimizer is about to use, before clipping."""

    def __init__(self, sink: Sink, trainer_calls: TrainerCalls) -> None:
        self._emit = sink.emit
        self._trainer_calls = trainer_calls

    def patches(self, root: str) -> list[Patch]:
        """The point where gradients are complete and unscaled and not yet clipped."""
        return [Patch(f"{root}.plugins.precision.precision", "Precision._after_closure", self._around, optional=True)]

    def _around(self, original: Function) -> Function:
        def after_closure(plugin: Any, model: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            with guard("capturing gradient norms"):
                self._take(model.trainer, optimizer)
            return original(plugin, model, optimizer, *args, **kwargs)

        return after_closure

    def _take(self, trainer: Any, optimizer: Any) -> None:
        fit = self._trainer_calls.fit_of(trainer)
        norm = total_norm(optimizer)
        if fit.trials or norm is None:
            return
        optimizers = trainer.optimizers
        name = GRADIENT_NORM
        if len(optimizers) > 1:
            raw = getattr(optimizer, "optimizer", optimizer)
            name += f"/{next((index for index, other in enumerate(optimizers) if other is raw), 0)}"
        step = trainer.fit_loop.epoch_loop._batches_that_stepped
        key = fit.key(name, "train", "mean", automatic=True)
        self._emit((key, step, norm.item() if norm.is_cpu else norm, time.time(), trainer.current_epoch, None))
