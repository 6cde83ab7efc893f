"""The phases of an iteration: wrappers around the methods that begin and end them.

Called on the training thread. Outside a recorded iteration each wrapper reads one thread-local and calls the original.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

from tracelet.guard import guard
from tracelet.integrations.lightning.iteration_timer import INNER_HOOKS, MIN_HOOK_NS, CurrentIteration
from tracelet.integrations.patching import Function, Patch
from tracelet.telemetry.names import (
    CALLBACKS,
    DATA_LOADING,
    MODEL_BACKWARD,
    MODEL_FORWARD,
    OPTIMIZER_UPDATE,
    TRAINING_ITERATION,
    ZERO_GRAD,
)
from tracelet.telemetry.recording.span_recorder import ActiveSpan, SpanRecorder

BASES = ("lightning.pytorch.callbacks.callback", "pytorch_lightning.callbacks.callback")


class IterationPhases:
    """The phases of all iterations, and the callbacks between them."""

    def __init__(self, recorder: SpanRecorder, current: CurrentIteration) -> None:
        self._recorder = recorder
        self._current = current
        self.recording = True
        """Whether the run still records; a wrapper that somebody has kept outlives the run."""
        self._empty = set(INNER_HOOKS)
        """The hooks within phases that no callback has: most of them, and they take no time. Looked up before each
        epoch, when a hook outside of iterations is called.
        """

    def patches(self, root: str) -> list[Patch]:
        """The methods that every iteration calls, for one distribution of Lightning."""
        automatic = f"{root}.loops.optimization.automatic"
        forward, zeroed, backward, update = map(
            self._around_phase, (MODEL_FORWARD, ZERO_GRAD, MODEL_BACKWARD, OPTIMIZER_UPDATE)
        )
        found = [
            Patch(automatic, "_AutomaticOptimization._training_step", forward, direct=True),
            Patch(automatic, "_AutomaticOptimization._optimizer_zero_grad", zeroed, direct=True),
            Patch(f"{root}.loops.optimization.manual", "_ManualOptimization.run", self._around_manual, direct=True),
            Patch(f"{root}.strategies.strategy", "Strategy.backward", backward, direct=True),
            Patch(f"{root}.core.optimizer", "LightningOptimizer.step", update, direct=True),
            Patch(f"{root}.trainer.call", "_call_callback_hooks", self._around_callbacks, direct=True),
        ]
        for module, name in (
            ("training_epoch_loop", "_TrainingEpochLoop"),
            ("evaluation_loop", "_EvaluationLoop"),
            ("prediction_loop", "_PredictionLoop"),
        ):
            found.append(Patch(f"{root}.loops.{module}", f"{name}._on_before_fetch", self._before_fetch, direct=True))
            found.append(Patch(f"{root}.loops.{module}", f"{name}._on_after_fetch", self._after_fetch, direct=True))
        return found

    def _around_phase(self, phase: str) -> Callable[[Function], Function]:
        """Wraps a method that is a phase under manual optimization, and that ends one under automatic optimization."""

        def around(original: Function) -> Function:
            current = self._current

            def call(subject: Any, *args: Any, **kwargs: Any) -> Any:
                timer = current.timer
                if timer is None:
                    return original(subject, *args, **kwargs)
                if timer.manual:
                    timer.user_code_finished()
                try:
                    return original(subject, *args, **kwargs)
                finally:
                    timer.marks += phase, perf_counter_ns()
                    if timer.clock is not None:
                        timer.phase_finished()

            return call

        return around

    def _around_manual(self, original: Function) -> Function:
        current = self._current

        def run(loop: Any, *args: Any, **kwargs: Any) -> Any:
            timer = current.timer
            if timer is None:
                return original(loop, *args, **kwargs)
            try:
                return original(loop, *args, **kwargs)
            finally:
                timer.user_code_finished()

        return run

    def zero_grad(self, original: Function) -> Function:
        """Wraps PyTorch's `Optimizer.zero_grad`, which only manual optimization calls directly."""
        current = self._current

        def zero_grad(optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            timer = current.timer
            if timer is None or not timer.manual:
                return original(optimizer, *args, **kwargs)
            timer.user_code_finished()
            try:
                return original(optimizer, *args, **kwargs)
            finally:
                timer.marks += ZERO_GRAD, perf_counter_ns()
                timer.phase_finished()

        return zero_grad

    def _around_callbacks(self, original: Function) -> Function:
        current, empty = self._current, self._empty

        def call_callback_hooks(trainer: Any, hook_name: str, *args: Any, **kwargs: Any) -> Any:
            if hook_name in empty:
                return original(trainer, hook_name, *args, **kwargs)
            timer = current.timer
            if timer is not None:
                began = perf_counter_ns()
                try:
                    return original(trainer, hook_name, *args, **kwargs)
                finally:
                    if hook_name not in INNER_HOOKS or perf_counter_ns() - began > MIN_HOOK_NS:
                        timer.callbacks_finished(hook_name, began, args)
            if not self.recording or not trainer.callbacks:
                return original(trainer, hook_name, *args, **kwargs)
            return self._between(original, trainer, hook_name, *args, **kwargs)

        return call_callback_hooks

    def _between(self, original: Function, trainer: Any, hook_name: str, *args: Any, **kwargs: Any) -> Any:
        """Callbacks outside iterations are rare and may be long: each hook is a span."""
        span: ActiveSpan | None = None
        with guard("opening the span of callbacks"):
            for hook in INNER_HOOKS:
                if hook in self._empty and any(_has(callback, hook) for callback in trainer.callbacks):
                    self._empty.discard(hook)
            span = self._recorder.begin(CALLBACKS, {"hook": hook_name})
        try:
            result = original(trainer, hook_name, *args, **kwargs)
        except BaseException as error:
            _end(span, error)
            raise
        _end(span)
        return result

    def _before_fetch(self, original: Function) -> Function:
        current = self._current

        def on_before_fetch(loop: Any) -> Any:
            timer = current.timer
            if timer is None:
                if current.loop is not None and current.loop.name is not TRAINING_ITERATION:
                    current.timer = current.loop
                    current.loop.start()
            elif timer.opened:
                timer.user_code_finished()
            return original(loop)

        return on_before_fetch

    def _after_fetch(self, original: Function) -> Function:
        current = self._current

        def on_after_fetch(loop: Any) -> Any:
            timer = current.timer
            if timer is not None:
                # Later in an iteration: the batch goes to a step that fetches its own batches.
                timer.marks += DATA_LOADING, perf_counter_ns()
            return original(loop)

        return on_after_fetch


def _has(callback: Any, hook: str) -> bool:
    """Whether a callback overrides the empty hook of Lightning's base class."""
    empty = (vars(base).get(hook) for base in type(callback).__mro__ if base.__module__ in BASES)
    return getattr(getattr(callback, hook, None), "__func__", None) not in tuple(empty)


def _end(span: ActiveSpan | None, error: BaseException | None = None) -> None:
    with guard("closing a span"):
        if span is not None:
            span.end(error)
