"""One pass over a data loader, or the steps of a loop without one: the current iteration and its phases.

Called on the training thread, several times in every iteration. It only reads the clock and appends to a list.
"""

from __future__ import annotations

import weakref
from time import perf_counter_ns
from typing import Any

from tracelet.telemetry.names import MODEL_BACKWARD, MODEL_FORWARD

NEGLIGIBLE = 20_000
"""Nanoseconds between two phases that are not a separate phase: nothing is computed in 20 us."""
BEFORE_CLEARING = 100_000
"""The same before gradients are cleared: most programs clear them first, on a batch that has just arrived."""


class LoaderPass:
    """The iterations over one iterator of a DataLoader; without an iterator, those that the optimizers end."""

    __slots__ = (
        "batches", "began", "begin", "evaluated", "iterator", "marks", "number", "partners", "samples", "step_end",
        "stepped", "trained",
    )  # fmt: skip

    def __init__(self, iterator: Any, number: int, now: int) -> None:
        self.iterator = None if iterator is None else weakref.ref(iterator)
        self.number = number
        """The id of its span if it is an evaluation."""
        self.began = now
        self.partners: list[weakref.ref[Any]] = []
        """Iterators that also yield a batch to each of its iterations: `zip(labeled, unlabeled)`."""
        self.batches = 0
        self.evaluated = 0
        """The number of iterations that belonged to an evaluation."""
        self.stepped: set[int] = set()
        """Optimizers that have stepped in this iteration."""
        self.restart(now)

    def restart(self, now: int) -> None:
        """A new iteration begins."""
        self.begin = now
        self.marks: list[Any] = []
        self.samples = 0
        self.trained = False
        self.step_end = 0
        """The length of `marks` when the last optimizer step ended."""
        if self.stepped:
            self.stepped.clear()

    @property
    def is_over(self) -> bool:
        """Whether the loop has released its iterator: a `break` is not reported otherwise."""
        return self.iterator is not None and self.iterator() is None

    def reads(self, iterator: Any) -> bool:
        """Whether this is the pass over the iterator."""
        return self.iterator is not None and self.iterator() is iterator

    def shares(self, iterator: Any) -> bool:
        """Whether the iterator yields further batches to the iterations of this pass."""
        return any(partner() is iterator for partner in self.partners)

    def absorb(self, other: LoaderPass) -> None:
        """The other pass was not a loop of its own: it yielded a second batch to this iteration."""
        if other.iterator is not None:
            self.partners.append(other.iterator)
        self.marks += other.marks
        self.trained = self.trained or other.trained
        self.step_end = len(self.marks) if other.step_end else self.step_end
        self.stepped |= other.stepped

    def compute(self, negligible: int = NEGLIGIBLE) -> None:
        """A phase begins: the time since the last phase is the forward pass, unless it is negligible."""
        now, marks = perf_counter_ns(), self.marks
        if now - (marks[-1] if marks else self.begin) > negligible:
            if marks and marks[-2] is MODEL_FORWARD:
                marks[-1] = now
            else:
                marks += MODEL_FORWARD, now

    def mark(self, phase: str) -> None:
        """A phase ends."""
        self.marks += phase, perf_counter_ns()

    def split(self) -> LoaderPass:
        """In a loop without a loader: the iteration that the last step ended; this one continues with what followed."""
        done = LoaderPass(None, self.number, self.begin)
        done.marks, rest = self.marks[: self.step_end], self.marks[self.step_end :]
        done.trained = True
        self.restart(done.marks[-1])
        self.marks = rest
        self.trained = MODEL_BACKWARD in rest
        return done
