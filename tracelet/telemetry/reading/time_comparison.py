"""Which phase of a training got slower from one run to another, and whether that is more than noise. Pure.

Used by `tracelet time A B`. The iterations of each process are cut into windows; a phase has one mean per window, and
two runs differ where their means differ by more than three standard errors (about 1 in 370 by chance, if windows are
independent) and by more than one percent. The first iteration of each process is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tracelet.telemetry.reading.attribution import IN_TRAINING, Attribution

if TYPE_CHECKING:
    from numpy.typing import NDArray

NANO = 1e9
WINDOWS = 20
"""Of each process; fewer where a window would have less than two iterations."""
MIN_WINDOWS = 5
ERRORS = 3.0
"""Standard errors beyond which a difference is no noise."""
MIN_CHANGE = 0.01
"""Share of the iteration below which a difference is not worth a word."""
ITERATION = "iteration"


@dataclass(frozen=True)
class PhaseChange:
    """One phase in two runs, in seconds of an iteration; `iteration` is all phases together."""

    phase: str
    before: float
    after: float
    error: float
    """The standard error of the difference."""
    significant: bool
    """Whether the difference is more than noise, and at least a hundredth of an iteration."""

    @property
    def change(self) -> float:
        """The relative change."""
        return (self.after - self.before) / self.before if self.before else 0.0


@dataclass(frozen=True)
class TrainingFacts:
    """What two runs must have in common to be compared."""

    ranks: int
    batch: float
    """Samples of an iteration over all ranks; 0 if unknown."""


def refusal(before: TrainingFacts, after: TrainingFacts) -> str:
    """Why two runs cannot be compared; empty if they can."""
    if before.ranks != after.ranks:
        return f"one trains on {before.ranks} ranks, the other on {after.ranks}"
    if before.batch and after.batch and abs(before.batch - after.batch) > MIN_CHANGE * before.batch:
        return f"one has {before.batch:g} samples in an iteration, the other {after.batch:g}"
    return ""


def windows(processes: Sequence[Attribution]) -> dict[str, NDArray[Any]]:
    """By phase, seconds of an iteration in each window of each process; `iteration` is all of it."""
    import numpy as np

    found: dict[str, list[Any]] = {}
    for process in processes:
        rows = process.columns.iterations()[1:]
        count = min(WINDOWS, len(rows) // 2)
        if count < MIN_WINDOWS:
            continue
        columns = process.by_period(process.columns.starts[rows], process.columns.ends[rows])
        columns[ITERATION] = process.columns.durations[rows]
        zeros = np.zeros(len(rows))
        for phase in (*IN_TRAINING, ITERATION):
            parts = np.array_split(columns.get(phase, zeros), count)
            found.setdefault(phase, []).append([float(part.mean()) / NANO for part in parts])
    return {phase: np.concatenate(parts) for phase, parts in found.items()}


def compare(before: dict[str, NDArray[Any]], after: dict[str, NDArray[Any]]) -> list[PhaseChange]:
    """The iteration and its phases, the largest slowdown first; phases that neither run has are left out."""
    whole = float(before[ITERATION].mean())
    found = []
    for phase, values in before.items():
        others = after[phase]
        old, new = float(values.mean()), float(others.mean())
        if not old and not new:
            continue
        error = float((values.var(ddof=1) / len(values) + others.var(ddof=1) / len(others)) ** 0.5)
        real = abs(new - old) > ERRORS * error and abs(new - old) >= MIN_CHANGE * whole
        found.append(PhaseChange(phase, old, new, error, real))
    return sorted(found, key=lambda one: (one.phase != ITERATION, one.before - one.after))
