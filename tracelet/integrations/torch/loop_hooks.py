"""The hooks in every plain PyTorch loop: the loader's next batch, the backward pass, the optimizers.

Called on the training thread. A hook notes the time and returns; at most ten times a second one of them makes
iterations of the notes. While a framework with its own hooks trains, they cost nothing (`training_loops`). They are
placed so that PyTorch's warnings still name the user's line.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import Any

from tracelet.guard import failed, guard
from tracelet.integrations.patching import Function, Patch
from tracelet.integrations.tensor_values import samples_of
from tracelet.integrations.torch import loop_events
from tracelet.integrations.torch.loop_records import LoopRecords
from tracelet.integrations.torch.optimizer_records import OptimizerRecords
from tracelet.integrations.torch.plain_loop import Loops, PlainLoop
from tracelet.integrations.torch.step_hooks import StepHooks

PLACE = "timing a training loop"


class LoopHooks:
    """Timing, if the run records spans, and values from optimizers and gradients."""

    def __init__(self, records: LoopRecords | None, optimizers: OptimizerRecords) -> None:
        self._records = records
        self._optimizers = optimizers
        self._here = Loops()
        self._loops: list[PlainLoop] = []
        self._recording = True

    def patches(self) -> list[Patch]:
        """The hooks; without spans, those that only time a loop are omitted."""
        found: list[Patch] = [
            StepHooks("torch", "optim", _same, True, True,
                      before=self._before_step, after=self._after_step),
            Patch("torch.autograd", "_engine_run_backward", self._around_backward, True, True),
            Patch("torch.nn.utils.clip_grad", "_get_total_norm", self._around_norm, True, True),
        ]  # fmt: skip
        if self._records is None:
            return found
        loader = "torch.utils.data.dataloader"
        return [
            *found,
            Patch(loader, "_SingleProcessDataLoaderIter._next_data", self._around_next, True, True),
            Patch(loader, "_MultiProcessingDataLoaderIter._next_data", self._around_next, True, True),
            Patch("torch.optim.optimizer", "Optimizer.zero_grad", self._around_zero, True, True),
            Patch("torch.nn.modules.module", "Module.eval", self._around_eval, True, True),
        ]

    def stop(self) -> None:
        """Record what is open, and nothing more afterwards."""
        self._recording = False
        for loop in self._loops:
            with guard(PLACE):
                loop.close()
        self._loops.clear()
        if self._records is not None:
            with guard(PLACE):
                self._records.close()

    def catch_up(self) -> None:
        """Make iterations of what the calling thread's hooks have noted so far."""
        loop = self._here.loop
        if loop is not None and self._recording:
            with guard(PLACE):
                loop.catch_up()

    def _loop(self) -> PlainLoop | None:
        """The current thread's loop; None where nothing is timed."""
        if self._records is None or not self._recording:
            return None
        loop = self._here.loop
        if loop is None:
            loop = self._here.loop = PlainLoop(self._records)
            self._loops.append(loop)
        return loop

    def _around_next(self, original: Function) -> Function:
        def next_data(iterator: Any) -> Any:
            loop = self._loop()
            if loop is None:
                return original(iterator)
            requested = loop.events.request(iterator)
            if requested > loop.events.due:
                self.catch_up()
            try:
                batch = original(iterator)
            except StopIteration:
                loop.events.exhaust(iterator)
                self.catch_up()
                raise
            self._received(loop, iterator, batch, requested)
            return batch

        return next_data

    def _received(self, loop: PlainLoop, iterator: Any, batch: Any, requested: int) -> None:
        with guard(PLACE):  # a batch may be of any class
            loop.events.receive(iterator, samples_of(batch))
            if self._records is not None:
                self._records.received(requested, batch)

    def _around_backward(self, original: Function) -> Function:
        def engine_run_backward(*args: Any, **kwargs: Any) -> Any:
            # `autograd.grad` passes through here as well: it returns gradients to the program and sets none on the
            # model.
            if not kwargs.get("accumulate_grad") or not self._recording:
                return original(*args, **kwargs)
            if self._optimizers.records_loss:
                with guard("recording the loss of backward()"):
                    self._optimizers.differentiate(args[0] if args else None)
            loop = self._loop()
            if loop is None:
                return original(*args, **kwargs)
            note = loop.events.note
            note(loop_events.DIFFERENTIATING)
            result = original(*args, **kwargs)
            note(loop_events.DIFFERENTIATED)
            return result

        return engine_run_backward

    def _around_zero(self, original: Function) -> Function:
        def zero_grad(optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            loop = self._loop()
            if loop is None:
                return original(optimizer, *args, **kwargs)
            note = loop.events.note
            note(loop_events.CLEARING)
            result = original(optimizer, *args, **kwargs)
            note(loop_events.CLEARED)
            return result

        return zero_grad

    def _around_norm(self, original: Function) -> Function:
        def get_total_norm(tensors: Any, norm_type: float = 2.0, *args: Any, **kwargs: Any) -> Any:
            norm = original(tensors, norm_type, *args, **kwargs)
            if self._recording:
                self._optimizers.clipped(norm, norm_type)
            return norm

        return get_total_norm

    def _around_eval(self, original: Function) -> Function:
        def eval(module: Any) -> Any:
            loop = self._loop()
            if loop is not None:
                loop.events.note(loop_events.PUT_INTO_EVALUATION)
            return original(module)

        return eval

    def _before_step(self, optimizer: Any) -> None:
        loop = self._loop()
        if loop is not None:
            loop.events.note(loop_events.STEPPING, id(optimizer))
            if perf_counter_ns() > loop.events.due:
                self.catch_up()
        if self._recording:
            try:
                self._optimizers.step(optimizer)
            except Exception as error:  # noqa: BLE001  a guard by hand saves three calls in every step
                failed("recording a step of an optimizer", error)

    def _after_step(self, optimizer: Any) -> None:
        loop = self._loop()
        if loop is not None:
            loop.events.note(loop_events.STEPPED, id(optimizer))


def _same(original: Function) -> Function:
    return original
