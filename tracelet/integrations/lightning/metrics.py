"""Metrics, read where Lightning has computed them: its result collection and its logger connector.

Called on the training thread: once a step for on-step values (see `step_metrics`), and whenever Lightning passes
metrics to its loggers, with or without loggers. Names, steps and values are Lightning's own. Never reads a device,
never calls a metric's `compute`, never alters a result.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from tracelet.guard import failed, guard
from tracelet.integrations.base import SeriesKey, Sink
from tracelet.integrations.lightning.step_metrics import StepMetrics, as_step, reduction
from tracelet.integrations.lightning.trainer_calls import Fit, TrainerCalls
from tracelet.integrations.metric_goals import MetricGoals
from tracelet.integrations.patching import Function, Patch
from tracelet.integrations.tensor_values import detached

SANITY = "sanity_check"
"""The stage whose metrics Lightning discards."""


class MetricCapture:
    """Turns values that Lightning logs into points."""

    def __init__(self, sink: Sink, trainer_calls: TrainerCalls, goals: MetricGoals) -> None:
        self._emit = sink.emit
        self._flush = sink.flush
        self._trainer_calls = trainer_calls
        self._goals = goals
        self._steps = StepMetrics(sink, trainer_calls, goals)
        self._saved = False
        """Whether a checkpoint was saved and nothing was written since."""
        self._stepping: set[int] = set()
        """Connectors inside `update_train_step_metrics`, whose values are recorded already."""

    def patches(self, root: str) -> list[Patch]:
        """The two methods through which every metric passes, for one distribution of Lightning."""
        module = f"{root}.trainer.connectors.logger_connector.logger_connector"
        return [
            Patch(module, "_LoggerConnector.update_train_step_metrics", self._around_step, direct=True),
            Patch(module, "_LoggerConnector.log_metrics", self._around_log),
        ]

    def _around_step(self, original: Function) -> Function:
        trainer_calls, stepping, metrics = self._trainer_calls, self._stepping, self._steps

        def update_train_step_metrics(connector: Any, *args: Any, **kwargs: Any) -> Any:
            if not trainer_calls.recording:
                return original(connector, *args, **kwargs)
            try:
                metrics.take(connector)
                if self._saved:
                    self._hasten()
            except Exception as error:  # noqa: BLE001  a guard by hand saves three calls in every step
                failed("capturing the metrics of a step", error)
            stepping.add(id(connector))
            try:
                return original(connector, *args, **kwargs)
            finally:
                stepping.discard(id(connector))

        return update_train_step_metrics

    def _around_log(self, original: Function) -> Function:
        def log_metrics(connector: Any, *args: Any, **kwargs: Any) -> Any:
            if id(connector) not in self._stepping:
                with guard("capturing metrics"):
                    self._take_logged(connector, *args, **kwargs)
                    if self._saved:
                        self._hasten()
            with self._trainer_calls.relaying():
                return original(connector, *args, **kwargs)

        return log_metrics

    def before_checkpoint(self, trainer: Any) -> None:
        """Before a checkpoint is saved: take the values that it covers now, and flush those that follow at once."""
        self._saved = True
        self._steps.take_early(trainer)

    def _hasten(self) -> None:
        # An epoch's values come right after the callbacks that save it. Nothing waits for this.
        self._saved = False
        self._flush(0)

    def _take_logged(self, connector: Any, metrics: Mapping[str, Any], step: Any = None) -> None:
        """Epoch values, and the on-step values of evaluations: those that Lightning would pass to its loggers."""
        trainer = connector.trainer
        stage = getattr(trainer.state.stage, "value", "")
        if not metrics or stage == SANITY:
            return
        fit = self._trainer_calls.fit_of(trainer)
        if fit.trials:
            return
        if step is None:
            override = metrics.get("step")
            if override is None:
                step = trainer.fit_loop.epoch_loop._batches_that_stepped
            else:
                step = as_step(detached(override))
                metrics = {name: value for name, value in metrics.items() if name != "step"}
        on_step = connector._first_loop_iter is not None
        now, epoch = time.time(), trainer.current_epoch
        for name, value in metrics.items():
            if getattr(value, "numel", int)() > 1:
                continue
            result, key = self._series(fit, trainer._results, name, str(stage), on_step)
            weight = None if on_step or result is None else weight_of(result, trainer.world_size > 1)
            self._emit((key, step, detached(value), now, epoch, weight))

    def _series(self, fit: Fit, results: Any, name: str, stage: str, on_step: bool) -> tuple[Any, SeriesKey]:
        """The result with this name, if it came from `log`, and its series."""
        known = fit.cache
        found = known.get((name, stage, on_step))
        if found is not None and results is not None and results.get(found[0]) is found[1]:
            return found[1], found[2]
        for place, result in (results or {}).items():
            if results._forked_name(result, on_step)[1] == name and not result.has_reset:
                key = fit.key(name, stage, reduction(result, on_step))
                known[name, stage, on_step] = place, result, key
                if not result.is_tensor:
                    self._goals.state_torchmetric(name, result.value)
                return result, key
        return None, fit.key(name, stage, "mean")


def weight_of(result: Any, ranked: bool) -> Any:
    """The weight of an epoch's mean among ranks: the number of its examples; with several ranks also their sum."""
    if not result.is_tensor or not result.meta.is_mean_reduction:
        return None
    weight = detached(result.cumulated_batch_size)
    return (weight, detached(result.value)) if ranked and reduction(result, False) == "mean" else weight
