"""The spans of Lightning's loops and of their iterations.

Called on the training thread by wrappers around the few methods that every iteration passes. While no loop of ours runs
on a thread, each wrapper costs one look at a thread-local and calls the original. The user's exceptions pass untouched;
they are recorded on the spans that they end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

from tracelet.guard import guard
from tracelet.integrations.lightning.device import device_clock
from tracelet.integrations.lightning.lap import Lap, loss_of
from tracelet.integrations.lightning.lifecycle import Lifecycle
from tracelet.integrations.patching import Function, Patch
from tracelet.telemetry.job import Evaluations, Job
from tracelet.telemetry.names import (
    CALLBACKS,
    LOOP_OF,
    MODEL_BACKWARD,
    MODEL_FORWARD,
    OPTIMIZER_UPDATE,
    PREDICT_ITERATION,
    TESTING_ITERATION,
    TRAINING_ITERATION,
    VALIDATION_ITERATION,
    ZERO_GRAD,
)
from tracelet.telemetry.recorder import ActiveSpan, Recorder


class _Here(threading.local):
    """What runs on this thread."""

    loop: Lap | None = None
    """The iterations of the innermost loop."""
    lap: Lap | None = None
    """The same while one of them runs."""


class Loops:
    """Spans for training, validation, testing and prediction, and for each of their iterations."""

    def __init__(self, recorder: Recorder, job: Job | None, lifecycle: Lifecycle) -> None:
        self._recorder = recorder
        self._job = job
        self._lifecycle = lifecycle
        self._here = _Here()

    def patches(self, root: str) -> list[Patch]:
        """The points that every iteration passes, for one flavour of Lightning."""
        training, automatic = f"{root}.loops.training_epoch_loop", f"{root}.loops.optimization.automatic"
        forward, zeroed = self._ends(MODEL_FORWARD), self._ends(ZERO_GRAD)
        backward, update = self._around_phase(MODEL_BACKWARD), self._around_phase(OPTIMIZER_UPDATE)
        evaluation, prediction = f"{root}.loops.evaluation_loop", f"{root}.loops.prediction_loop"
        found = [
            Patch(f"{root}.loops.fit_loop", "_FitLoop.on_run_start", self._around_start),
            Patch(f"{root}.loops.fit_loop", "_FitLoop.run", self._around_fit),
            Patch(training, "_TrainingEpochLoop.advance", self._around_advance, direct=True),
            Patch(automatic, "_AutomaticOptimization._training_step", forward, direct=True),
            Patch(automatic, "_AutomaticOptimization._optimizer_zero_grad", zeroed, direct=True),
            Patch(f"{root}.loops.optimization.manual", "_ManualOptimization.run", self._around_manual, direct=True),
            Patch(f"{root}.strategies.strategy", "Strategy.backward", backward, direct=True),
            Patch(f"{root}.core.optimizer", "LightningOptimizer.step", update, direct=True),
            Patch(f"{root}.trainer.call", "_call_callback_hooks", self._around_callbacks, direct=True),
        ]
        for module, name, step in (
            (evaluation, "_EvaluationLoop", "_evaluation_step"),
            (prediction, "_PredictionLoop", "_predict_step"),
        ):
            found.append(Patch(module, f"{name}.run", self._around_evaluation))
            found.append(Patch(module, f"{name}.{step}", self._around_step, direct=True))
        for module, name in (
            (training, "_TrainingEpochLoop"), (evaluation, "_EvaluationLoop"), (prediction, "_PredictionLoop"),
        ):  # fmt: skip
            found.append(Patch(module, f"{name}._on_before_fetch", self._before_fetch, direct=True))
            found.append(Patch(module, f"{name}._on_after_fetch", self._after_fetch, direct=True))
        return found

    def stop(self) -> None:
        """From now on every wrapper that somebody has kept calls its original."""
        self._here = _Here()
        self._job = None

    # The training loop: from on_train_start to its end.

    def _around_fit(self, original: Function) -> Function:
        def run(loop: Any, *args: Any, **kwargs: Any) -> Any:
            here = self._here
            outer = here.loop, here.lap
            here.loop = here.lap = None
            depth = len(self._recorder.stack)
            try:
                result = original(loop, *args, **kwargs)
            except BaseException as error:
                self._end_training(depth, error)
                raise
            else:
                self._end_training(depth, None)
            finally:
                here.loop, here.lap = outer
            return result

        return run

    def _around_start(self, original: Function) -> Function:
        def on_run_start(loop: Any, *args: Any, **kwargs: Any) -> Any:
            with guard("opening the span of the training"):
                self._begin_training(loop)
            return original(loop, *args, **kwargs)

        return on_run_start

    def _begin_training(self, loop: Any) -> None:
        trainer, job = loop.trainer, self._job
        fit = self._lifecycle.fit_of(trainer)
        attributes: dict[str, Any] = {"fit": fit.number}
        if fit.trials:
            attributes["trial"] = True
        elif job is not None:
            job.training.device = device_of(trainer)
            start = int(loop.epoch_loop.total_batch_idx + 1)
            target = _target(trainer, loop)
            attributes.update(job.training.begin_loop(start, iterations_target=target))
        span = self._recorder.begin_found(LOOP_OF[TRAINING_ITERATION], attributes)
        if span is not None and job is not None and not fit.trials:
            job.training.opened(span)
        clock = device_clock(trainer.strategy.root_device, self._recorder.sink)
        self._here.loop = lap = Lap(TRAINING_ITERATION, self._recorder, job, bool(fit.trials), clock)
        lap.manual = not trainer.lightning_module.automatic_optimization

    def _end_training(self, depth: int, error: BaseException | None) -> None:
        with guard("closing the span of the training"):
            job, stack, lap = self._job, self._recorder.stack, self._here.loop
            if lap is not None and lap.clock is not None:
                lap.clock.close()
            loops = [span for span in stack[depth:] if span.name == LOOP_OF[TRAINING_ITERATION] and not span.ended]
            for span in loops:
                if job is not None and job.training.span is span:
                    job.training.end_loop(loss_of(lap.loss) if lap is not None else None)
                span.end(error)

    # Its iterations.

    def _around_advance(self, original: Function) -> Function:
        def advance(loop: Any, *args: Any, **kwargs: Any) -> Any:
            here = self._here
            lap = here.loop
            if lap is None:
                return original(loop, *args, **kwargs)
            lap.start()
            here.lap = lap
            try:
                result = original(loop, *args, **kwargs)
            except StopIteration:
                with guard("closing the span of an iteration"):
                    (lap.skip if lap.untouched else lap.drop)()
                raise
            except BaseException as error:
                with guard("closing the span of an iteration"):
                    lap.fail(error)
                raise
            finally:
                here.lap = None
            with guard("closing the span of an iteration"):
                (lap.finish if lap.marks else lap.drop)()
            return result

        return advance

    def _ends(self, phase: str) -> Callable[[Function], Function]:
        """A wrapper of what the phase ends with."""

        def around(original: Function) -> Function:
            def call(loop: Any, *args: Any, **kwargs: Any) -> Any:
                lap = self._here.lap
                if lap is None:
                    return original(loop, *args, **kwargs)
                try:
                    return original(loop, *args, **kwargs)
                finally:
                    lap.mark(phase)

            return call

        return around

    def _around_phase(self, phase: str) -> Callable[[Function], Function]:
        """A wrapper of what is the phase, in a manual optimization, and of what it ends with in an automatic one."""

        def around(original: Function) -> Function:
            def call(subject: Any, *args: Any, **kwargs: Any) -> Any:
                lap = self._here.lap
                if lap is None:
                    return original(subject, *args, **kwargs)
                if lap.manual:
                    lap.interrupted()
                try:
                    return original(subject, *args, **kwargs)
                finally:
                    lap.mark(phase)

            return call

        return around

    def _around_manual(self, original: Function) -> Function:
        def run(loop: Any, *args: Any, **kwargs: Any) -> Any:
            lap = self._here.lap
            if lap is None:
                return original(loop, *args, **kwargs)
            try:
                return original(loop, *args, **kwargs)
            finally:
                lap.interrupted()

        return run

    def zero_grad(self, original: Function) -> Function:
        """A wrapper of PyTorch's `Optimizer.zero_grad`, which only a manual optimization calls by itself."""

        def zero_grad(optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            lap = self._here.lap
            if lap is None or not lap.manual:
                return original(optimizer, *args, **kwargs)
            lap.interrupted()
            try:
                return original(optimizer, *args, **kwargs)
            finally:
                lap.mark(ZERO_GRAD)

        return zero_grad

    def _around_callbacks(self, original: Function) -> Function:
        def call_callback_hooks(trainer: Any, hook_name: str, *args: Any, **kwargs: Any) -> Any:
            lap = self._here.lap
            if lap is not None:
                began = perf_counter_ns()
                try:
                    return original(trainer, hook_name, *args, **kwargs)
                finally:
                    lap.called(hook_name, began, args)
            if self._job is None or not trainer.callbacks:
                return original(trainer, hook_name, *args, **kwargs)
            return self._between(original, trainer, hook_name, *args, **kwargs)

        return call_callback_hooks

    def _between(self, original: Function, trainer: Any, hook_name: str, *args: Any, **kwargs: Any) -> Any:
        """Callbacks outside iterations are rare and may be long: each hook is a span."""
        span: ActiveSpan | None = None
        with guard("opening the span of callbacks"):
            span = self._recorder.begin(CALLBACKS, {"hook": hook_name})
        try:
            result = original(trainer, hook_name, *args, **kwargs)
        except BaseException as error:
            _end(span, error)
            raise
        _end(span)
        return result

    # Data.

    def _before_fetch(self, original: Function) -> Function:
        def on_before_fetch(loop: Any) -> Any:
            here = self._here
            lap = here.lap
            if lap is None:
                if here.loop is not None and here.loop.name is not TRAINING_ITERATION:
                    here.lap = here.loop
                    here.loop.start()
            elif lap.opened:
                lap.interrupted()
            return original(loop)

        return on_before_fetch

    def _after_fetch(self, original: Function) -> Function:
        def on_after_fetch(loop: Any) -> Any:
            lap = self._here.lap
            if lap is not None:
                lap.fetched()
            return original(loop)

        return on_after_fetch

    # Validation, testing, prediction.

    def _around_evaluation(self, original: Function) -> Function:
        def run(loop: Any, *args: Any, **kwargs: Any) -> Any:
            here = self._here
            outer = here.loop, here.lap
            here.loop = here.lap = None
            span: ActiveSpan | None = None
            with guard("opening the span of an evaluation"):
                span = self._begin_evaluation(loop)
            try:
                result = original(loop, *args, **kwargs)
            except BaseException as error:
                self._end_evaluation(span, error)
                raise
            else:
                self._end_evaluation(span, None)
            finally:
                here.loop, here.lap = outer
            return result

        return run

    def _begin_evaluation(self, loop: Any) -> ActiveSpan | None:
        trainer = loop.trainer
        kind = TESTING_ITERATION if trainer.testing else VALIDATION_ITERATION
        kind = PREDICT_ITERATION if trainer.predicting else kind
        fit = self._lifecycle.fit_of(trainer)
        attributes: dict[str, Any] = {"fit": fit.number}
        if trainer.sanity_checking:
            attributes["sanity_check"] = True
        if fit.trials:
            attributes["trial"] = True
        span = self._recorder.begin_found(LOOP_OF[kind], attributes)
        self._here.loop = lap = Lap(kind, self._recorder, self._job)
        told = self._evaluations(kind)
        lap.meter = told.meter if told is not None and not fit.trials else None
        return span

    def _end_evaluation(self, span: ActiveSpan | None, error: BaseException | None) -> None:
        with guard("closing the span of an evaluation"):
            lap, loop = self._here.lap, self._here.loop
            if lap is not None:
                if error is None:
                    lap.drop()  # the last request found nothing
                else:
                    lap.fail(error)
            if span is not None:
                told = self._evaluations(loop.name if loop is not None else "")
                if told is not None and not span.ended and not span.attributes.get("trial"):
                    told.ended(span)
                span.end(error)

    def _evaluations(self, name: str) -> Evaluations | None:
        if self._job is None:
            return None
        return {VALIDATION_ITERATION: self._job.validation, TESTING_ITERATION: self._job.testing}.get(name)

    def _around_step(self, original: Function) -> Function:
        def step(loop: Any, *args: Any, **kwargs: Any) -> Any:
            here = self._here
            if here.lap is None:
                if here.loop is None:
                    return original(loop, *args, **kwargs)
                here.lap = here.loop  # a step that fetches its batch itself
                here.lap.start()
            lap = here.lap
            try:
                result = original(loop, *args, **kwargs)
            except StopIteration:
                here.lap = None
                lap.drop()
                raise
            except BaseException as error:
                here.lap = None
                with guard("closing the span of an iteration"):
                    lap.fail(error)
                raise
            here.lap = None
            with guard("closing the span of an iteration"):
                lap.finish()
            return result

        return step


def _end(span: ActiveSpan | None, error: BaseException | None = None) -> None:
    with guard("closing a span"):
        if span is not None:
            span.end(error)


def _target(trainer: Any, loop: Any) -> int | None:
    """How many batches the training is going to take, if that is known."""
    batches, epochs = loop.max_batches, trainer.max_epochs
    if trainer.max_steps not in (-1, None):
        return int(trainer.max_steps * trainer.accumulate_grad_batches)
    if not epochs or epochs < 0 or batches == float("inf"):
        return None
    return int(batches * epochs)


def device_of(trainer: Any) -> str:
    """The name of the accelerator that the model trains on; empty on a CPU."""
    device = trainer.strategy.root_device
    if device.type != "cuda":
        return ""
    import torch

    return str(torch.cuda.get_device_name(device))
