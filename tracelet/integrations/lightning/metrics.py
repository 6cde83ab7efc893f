"""Metrics, taken where Lightning has computed them: its result collection and its logger connector.

Called on the training thread: once a step for on-step values, and whenever Lightning hands metrics to its loggers, be
there any or not. Names, steps and values are Lightning's own. On the CPU a value becomes a number at once; on another
device it stays a tensor that nobody changes any more. Never reads a device, never calls a metric's `compute`, never
alters a result.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from tracelet.guard import guard
from tracelet.integrations.base import SeriesKey, Sink
from tracelet.integrations.lightning.lifecycle import Fit, Lifecycle
from tracelet.integrations.patching import Function, Patch
from tracelet.values import on_its_stream

SANITY = "sanity_check"
"""The stage whose metrics Lightning throws away."""

Found = tuple[Any, Any, SeriesKey]
"""(where the result stands in Lightning's collection, the result, our series)"""


def frozen(value: Any) -> Any:
    """The value as something that no one changes any more: a number, or a detached copy on its device."""
    on_cpu = getattr(value, "is_cpu", None)
    if on_cpu is None:
        return value
    return value.item() if on_cpu else on_its_stream(value.detach().clone())


def reduction(result: Any, on_step: bool) -> str:
    """How ranks are to be reduced: as the value was logged, or `synced` where Lightning or torchmetrics did it."""
    if not result.is_tensor:
        attribute = "dist_sync_on_step" if on_step else "sync_on_compute"
        return "synced" if getattr(result.value, attribute, not on_step) else "mean"
    meta = result.meta
    if meta.sync.should or meta.sync.rank_zero_only:
        return "synced"
    for name in ("sum", "min", "max"):
        if getattr(meta, f"is_{name}_reduction"):
            return name
    return "mean"


class MetricCapture:
    """Turns what Lightning logs into points."""

    def __init__(self, sink: Sink, lifecycle: Lifecycle) -> None:
        self._emit = sink.emit
        self._lifecycle = lifecycle
        self._stepping: set[int] = set()
        """Connectors that are inside `update_train_step_metrics`, whose values we already have."""

    def patches(self, root: str) -> list[Patch]:
        """The two places through which every metric passes, for one flavour of Lightning."""
        module = f"{root}.trainer.connectors.logger_connector.logger_connector"
        return [
            Patch(module, "_LoggerConnector.update_train_step_metrics", self._around_step),
            Patch(module, "_LoggerConnector.log_metrics", self._around_log),
        ]

    def _around_step(self, original: Function) -> Function:
        def update_train_step_metrics(connector: Any, *args: Any, **kwargs: Any) -> Any:
            with guard("capturing the metrics of a step"):
                self._take_step(connector)
            self._stepping.add(id(connector))
            try:
                return original(connector, *args, **kwargs)
            finally:
                self._stepping.discard(id(connector))

        return update_train_step_metrics

    def _around_log(self, original: Function) -> Function:
        def log_metrics(connector: Any, *args: Any, **kwargs: Any) -> Any:
            if id(connector) not in self._stepping:
                with guard("capturing metrics"):
                    self._take_logged(connector, *args, **kwargs)
            with self._lifecycle.relaying():
                return original(connector, *args, **kwargs)

        return log_metrics

    def _take_step(self, connector: Any) -> None:
        """The on-step values of a training batch, whether or not this is a step at which Lightning logs."""
        trainer = connector.trainer
        loop = trainer.fit_loop
        # The first comparison saves asking Lightning, on every step, what is False without accumulation.
        accumulating = trainer.accumulate_grad_batches > 1 and loop._should_accumulate()
        if accumulating and trainer.lightning_module.automatic_optimization:
            return
        fit = self._lifecycle.fit_of(trainer)
        results = loop.epoch_loop._results
        if fit.trials or not results:
            return
        taken: dict[str, tuple[SeriesKey, Any]] = {}
        index, known = results.dataloader_idx, fit.cache
        for place, result in results.items():
            meta = result.meta
            if result.has_reset or not meta.on_step or not meta.logger or meta.dataloader_idx != index:
                continue
            value = result._forward_cache
            on_cpu = getattr(value, "is_cpu", None)
            if on_cpu is None:
                continue
            found = known.get(place)
            if found is None or found[1] is not result:
                found = known[place] = self._found(fit, results, place, result, "train", True)
            key = found[2]
            # Lightning has cloned what was given as a number or tensor; a torchmetrics object may still change its own.
            # A later result of the same name replaces an earlier one, as in Lightning's dictionary.
            if on_cpu:
                taken[key.name] = key, value.item()
            else:
                taken[key.name] = key, on_its_stream(value.detach()) if result.is_tensor else frozen(value)
        if taken:
            self._emit_step(trainer, taken, loop.epoch_loop._batches_that_stepped)

    def _emit_step(self, trainer: Any, taken: dict[str, tuple[SeriesKey, Any]], step: Any) -> None:
        override = taken.pop("step", None)
        if override is not None:
            step = as_step(override[1])
        now, epoch, emit = time.time(), trainer.current_epoch, self._emit
        for key, value in taken.values():
            emit((key, step, value, now, epoch, None))

    def _take_logged(self, connector: Any, metrics: Mapping[str, Any], step: Any = None) -> None:
        """Epoch values, and the on-step values of evaluations: what Lightning would give to its loggers."""
        trainer = connector.trainer
        stage = getattr(trainer.state.stage, "value", "")
        if not metrics or stage == SANITY:
            return
        fit = self._lifecycle.fit_of(trainer)
        if fit.trials:
            return
        if step is None:
            override = metrics.get("step")
            if override is None:
                step = trainer.fit_loop.epoch_loop._batches_that_stepped
            else:
                step = as_step(frozen(override))
                metrics = {name: value for name, value in metrics.items() if name != "step"}
        on_step = connector._first_loop_iter is not None
        now, epoch = time.time(), trainer.current_epoch
        for name, value in metrics.items():
            if getattr(value, "numel", int)() > 1:
                continue
            result, key = self._series(fit, trainer._results, name, str(stage), on_step)
            weight = None if on_step or result is None else weight_of(result, trainer.world_size > 1)
            self._emit((key, step, frozen(value), now, epoch, weight))

    def _series(self, fit: Fit, results: Any, name: str, stage: str, on_step: bool) -> tuple[Any, SeriesKey]:
        """The result that a name stands for, if it came from `log`, and its series."""
        known = fit.cache
        found = known.get((name, stage, on_step))
        if found is not None and results is not None and results.get(found[0]) is found[1]:
            return found[1], found[2]
        for place, result in (results or {}).items():
            if results._forked_name(result, on_step)[1] == name and not result.has_reset:
                found = known[name, stage, on_step] = self._found(fit, results, place, result, stage, on_step)
                return result, found[2]
        return None, fit.key(name, stage, "mean")

    def _found(self, fit: Fit, results: Any, place: Any, result: Any, stage: str, on_step: bool) -> Found:
        name = results._forked_name(result, on_step)[1]
        return place, result, fit.key(name, stage, reduction(result, on_step))


def as_step(value: Any) -> Any:
    """A metric named `step` as Lightning reads it; on a device it is left for the writer to read."""
    return value if hasattr(value, "is_cpu") else int(value)


def weight_of(result: Any, ranked: bool) -> Any:
    """How much an epoch's mean weighs among ranks: the examples behind it; with several ranks also their sum."""
    if not result.is_tensor or not result.meta.is_mean_reduction:
        return None
    weight = frozen(result.cumulated_batch_size)
    return (weight, frozen(result.value)) if ranked and reduction(result, False) == "mean" else weight
