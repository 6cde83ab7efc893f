"""The on-step values of training batches, at every step, not only those at which Lightning logs.

Called on the training thread once per step: with `iteration_timer`, the hottest code of tracelet. Which results of
Lightning's collection are on-step series is determined once and cached as long as the collection is the same. On the
CPU a value becomes a number at once; on another device it stays a tensor that nothing modifies any more. Never reads a
device.
"""

from __future__ import annotations

import time
from typing import Any

from tracelet.capture.scalars import with_stream
from tracelet.integrations.base import SeriesGroup, SeriesKey, Sink
from tracelet.integrations.lightning.trainer_calls import Fit, TrainerCalls
from tracelet.integrations.metric_goals import MetricGoals
from tracelet.integrations.tensor_values import detached

STEP = "step"
"""The metric that Lightning uses as the step of all others."""


Given = dict[str, tuple[SeriesKey, Any, Any]]
"""By series name: its value, and Lightning's own object for it."""


def as_step(value: Any) -> Any:
    """A metric named `step` as Lightning reads it; on a device, the writer thread reads it later."""
    return value if hasattr(value, "is_cpu") else int(value)


def reduction(result: Any, on_step: bool) -> str:
    """The reduction over ranks: as the value was logged, or `synced` if Lightning or torchmetrics has reduced it."""
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


class StepPlan:
    """The results of a collection that are on-step series."""

    def __init__(self, fit: Fit, results: Any) -> None:
        self._results = results
        self._size = len(results)
        self._index = index = results.dataloader_idx
        self.found: list[tuple[Any, Any, SeriesKey]] = []
        """The result's key, the result, its series."""
        self.late: set[str] = set()
        """Names logged by a batch's end callbacks, at a time when a checkpoint may have been saved already."""
        for place, result in results.items():
            meta = result.meta
            if meta.on_step and meta.logger and meta.dataloader_idx == index:
                name = results._forked_name(result, True)[1]
                if meta.fx.startswith("on_train_batch_end"):
                    self.late.add(name)
                self.found.append((place, result, fit.key(name, "train", reduction(result, True))))
        keys = [key for _, _, key in self.found]
        names = {key.name for key in keys}
        self.plain = len(names) == len(keys) and STEP not in names
        """Whether every result is a point: no name occurs twice, none is the step of the others."""
        self.group = SeriesGroup(tuple(keys))

    def matches(self, results: Any) -> bool:
        """Whether the plan still matches the collection."""
        return results is self._results and len(results) == self._size and results.dataloader_idx == self._index

    def values(self) -> list[Any] | None:
        """A value for each series; None if one has no value in this step, or now has another result."""
        values = []
        current = self._results
        for place, result, _ in self.found:
            value = result._forward_cache
            on_cpu = getattr(value, "is_cpu", None)
            if on_cpu is None or result.has_reset or current.get(place) is not result:
                return None
            values.append(value.item() if on_cpu else _kept(result, value))
        return values

    def given(self) -> Given:
        """The results that have a value in this step."""
        found = {}
        for place, _, key in self.found:
            result = self._results.get(place)
            value: Any = getattr(result, "_forward_cache", None)
            on_cpu = getattr(value, "is_cpu", None)
            if on_cpu is not None and not result.has_reset:
                # A later result of the same name replaces an earlier one, as in Lightning's dictionary.
                found[key.name] = key, value.item() if on_cpu else _kept(result, value), value
        return found


def _kept(result: Any, value: Any) -> Any:
    # Lightning has cloned numbers and tensors; a torchmetrics object may still change its own.
    return with_stream(value.detach()) if result.is_tensor else detached(value)


class StepMetrics:
    """Takes the values of each training step, once."""

    def __init__(self, sink: Sink, trainer_calls: TrainerCalls, goals: MetricGoals) -> None:
        self._emit = sink.emit
        self._goals = goals
        self._trainer_calls = trainer_calls
        self._taken_early: dict[str, Any] = {}
        """The values taken before the end of their step: Lightning's own value by the name of the series."""

    def take(self, connector: Any) -> None:
        """The values of the batch that ends now."""
        trainer = connector.trainer
        plan = self._plan(trainer)
        if plan is None:
            return
        values = plan.values() if plan.plain and not self._taken_early else None
        if values is None:
            self._one_by_one(trainer, plan.given())
        else:
            loop = trainer.fit_loop
            step, epoch = loop.epoch_loop._batches_that_stepped, loop.epoch_progress.current.completed
            self._emit((plan.group, step, values, time.time(), epoch))

    def take_early(self, trainer: Any) -> None:
        """The values of a batch whose end callbacks are running, before a checkpoint that includes what it has learned.

        They are not taken again. A kill between the checkpoint and the step's end must not lose them, because a
        training that resumes from the checkpoint does not repeat this step.
        """
        progress = trainer.fit_loop.epoch_loop.batch_progress.current
        if not trainer.training or progress.processed != progress.completed + 1 or self._taken_early:
            return
        plan = self._plan(trainer)
        if plan is not None and plan.plain:
            given = {name: found for name, found in plan.given().items() if name not in plan.late}
            self._one_by_one(trainer, given)
            self._taken_early = {name: own for name, (_, _, own) in given.items()}

    def _plan(self, trainer: Any) -> StepPlan | None:
        """The plan of what to take in this step."""
        loop = trainer.fit_loop
        # The first comparison avoids a call to Lightning at every step, whose result is False without accumulation.
        accumulating = trainer.accumulate_grad_batches > 1 and loop._should_accumulate()
        if accumulating and trainer.lightning_module.automatic_optimization:
            return None
        fit = self._trainer_calls.fit_of(trainer)
        results = loop.epoch_loop._results
        if fit.trials or not results:
            return None
        plan: StepPlan | None = fit.cache.get("plan")
        if plan is None or not plan.matches(results):
            plan = fit.cache["plan"] = StepPlan(fit, results)
            for _, result, key in plan.found:
                if not result.is_tensor:
                    self._goals.state_torchmetric(key.name, result.value)
        return plan if plan.found else None

    def _one_by_one(self, trainer: Any, taken: Given) -> None:
        """For series that have gaps, share names, give their own step, or were taken early."""
        ahead, self._taken_early = self._taken_early, {}
        override = taken.pop(STEP, None)
        step = trainer.fit_loop.epoch_loop._batches_that_stepped if override is None else as_step(override[1])
        now, epoch = time.time(), trainer.current_epoch
        for name, (key, value, own) in taken.items():
            if name not in ahead or ahead[name] is not own:
                self._emit((key, step, value, now, epoch, None))
