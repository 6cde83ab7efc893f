"""The span of a Lightning training, and one for each of its iterations.

Called on the training thread. The user's exceptions pass unchanged; they are recorded on the spans that they end.
`iteration_phases` records the phases inside an iteration.
"""

from __future__ import annotations

import contextlib
from typing import Any

from tracelet.guard import failed, guard
from tracelet.integrations.lightning.cuda_timing import device_clock
from tracelet.integrations.lightning.evaluation_loops import EvaluationLoops
from tracelet.integrations.lightning.iteration_timer import CurrentIteration, IterationTimer, loss_of
from tracelet.integrations.lightning.phase_hooks import IterationPhases
from tracelet.integrations.lightning.trainer_calls import TrainerCalls
from tracelet.integrations.patching import Function, Patch, PatchGroup
from tracelet.telemetry.names import LOOP_OF, TRAINING_ITERATION
from tracelet.telemetry.recording.span_recorder import SpanRecorder
from tracelet.telemetry.recording.training_job import TrainingJob

MEASURED_BATCH = 2
"""The batch whose operations are counted on request: the first one includes work that happens only once."""


class TrainingLoop:
    """Spans for training, validation, testing and prediction, and for each of their iterations."""

    def __init__(self, recorder: SpanRecorder, job: TrainingJob | None, trainer_calls: TrainerCalls) -> None:
        self._recorder = recorder
        self._job = job
        self._trainer_calls = trainer_calls
        self._current = CurrentIteration()
        self._evaluation_loops = EvaluationLoops(recorder, job, trainer_calls, self._current)
        self._phases = IterationPhases(recorder, self._current)
        self._manual_optimization_patches = PatchGroup(needed=0)
        """Patches that only trainings with manual optimization need."""

    def patches(self, root: str) -> list[Patch]:
        """All loops, for one distribution of Lightning."""
        return [
            Patch(f"{root}.loops.fit_loop", "_FitLoop.on_run_start", self._around_start),
            Patch(f"{root}.loops.fit_loop", "_FitLoop.run", self._around_fit),
            Patch(f"{root}.loops.training_epoch_loop", "_TrainingEpochLoop.advance", self._around_advance, direct=True),
            *self._evaluation_loops.patches(root),
            *self._phases.patches(root),
        ]

    def common(self) -> list[Patch]:
        """The patches common to both distributions."""
        found = Patch("torch.optim.optimizer", "Optimizer.zero_grad", self._phases.zero_grad, direct=True)
        self._manual_optimization_patches.add([found])
        return [found]

    def stop(self) -> None:
        """Every wrapper that somebody has kept calls its original from now on."""
        self._phases.recording = False
        self._current.loop = self._current.timer = None

    def _around_fit(self, original: Function) -> Function:
        def run(loop: Any, *args: Any, **kwargs: Any) -> Any:
            current = self._current
            outer = current.loop, current.timer
            current.loop = current.timer = None
            depth = len(self._recorder.stack)
            try:
                result = original(loop, *args, **kwargs)
            except BaseException as error:
                self._end_training(depth, error)
                raise
            else:
                self._end_training(depth, None)
            finally:
                current.loop, current.timer = outer
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
        fit = self._trainer_calls.fit_of(trainer)
        attributes: dict[str, Any] = {"fit": fit.number}
        if fit.trials:
            attributes["trial"] = True
        elif job is not None:
            job.training.device = device_of(trainer)
            start = int(loop.epoch_loop.total_batch_idx + 1)
            target = _target(trainer, loop)
            attributes.update(job.training.begin_loop(start, likely_target=target))
        span = self._recorder.begin_automatic(LOOP_OF[TRAINING_ITERATION], attributes)
        if span is not None and job is not None and not fit.trials:
            job.training.loop_started(span)
        clock = device_clock(trainer.strategy.root_device, self._recorder.sink)
        self._current.loop = timer = IterationTimer(TRAINING_ITERATION, self._recorder, job, bool(fit.trials), clock)
        if job is not None and job.config.measure_flops and job.training.measured_flops is None:
            timer.measuring = MEASURED_BATCH
        if not trainer.lightning_module.automatic_optimization:
            self._manual_optimization_patches.adjust_users(1)
            timer.manual = True

    def _end_training(self, depth: int, error: BaseException | None) -> None:
        with guard("closing the span of the training"):
            job, stack, timer = self._job, self._recorder.stack, self._current.loop
            if timer is not None:
                timer.close()
                if timer.manual:
                    self._manual_optimization_patches.adjust_users(-1)
                if timer.clock is not None:
                    timer.clock.close()
            loops = [span for span in stack[depth:] if span.name == LOOP_OF[TRAINING_ITERATION] and not span.ended]
            for span in loops:
                if job is not None and job.training.span is span:
                    job.training.end_loop(loss_of(timer.loss) if timer is not None else None)
                span.end(error)

    def _measured(self, original: Function, timer: IterationTimer) -> Function:
        """Call the original once, and count its floating-point operations with PyTorch's own counter."""

        def advance(*args: Any, **kwargs: Any) -> Any:
            counter: Any = None
            with contextlib.ExitStack() as stack:
                with guard("counting operations"):
                    from torch.utils.flop_counter import FlopCounterMode

                    counter = stack.enter_context(FlopCounterMode(display=False))
                result = original(*args, **kwargs)
            with guard("counting operations"):
                if self._job is not None and timer.samples and counter is not None:
                    self._job.training.measured_flops = counter.get_total_flops() / timer.samples
            return result

        return advance

    def _around_advance(self, original: Function) -> Function:
        def advance(loop: Any, *args: Any, **kwargs: Any) -> Any:
            current = self._current
            timer = current.loop
            if timer is None:
                return original(loop, *args, **kwargs)
            call = original
            if timer.measuring:
                timer.measuring -= 1
                call = original if timer.measuring else self._measured(original, timer)
            timer.start()
            current.timer = timer
            try:
                result = call(loop, *args, **kwargs)
            except StopIteration:
                with guard("closing the span of an iteration"):
                    (timer.skip if timer.batch_unused else timer.discard)()
                raise
            except BaseException as error:
                with guard("closing the span of an iteration"):
                    timer.fail(error)
                raise
            finally:
                current.timer = None
            try:
                (timer.finish if timer.marks else timer.discard)()
            except Exception as error:  # noqa: BLE001  a guard by hand saves three calls in every step
                failed("closing the span of an iteration", error)
            return result

        return advance


def _target(trainer: Any, loop: Any) -> int | None:
    """The number of batches that the training will take, if known."""
    batches, epochs = loop.max_batches, trainer.max_epochs
    if trainer.max_steps not in (-1, None):
        return int(trainer.max_steps * trainer.accumulate_grad_batches)
    if not epochs or epochs < 0 or batches == float("inf"):
        return None
    return int(batches * epochs)


def device_of(trainer: Any) -> str:
    """The name of the accelerator on which the model trains; empty on a CPU."""
    device = trainer.strategy.root_device
    if device.type != "cuda":
        return ""
    import torch

    return str(torch.cuda.get_device_name(device))
