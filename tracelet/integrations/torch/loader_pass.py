"""One pass over a data loader, or the steps of a loop without one: the current iteration and its phases.

Used by `plain_loop` on the training thread, which gives it the times that the hooks have noted.
"""

from __future__ import annotations

from typing import Any

from tracelet.integrations.torch.loop_events import (
    CLEARED,
    CLEARING,
    DIFFERENTIATED,
    DIFFERENTIATING,
    RECEIVED,
    STEPPED,
    Reading,
)
from tracelet.telemetry.names import DATA_LOADING, MODEL_BACKWARD, MODEL_FORWARD, OPTIMIZER_UPDATE, ZERO_GRAD

NEGLIGIBLE = 20_000
"""Nanoseconds between two phases that are not a separate phase: nothing is computed in 20 us."""
BEFORE_CLEARING = 100_000
"""The same before gradients are cleared: most programs clear them first, on a batch that has just arrived."""


PHASES = {
    RECEIVED: DATA_LOADING, CLEARED: ZERO_GRAD, DIFFERENTIATED: MODEL_BACKWARD, STEPPED: OPTIMIZER_UPDATE,
}  # fmt: skip
"""The phase that an event ends."""
WAITS = {DIFFERENTIATING: NEGLIGIBLE, CLEARING: BEFORE_CLEARING}
"""The events before which the model may have computed, and the nanoseconds that are not a forward pass."""


class LoaderPass:
    """The iterations over one iterator of a DataLoader; without an iterator, those that the optimizers end."""

    __slots__ = (
        "batches", "began", "begin", "evaluated", "iterator", "marks", "number", "partners", "samples", "step_end",
        "stepped", "trained",
    )  # fmt: skip

    def __init__(self, iterator: Reading | None, number: int, now: int) -> None:
        self.iterator = iterator
        self.number = number
        """The id of its span if it is an evaluation."""
        self.began = now
        self.partners: list[Reading] = []
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
        """Whether the loop has released its iterator."""
        return self.iterator is not None and self.iterator.released

    def shares(self, iterator: Reading) -> bool:
        """Whether the iterator yields further batches to the iterations of this pass."""
        return iterator in self.partners

    def absorb(self, other: LoaderPass) -> None:
        """The other pass was not a loop of its own: it yielded a second batch to this iteration."""
        if other.iterator is not None:
            self.partners.append(other.iterator)
        self.marks += other.marks
        self.trained = self.trained or other.trained
        self.step_end = len(self.marks) if other.step_end else self.step_end
        self.stepped |= other.stepped

    def advance(self, kind: int, now: int) -> None:
        """Something happened in the iteration: a phase ends, or the forward pass may have."""
        phase = PHASES.get(kind)
        if phase is not None:
            self.marks += phase, now
        elif kind in WAITS:
            self.compute(now, WAITS[kind])

    def compute(self, now: int, negligible: int = NEGLIGIBLE) -> None:
        """A phase begins: the time since the last phase is the forward pass, unless it is negligible."""
        marks = self.marks
        if now - (marks[-1] if marks else self.begin) > negligible:
            if marks and marks[-2] is MODEL_FORWARD:
                marks[-1] = now
            else:
                marks += MODEL_FORWARD, now

    def split(self) -> LoaderPass:
        """In a loop without a loader: the iteration that the last step ended; this one continues with what followed."""
        done = LoaderPass(None, self.number, self.begin)
        done.marks, rest = self.marks[: self.step_end], self.marks[self.step_end :]
        done.trained = True
        self.restart(done.marks[-1])
        self.marks = rest
        self.trained = MODEL_BACKWARD in rest
        return done
