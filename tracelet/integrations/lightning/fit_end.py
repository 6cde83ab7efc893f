"""Why a fit ended, as attributes of `fit_finished`; and each early stopping with its reason.

Called on the training thread at a decision of an `EarlyStopping` and at the end of a fit. The outcome counts, not the
method that decides: subclasses override the criterion. Reads values that Lightning has computed, and computes none.
"""

from __future__ import annotations

import time
from typing import Any

from tracelet.capture.parameter_values import to_scalar
from tracelet.guard import guard
from tracelet.integrations.base import Sink
from tracelet.integrations.lightning.stop_requests import StopRequest, StopRequests, request_of
from tracelet.integrations.lightning.trainer_calls import Fit, TrainerCalls
from tracelet.integrations.patching import Function, Patch
from tracelet.journal.records import FINISHED, INTERRUPTED, PREEMPTED, Event, Scalar

MAX_EPOCHS, MAX_STEPS, MAX_TIME, SHOULD_STOP, NO_BATCHES = (
    "max_epochs", "max_steps", "max_time", "should_stop", "no_batches",
)  # fmt: skip
CAUSES = {INTERRUPTED: "interrupt", PREEMPTED: "preemption"}
"""Causes by status; `exception` for every other fit that has not finished."""
REASON = "early stopping reason"
"""The key under which a fit keeps the reason that a deciding callback gives."""


class FitEnd:
    """Adds `ended_by` and `stopped_by` to the end of a fit, and emits `early_stopping`."""

    def __init__(self, sink: Sink, trainer_calls: TrainerCalls) -> None:
        self._sink = sink
        self._trainer_calls = trainer_calls
        self._requests = StopRequests(trainer_calls)
        self._reasons: dict[int, str] = {}
        """By the id of a callback that is deciding now: the reason that Lightning's own criterion gives to stop."""
        trainer_calls.on_finish.append(self._end_of)

    def patches(self, root: str) -> list[Patch]:
        """The decision of an `EarlyStopping`, and the attribute that stops a training."""
        module = f"{root}.callbacks.early_stopping"
        return [
            *self._requests.patches(root),
            Patch(module, "EarlyStopping._run_early_stopping_check", self._around_check),
            Patch(module, "EarlyStopping._evaluate_stopping_criteria", self._around_criterion),
        ]

    def _around_criterion(self, original: Function) -> Function:
        def evaluate_stopping_criteria(callback: Any, current: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(callback, current, *args, **kwargs)
            with guard("following early stopping"):
                should_stop, reason = result
                if should_stop:
                    self._reasons[id(callback)] = str(reason or "")
            return result

        return evaluate_stopping_criteria

    def _around_check(self, original: Function) -> Function:
        def run_early_stopping_check(callback: Any, trainer: Any, *args: Any, **kwargs: Any) -> Any:
            before = getattr(callback, "stopped_epoch", 0)
            self._reasons.pop(id(callback), None)
            try:
                return original(callback, trainer, *args, **kwargs)
            finally:
                with guard("following early stopping"):
                    self._decided(callback, trainer, before)

        return run_early_stopping_check

    def _decided(self, callback: Any, trainer: Any, before: int) -> None:
        given = self._reasons.pop(id(callback), "")
        fit = self._trainer_calls.fit_of(trainer)
        request = request_of(fit)
        first = request is not None and not request.reported and _callback(request) is callback
        # A second callback that decides so in the same epoch changes nothing but its own `stopped_epoch`.
        if first or getattr(callback, "stopped_epoch", 0) != before:
            self._stopped(callback, trainer, fit, given, request if first else None)

    def _stopped(self, callback: Any, trainer: Any, fit: Fit, given: str, request: StopRequest | None) -> None:
        if request is not None:
            request.reported = True
        reason = getattr(callback, "stopping_reason_message", None) or given
        value = trainer._logger_connector._callback_metrics.get(callback.monitor)
        attributes: dict[str, Scalar] = {
            "monitor": callback.monitor, "value": to_scalar(value.cpu() if hasattr(value, "cpu") else value),
            "reason": reason or f"{type(callback).__name__} stopped the training",
            "callback": type(callback).__name__,
            "epoch": request.epoch if request else trainer.current_epoch,
            "step": request.step if request else trainer.global_step, "fit": fit.number,
        }  # fmt: skip
        moment = request.time if request else time.time_ns() // 1000
        self._sink.emit(Event(time=moment, name="early_stopping", attributes=attributes))

    def _end_of(self, trainer: Any, fit: Fit) -> dict[str, Scalar]:
        request = request_of(fit)
        if request is not None and not request.reported:
            callback = _callback(request)
            if any(base.__name__ == "EarlyStopping" for base in type(callback).__mro__):
                self._stopped(callback, trainer, fit, "", request)  # it overrides the whole check
        if fit.kind != "fit" or fit.tuned:
            return {}
        if fit.status != FINISHED:
            return {"ended_by": CAUSES.get(fit.status, "exception")}
        cause = _cause(trainer, request)
        stopped = request is not None and cause in (SHOULD_STOP, MAX_TIME)
        return {**({"ended_by": cause} if cause else {}), **({"stopped_by": request.by} if request and stopped else {})}


def _callback(request: StopRequest) -> Any:
    return request.callback() if request.callback is not None else None


def _cause(trainer: Any, request: StopRequest | None) -> str:
    """The condition that ended the loop, in the order in which Lightning checks them."""
    loop = trainer.fit_loop
    if loop.max_batches == 0 or trainer.limit_train_batches == 0:
        return NO_BATCHES
    progress = loop.epoch_loop.batch_progress
    asked = trainer.should_stop and loop._can_stop_early
    stop = (MAX_TIME if _is_timer(request) else SHOULD_STOP) if asked else ""
    if _is_reached(loop.epoch_loop.global_step, trainer.max_steps):
        return MAX_STEPS
    if stop and not progress.is_last_batch:
        return stop  # in the middle of an epoch, which counts as processed
    if _is_reached(loop.epoch_progress.current.processed, trainer.max_epochs):
        return MAX_EPOCHS
    return stop


def _is_timer(request: StopRequest | None) -> bool:
    callback = _callback(request) if request is not None else None
    return any(base.__name__ == "Timer" for base in type(callback).__mro__)


def _is_reached(count: int, limit: int | None) -> bool:
    return limit not in (None, -1) and count >= (limit or 0)
