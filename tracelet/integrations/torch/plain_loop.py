"""Finds the iterations of a plain PyTorch loop: from one request for a batch to the next.

Called on the training thread by the wrappers of `loop_hooks`; each thread has its own state. An iteration with a
backward pass or an optimizer step is a training iteration. One without gradients, or with a model in evaluation mode,
belongs to an evaluation. Anything else (a pass that computes means of the data, for example) is neither. A loop without
a DataLoader has iterations too: they end with its optimizers' steps.
"""

from __future__ import annotations

import threading
from time import perf_counter_ns
from typing import Any

from tracelet.integrations.tensor_values import samples_of
from tracelet.integrations.torch.loader_pass import BEFORE_CLEARING, LoaderPass
from tracelet.integrations.torch.loop_records import LoopRecords
from tracelet.telemetry.names import DATA_LOADING, MODEL_BACKWARD, MODEL_FORWARD, OPTIMIZER_UPDATE, ZERO_GRAD
from tracelet.telemetry.recording.open_iterations import RunningIteration

MOST_PASSES = 100
"""Nested passes that are kept; a program that keeps its iterators and never ends them has more."""


class PlainLoop:
    """The loops that run on one thread, the innermost last."""

    def __init__(self, records: LoopRecords) -> None:
        import torch

        self._records = records
        self._has_gradients = torch.is_grad_enabled
        self._passes: list[LoaderPass] = []
        self._free: LoaderPass | None = None
        """The loop without a loader, if there is one."""
        self.evaluating = False
        """Whether a model was put into evaluation mode and no backward pass has run since."""
        self._nested_steps = 0
        self._thread = threading.get_ident()
        records.register(self)
        self._cycle: frozenset[int] = frozenset()
        """The optimizers that stepped in the previous iteration of a loop without a loader."""

    def running_iteration(self) -> RunningIteration | None:
        """See `open_iterations.Loop`; called on the writer's thread. A loop without a loader has no beginning."""
        passes = tuple(self._passes)
        if not passes:
            return None
        top = passes[-1]
        marks = tuple(top.marks)
        last = marks[-2] if len(marks) > 1 else ""
        known = {"": DATA_LOADING, DATA_LOADING: MODEL_FORWARD, MODEL_FORWARD: MODEL_BACKWARD, ZERO_GRAD: MODEL_FORWARD}
        return self._records.running(top.begin, self._thread, marks, known.get(last, ""), self.evaluating, top.number)

    def requested(self, iterator: Any) -> None:
        """A batch is requested: the previous iteration ends and the next begins."""
        now = perf_counter_ns()
        passes = self._passes
        if (not passes or not passes[-1].reads(iterator)) and not self._find(iterator, now):
            return
        top = passes[-1]
        self._finish(top, now)
        top.restart(now)

    def received(self, iterator: Any, batch: Any) -> None:
        """The batch has arrived."""
        current = self._current()
        if current is None:
            return
        current.mark(DATA_LOADING)
        if current.reads(iterator):
            current.batches += 1
            current.samples = samples_of(batch)
            self._records.received(current.begin, batch)

    def exhausted(self, iterator: Any) -> None:
        """There was no further batch: the pass has ended, and everything still open in it."""
        place = next((place for place, found in enumerate(self._passes) if found.reads(iterator)), None)
        if place is None:
            return
        for inner in reversed(self._passes[place + 1 :]):
            self._abandon(inner)
        over = self._passes[place]
        del self._passes[place:]
        self._records.ended(over, over.begin)

    def compute(self) -> None:
        """A phase begins that the forward pass precedes."""
        current = self._current()
        if current is not None:
            current.compute()

    def clear(self) -> None:
        """Gradients are about to be cleared: the forward pass may have come before, or not."""
        current = self._current()
        if current is not None:
            current.compute(BEFORE_CLEARING)

    def differentiated(self) -> None:
        """A backward pass has ended."""
        self.evaluating = False
        current = self._current() or self._free_loop()
        current.mark(MODEL_BACKWARD)
        current.trained = True

    def mark(self, phase: str) -> None:
        """A phase has ended."""
        current = self._current()
        if current is not None:
            current.mark(phase)

    def step_begins(self, optimizer: Any) -> None:
        """An optimizer is about to step; the time between backward pass and step (clipping) is part of it."""
        self._nested_steps += 1
        if self._nested_steps > 1:
            return
        current = self._current() or self._free_loop()
        if current is self._free and self._is_next(current, id(optimizer)):
            self._cycle = frozenset(current.stepped)
            done = current.split()
            self._records.trained(done, done.marks[-1])
        if not current.marks or current.marks[-2] is not MODEL_BACKWARD:
            current.compute()

    def _is_next(self, current: LoaderPass, optimizer: int) -> bool:
        """Whether this optimizer's step belongs to the next iteration: it has stepped, or all that usually
        step have.
        """
        stepped = current.stepped
        return optimizer in stepped or bool(stepped and stepped == self._cycle and optimizer not in self._cycle)

    def step_ended(self, optimizer: Any) -> None:
        """The optimizer has stepped."""
        self._nested_steps = max(0, self._nested_steps - 1)
        current = self._current()
        if self._nested_steps or current is None:
            return
        current.mark(OPTIMIZER_UPDATE)
        current.trained = True
        current.stepped.add(id(optimizer))
        current.step_end = len(current.marks)

    def close(self) -> None:
        """Stop recording: open iterations end with their last phase."""
        self._records.unregister(self)
        while self._passes:
            self._abandon(self._passes.pop())
        free, self._free = self._free, None
        if free is not None:
            self._abandon(free)

    def _current(self) -> LoaderPass | None:
        passes = self._passes
        while passes and passes[-1].is_over:
            self._abandon(passes.pop())
        return passes[-1] if passes else self._free

    def _free_loop(self) -> LoaderPass:
        self._free = LoaderPass(None, self._records.reserve(), perf_counter_ns())
        return self._free

    def _find(self, iterator: Any, now: int) -> bool:
        """Make the pass over this iterator the innermost one; False if it has no pass of its own."""
        self._current()
        passes = self._passes
        if passes and passes[-1].shares(iterator):
            passes[-1].compute()
            return False
        place = next((place for place, found in enumerate(passes) if found.reads(iterator)), None)
        if place is None:
            if len(passes) < MOST_PASSES:
                passes.append(LoaderPass(iterator, self._records.reserve(), now))
            return bool(passes) and passes[-1].reads(iterator)
        inner = passes[place + 1 :]
        del passes[place + 1 :]
        for one in reversed(inner):
            if len(inner) == 1 and one.batches == 1:
                passes[place].absorb(one)  # a second loader that alternates with the first
            else:
                self._abandon(one)
        return True

    def _finish(self, done: LoaderPass, end: int) -> None:
        if done.trained:
            self._records.trained(done, end)
        elif done.marks and (self.evaluating or not self._has_gradients()):
            self._records.evaluated(done, end)

    def _abandon(self, one: LoaderPass) -> None:
        """A pass that was left before its end, at an unknown time."""
        end = one.marks[-1] if one.marks else one.begin
        if one.trained:
            self._records.trained(one, end)
        self._records.ended(one, end)


class Loops(threading.local):
    """The current thread's loop; created when the thread first reaches a hook."""

    loop: PlainLoop | None = None
