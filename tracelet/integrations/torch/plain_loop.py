"""Finds the iterations of a plain PyTorch loop: from one request for a batch to the next.

Called on the training thread with the events that the hooks have noted; each thread has its own state. An iteration
with a backward pass or an optimizer step is a training iteration. One without gradients, or with a model in evaluation
mode, belongs to an evaluation. Anything else (a pass that computes means of the data, for example) is neither. A loop
without a DataLoader has iterations too: they end with its optimizers' steps.
"""

from __future__ import annotations

import threading
from typing import Any

from tracelet.integrations.torch.loader_pass import NEGLIGIBLE, LoaderPass
from tracelet.integrations.torch.loop_events import (
    DIFFERENTIATED,
    EXHAUSTED,
    PUT_INTO_EVALUATION,
    RECEIVED,
    RELEASED,
    REQUESTED,
    REQUESTED_WITHOUT_GRADIENTS,
    STEPPED,
    STEPPING,
    WIDTH,
    LoopEvents,
    Reading,
)
from tracelet.integrations.torch.loop_records import LoopRecords
from tracelet.telemetry.names import DATA_LOADING, MODEL_BACKWARD, MODEL_FORWARD, ZERO_GRAD
from tracelet.telemetry.recording.open_iterations import RunningIteration

PATIENCE = 1.0
"""Seconds that the end of a run waits for the writer to take events, which takes milliseconds."""
MOST_PASSES = 100
"""Nested passes that are kept; a program that keeps its iterators and never ends them has more."""


class PlainLoop:
    """The loops that run on one thread, the innermost last."""

    def __init__(self, records: LoopRecords) -> None:
        self.events = LoopEvents()
        self._records = records
        self._passes: list[LoaderPass] = []
        self._free: LoaderPass | None = None
        """The loop without a loader, if there is one."""
        self._evaluating = False
        """Whether a model was put into evaluation mode and no backward pass has run since."""
        self._stepping: list[int] = []
        """The optimizers that are inside their step: one may call others."""
        self._thread = threading.get_ident()
        records.register(self)
        self._cycle: frozenset[int] = frozenset()
        """The optimizers that stepped in the previous iteration of a loop without a loader."""
        self._lock = threading.Lock()
        self._taking = 0
        """The thread that takes events now."""

    def running_iteration(self) -> RunningIteration | None:
        """See `open_iterations.Loop`; called on the writer's thread. A loop without a loader has no beginning."""
        if self.events.overdue:  # the training thread waits for something: no hook will take them
            self.catch_up()
        passes = tuple(self._passes)
        if not passes:
            return None
        top = passes[-1]
        marks = tuple(top.marks)
        last = marks[-2] if len(marks) > 1 else ""
        known = {"": DATA_LOADING, DATA_LOADING: MODEL_FORWARD, MODEL_FORWARD: MODEL_BACKWARD, ZERO_GRAD: MODEL_FORWARD}
        return self._records.running(top.begin, self._thread, marks, known.get(last, ""), self._evaluating, top.number)

    def catch_up(self, patience: float = 0) -> None:
        """Take the events that were noted since the last time, on the loop's thread or the writer's; if the other one
        does so now, wait so many seconds for it. A forked child may have inherited the lock, so nothing waits long.
        """
        if self._taking == threading.get_ident():  # a report that an iteration makes due asks for the events before it
            return
        if not self._lock.acquire(timeout=patience) if patience else not self._lock.acquire(blocking=False):
            return
        self._taking = threading.get_ident()
        try:
            self._take(self.events.take())
        finally:
            self._taking = 0
            self._lock.release()

    def _take(self, noted: list[Any]) -> None:
        for place in range(0, len(noted), WIDTH):
            kind, now, subject, samples = noted[place : place + WIDTH]
            if kind in (REQUESTED, REQUESTED_WITHOUT_GRADIENTS):
                self._requested(subject, now, kind == REQUESTED)
            elif kind == EXHAUSTED:
                self._exhausted(subject)
            elif kind == RELEASED:
                subject.released = True
            elif kind == PUT_INTO_EVALUATION:
                self._evaluating = True
            elif kind == DIFFERENTIATED:
                self._differentiated(now)
            elif kind == STEPPING:
                self._step_begins(subject, now)
            else:
                current = self._current()
                if current is not None:
                    self._phase(current, kind, now, subject, samples)

    def _phase(self, current: LoaderPass, kind: int, now: int, subject: Any, samples: int) -> None:
        """An event that means nothing outside an iteration."""
        if kind == STEPPED:
            self._step_ended(current, subject, now)
            return
        current.advance(kind, now)
        if kind == RECEIVED and current.iterator is subject:
            current.batches += 1
            current.samples = samples

    def _requested(self, iterator: Reading, now: int, has_gradients: bool) -> None:
        """A batch is requested: the previous iteration ends and the next begins."""
        passes = self._passes
        if (not passes or passes[-1].iterator is not iterator) and not self._find(iterator, now):
            return
        top = passes[-1]
        if top.trained:
            self._records.trained(top, now, self._thread)
        elif top.marks and (self._evaluating or not has_gradients):
            self._records.evaluated(top, now, self._thread)
        top.restart(now)

    def _exhausted(self, iterator: Reading) -> None:
        """There was no further batch: the pass has ended, and everything still open in it."""
        place = next((place for place, found in enumerate(self._passes) if found.iterator is iterator), None)
        if place is None:
            return
        for inner in reversed(self._passes[place + 1 :]):
            self._abandon(inner)
        over = self._passes[place]
        del self._passes[place:]
        self._records.ended(over, over.begin, self._thread)

    def _differentiated(self, now: int) -> None:
        """A backward pass has ended."""
        self._evaluating = False
        current = self._current() or self._free_loop(now)
        current.advance(DIFFERENTIATED, now)
        current.trained = True

    def _step_begins(self, optimizer: int, now: int) -> None:
        """An optimizer is about to step; the time between backward pass and step (clipping) is part of it."""
        stepping = self._stepping
        if optimizer in stepping:  # its last step, or one that it was called by, has raised
            del stepping[stepping.index(optimizer) :]
        stepping.append(optimizer)
        if len(stepping) > 1:
            return
        current = self._current() or self._free_loop(now)
        if current is self._free and self._is_next(current, optimizer):
            self._cycle = frozenset(current.stepped)
            done = current.split()
            self._records.trained(done, done.marks[-1], self._thread)
        if not current.marks or current.marks[-2] is not MODEL_BACKWARD:
            current.compute(now)

    def _is_next(self, current: LoaderPass, optimizer: int) -> bool:
        """Whether this optimizer's step belongs to the next iteration: it has stepped, or all that usually
        step have.
        """
        stepped = current.stepped
        return optimizer in stepped or bool(stepped and stepped == self._cycle and optimizer not in self._cycle)

    def _step_ended(self, current: LoaderPass, optimizer: int, now: int) -> None:
        """The optimizer has stepped."""
        stepping = self._stepping
        if optimizer in stepping:
            del stepping[stepping.index(optimizer) :]
        if stepping:
            return
        current.advance(STEPPED, now)
        current.trained = True
        current.stepped.add(optimizer)
        current.step_end = len(current.marks)

    def close(self) -> None:
        """Stop recording: open iterations end with their last phase."""
        self._records.unregister(self)
        self.catch_up(PATIENCE)
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

    def _free_loop(self, now: int) -> LoaderPass:
        self._free = LoaderPass(None, self._records.reserve(), now)
        return self._free

    def _find(self, iterator: Reading, now: int) -> bool:
        """Make the pass over this iterator the innermost one; False if it has no pass of its own."""
        self._current()
        passes = self._passes
        if passes and passes[-1].shares(iterator):
            passes[-1].compute(now, NEGLIGIBLE)
            return False
        place = next((place for place, found in enumerate(passes) if found.iterator is iterator), None)
        if place is None:
            if len(passes) < MOST_PASSES:
                passes.append(LoaderPass(iterator, self._records.reserve(), now))
            return bool(passes) and passes[-1].iterator is iterator
        inner = passes[place + 1 :]
        del passes[place + 1 :]
        for one in reversed(inner):
            if len(inner) == 1 and one.batches == 1:
                passes[place].absorb(one)  # a second loader that alternates with the first
            else:
                self._abandon(one)
        return True

    def _abandon(self, one: LoaderPass) -> None:
        """A pass that was left before its end, at an unknown time."""
        end = one.marks[-1] if one.marks else one.begin
        if one.trained:
            self._records.trained(one, end, self._thread)
        self._records.ended(one, end, self._thread)


class Loops(threading.local):
    """The current thread's loop; created when the thread first reaches a hook."""

    loop: PlainLoop | None = None
