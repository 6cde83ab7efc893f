"""One pass over a data loader, or the steps of a loop without one: the present iteration and its phases.

Called on the training thread, several times in every iteration. It takes the time and appends to a list, nothing else.
"""

from __future__ import annotations

import weakref
from time import perf_counter_ns
from typing import Any

from tracelet.telemetry.names import MODEL_BACKWARD, MODEL_FORWARD

NEGLIGIBLE = 20_000
"""Nanoseconds between two phases that are no phase of their own: nothing is computed in 20 us."""
BEFORE_CLEARING = 100_000
"""The same before gradients are cleared: most programs clear them first, on a batch that has just come."""


class LoaderPass:
    """The iterations over one iterator of a DataLoader; without an iterator, those that the optimizers end."""

    __slots__ = (
        "batches", "began", "begin", "evaluated", "iterator", "marks", "number", "partners", "samples", "step_end",
        "stepped", "trained",
    )  # fmt: skip

    def __init__(self, iterator: Any, number: int, now: int) -> None:
        self.iterator = None if iterator is None else weakref.ref(iterator)
        self.number = number
        """The id of the span that it has if it is an evaluation."""
        self.began = now
        self.partners: list[weakref.ref[Any]] = []
        """Iterators that give a batch to each of its iterations, too: `zip(labelled, unlabelled)`."""
        self.batches = 0
        self.evaluated = 0
        """Iterations that were an evaluation's."""
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
        """How long `marks` was when an optimizer's step ended last."""
        if self.stepped:
            self.stepped.clear()

    @property
    def is_over(self) -> bool:
        """Whether the loop has let go of its iterator: a `break` tells nobody."""
        return self.iterator is not None and self.iterator() is None

    def reads(self, iterator: Any) -> bool:
        """Whether this is the pass over the iterator."""
        return self.iterator is not None and self.iterator() is iterator

    def shares(self, iterator: Any) -> bool:
        """Whether the iterator gives further batches to the iterations of this pass."""
        return any(partner() is iterator for partner in self.partners)

    def absorb(self, other: LoaderPass) -> None:
        """The other one was no loop of its own: it gave a second batch to this iteration."""
        if other.iterator is not None:
            self.partners.append(other.iterator)
        self.marks += other.marks
        self.trained = self.trained or other.trained
        self.step_end = len(self.marks) if other.step_end else self.step_end
        self.stepped |= other.stepped

    def compute(self, negligible: int = NEGLIGIBLE) -> None:
        """A phase begins: what lies before it since the last one was the forward pass, and all that is not told."""
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
        """Of a loop without a loader: the iteration that the last step ended; this one goes on with what came after."""
        done = LoaderPass(None, self.number, self.begin)
        done.marks, rest = self.marks[: self.step_end], self.marks[self.step_end :]
        done.trained = True
        self.restart(done.marks[-1])
        self.marks = rest
        self.trained = MODEL_BACKWARD in rest
        return done
