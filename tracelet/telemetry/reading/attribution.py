"""To which category each moment of a process belongs: a span inside another one counts at the deepest level.

Used by the analyses of a run's time. Pure; works on whole columns with numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracelet.telemetry.names import (
    BATCH_TRANSFER,
    CALLBACKS,
    CHECKPOINT_LOAD,
    COLLECTIVE_WAIT,
    DATA_LOADER_INIT,
    DATA_LOADING,
    DIST_INIT,
    METRIC_LOGGING,
    MODEL_BACKWARD,
    MODEL_FORWARD,
    MODEL_INIT,
    OPTIMIZER_INIT,
    OPTIMIZER_UPDATE,
    PREDICT_LOOP,
    SAVES,
    TESTING_LOOP,
    TRAINING_LOOP,
    VALIDATION_LOOP,
    ZERO_GRAD,
)
from tracelet.telemetry.reading.intervals import exclusive
from tracelet.telemetry.reading.process_columns import ProcessColumns

if TYPE_CHECKING:
    from tracelet.journal.column_packing import IntArray

IN_TRAINING = (
    "loading", "transfer", "forward", "backward", "optimizer", "callbacks", "logging", "collective_wait",
)  # fmt: skip
CATEGORY_OF = {
    DATA_LOADING: "loading", BATCH_TRANSFER: "transfer", MODEL_FORWARD: "forward", MODEL_BACKWARD: "backward",
    ZERO_GRAD: "optimizer", OPTIMIZER_UPDATE: "optimizer", CALLBACKS: "callbacks", METRIC_LOGGING: "logging",
    VALIDATION_LOOP: "validation", TESTING_LOOP: "testing", PREDICT_LOOP: "prediction", CHECKPOINT_LOAD: "checkpoints",
    MODEL_INIT: "initialization", DATA_LOADER_INIT: "initialization", OPTIMIZER_INIT: "initialization",
    DIST_INIT: "initialization", COLLECTIVE_WAIT: "collective_wait", **dict.fromkeys(SAVES, "checkpoints"),
}  # fmt: skip
EVALUATIONS = frozenset({VALIDATION_LOOP, TESTING_LOOP, PREDICT_LOOP})


class Attribution:
    """Of each span the nanoseconds that count for its category: `own`, 0 where it counts for none."""

    def __init__(self, columns: ProcessColumns) -> None:
        import numpy as np

        self.columns = columns
        evaluated = columns.inside(columns.named(*EVALUATIONS))
        deeper = columns.named(*SAVES, CHECKPOINT_LOAD, COLLECTIVE_WAIT)
        counted = columns.named(*CATEGORY_OF) & ~columns.tuned & ~(evaluated & ~deeper)
        self.counted = (counted & columns.main) | columns.trial
        own = np.zeros_like(columns.durations)
        own[self.counted] = exclusive(columns.starts[self.counted], columns.ends[self.counted])
        self.own: IntArray = own

    def category(self, name: str) -> str | None:
        """The category of spans of this name that are counted."""
        return "tuning" if name == TRAINING_LOOP else CATEGORY_OF.get(name)

    def by_period(self, starts: IntArray, ends: IntArray) -> dict[str, Any]:
        """By category, a column of nanoseconds with one value for each of these periods, which do not overlap."""
        import numpy as np

        columns: dict[str, Any] = {}
        for name, code in self.columns.codes.items():
            category = self.category(name)
            chosen = np.flatnonzero(self.counted & (self.columns.kinds == code))
            if category is None or not len(chosen):
                continue
            periods = np.searchsorted(starts, self.columns.starts[chosen], side="right") - 1
            known = (periods >= 0) & (self.columns.starts[chosen] < ends[np.maximum(periods, 0)])
            sums = np.bincount(periods[known], weights=self.own[chosen][known], minlength=len(starts))
            columns[category] = columns.get(category, 0) + sums
        return columns
