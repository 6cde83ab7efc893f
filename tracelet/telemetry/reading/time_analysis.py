"""The breakdown of a run's wall time, computed from its spans: shares, trends, slow iterations, stragglers.

Pure: takes a `SpanTable`, returns plain data; used by `tracelet time` and the dashboard. Works on whole columns with
numpy, so that a run of a million iterations takes seconds. Every moment of a process counts once: a span inside another
one (a checkpoint that a callback saves) counts at the deepest level; time without a category goes to the program's own
spans, the largest few by name; unexplained time is `other`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracelet.store.span_table import SpanTable
from tracelet.telemetry.names import (
    APPLICATION,
    BATCH_TRANSFER,
    CALLBACKS,
    CHECKPOINT_LOAD,
    DATA_LOADER_INIT,
    DATA_LOADING,
    DIST_INIT,
    KNOWN,
    METRIC_LOGGING,
    MODEL_BACKWARD,
    MODEL_FORWARD,
    MODEL_INIT,
    OPTIMIZER_INIT,
    OPTIMIZER_UPDATE,
    PREDICT_LOOP,
    SAVES,
    TESTING_LOOP,
    TRAINING_ITERATION,
    TRAINING_LOOP,
    VALIDATION_LOOP,
    ZERO_GRAD,
)
from tracelet.telemetry.reading.intervals import Coverage, exclusive
from tracelet.telemetry.reading.process_times import CATEGORIES, ProcessTimes, SlowIteration, sorted_by_category

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from tracelet.journal.column_packing import IntArray

    Mask = npt.NDArray[np.bool_]

NANO = 1e9
IN_TRAINING = ("loading", "transfer", "forward", "backward", "optimizer", "callbacks", "logging")
CATEGORY_OF = {
    DATA_LOADING: "loading", BATCH_TRANSFER: "transfer", MODEL_FORWARD: "forward", MODEL_BACKWARD: "backward",
    ZERO_GRAD: "optimizer", OPTIMIZER_UPDATE: "optimizer", CALLBACKS: "callbacks", METRIC_LOGGING: "logging",
    VALIDATION_LOOP: "validation", TESTING_LOOP: "testing", PREDICT_LOOP: "prediction", CHECKPOINT_LOAD: "checkpoints",
    MODEL_INIT: "initialization", DATA_LOADER_INIT: "initialization", OPTIMIZER_INIT: "initialization",
    DIST_INIT: "initialization", **dict.fromkeys(SAVES, "checkpoints"),
}  # fmt: skip
EVALUATIONS = frozenset({VALIDATION_LOOP, TESTING_LOOP, PREDICT_LOOP})
SLOWEST = 10
MAX_PROGRAM_SPANS = 8
"""Spans of the program's own with a row each; a program may name thousands."""
MIN_ITERATIONS = 6
"""Fewer iterations have no trend."""


def analyse(table: SpanTable) -> list[ProcessTimes]:
    """One entry for each process of the run that recorded spans, by rank and attempt."""
    import numpy as np

    found = []
    for process in np.unique(table.processes).tolist():
        places = np.flatnonzero(table.processes == process)
        found.append(_Process(table, places, int(process)).times())
    return found


class _Process:
    """The spans of one process as columns."""

    def __init__(self, table: SpanTable, places: IntArray, process: int) -> None:
        import numpy as np

        codes: dict[str, int] = {}
        names = table.names
        self.kinds = np.array([codes.setdefault(names[place], len(codes)) for place in places.tolist()], dtype=np.int64)
        self.codes = codes
        self.names = list(codes)
        self.ids, self.starts = table.ids[places], table.starts_ns[places]
        self.durations = table.durations_ns[places].copy()
        self.open = np.flatnonzero(self.durations < 0)
        latest = int((self.starts + np.maximum(self.durations, 0)).max())
        self.durations[self.open] = latest - self.starts[self.open]
        self.ends = self.starts + self.durations
        threads = table.threads[places]
        self.main = threads == threads[np.argmin(self.starts)]
        self.rank, self.process = int(table.ranks[places[0]]), process
        self.trials = {
            int(table.ids[place])
            for place in places.tolist()
            if names[place] == TRAINING_LOOP and table.attributes.get(place, {}).get("trial")
        }
        self.hooks = {row: table.attributes.get(place, {}).get("hook") for row, place in enumerate(places.tolist())
                      if place in table.attributes and names[place] == CALLBACKS}  # fmt: skip
        """By place, the hook of callbacks that stand alone."""
        self.parents = table.parents[places]
        self.above = self._places_of(self.parents)
        self.begin, self.total = self.starts.min(keepdims=True), int(self.ends.max() - self.starts.min())
        applications = np.flatnonzero(self.named(APPLICATION))
        if len(applications):
            longest = applications[[int(np.argmax(self.durations[applications]))]]
            self.begin, self.total = self.starts[longest], int(self.durations[longest].sum())

    def _places_of(self, ids: IntArray) -> IntArray:
        """Where these ids stand; -1 where they do not."""
        import numpy as np

        order = np.argsort(self.ids)
        known = self.ids[order]
        found = np.minimum(np.searchsorted(known, ids), len(known) - 1)
        return np.where(known[found] == ids, order[found], -1)

    def named(self, *names: str) -> Mask:
        """Which spans have one of these names."""
        import numpy as np

        wanted = [self.codes[name] for name in names if name in self.codes]
        found: Mask = np.isin(self.kinds, wanted)
        return found

    def inside(self, mask: Mask) -> Mask:
        """Which spans have one of these as an ancestor."""
        import numpy as np

        found: Mask = np.zeros(len(self.ids), dtype=bool)
        has_parent = self.above >= 0
        while True:
            reached = has_parent & (mask[self.above] | found[self.above])
            if (reached == found).all():
                return found
            found = reached

    def times(self) -> ProcessTimes:
        """The complete breakdown of this process."""
        import numpy as np

        training = self.named(TRAINING_LOOP)
        trial = training & np.isin(self.ids, list(self.trials))
        tuned = self.inside(trial) | trial
        total = self.total
        parts, within = self._parts(tuned, trial)
        parts["other"] = max(0.0, total / NANO - sum(parts.values()))
        found = ProcessTimes(
            rank=self.rank, process=self.process, total=total / NANO,
            training=float(self.durations[training & ~tuned].sum()) / NANO,
            parts={name: parts[name] for name in sorted_by_category(parts) if parts[name]}, within=within,
            open=[self.names[self.kinds[place]] for place in self.open.tolist()],
        )  # fmt: skip
        self._iterations(found, self.named(TRAINING_ITERATION) & ~tuned)
        return found

    def _parts(self, tuned: Mask, trial: Mask) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
        """Seconds by category, and by what some of them consist of. Each span counts less what lies deeper in it and
        is counted too.
        """
        import numpy as np

        evaluated = self.inside(self.named(*EVALUATIONS))
        saves = self.named(*SAVES, CHECKPOINT_LOAD)
        counted = self.named(*CATEGORY_OF) & ~tuned & ~(evaluated & ~saves)
        counted = (counted & self.main) | trial
        own = np.zeros_like(self.durations)
        own[counted] = exclusive(self.starts[counted], self.ends[counted])
        parts: dict[str, float] = {}
        within: dict[str, dict[str, float]] = {}
        for name, code in self.codes.items():
            category = "tuning" if name == TRAINING_LOOP else CATEGORY_OF.get(name)
            if category is None:
                continue
            seconds = float(own[counted & (self.kinds == code)].sum()) / NANO
            parts[category] = parts.get(category, 0.0) + seconds
            if category == "initialization" and seconds:
                within.setdefault(category, {})[name] = seconds
        for row, hook in self.hooks.items():
            if counted[row] and hook:
                hooks = within.setdefault("callbacks", {})
                hooks[hook] = hooks.get(hook, 0.0) + float(own[row]) / NANO
        waits = self.inside(self.named(VALIDATION_LOOP)) & self.named(DATA_LOADING) & ~tuned
        if waits.any():
            within["validation"] = {"loading": float(self.durations[waits].sum()) / NANO}
        own_parts, program = self._own(counted, tuned)
        told = counted | program
        within["other"] = self._unexplained(Coverage(self.starts[told], self.ends[told]), tuned)
        return {**parts, **own_parts}, within

    def _own(self, counted: Mask, tuned: Mask) -> tuple[dict[str, float], Mask]:
        """Seconds by span of the program's own, the largest few, and which spans these are.

        Only of time that has no category: a span inside a forward pass is forward. One around loops or iterations says
        nothing about what happens in them.
        """
        import numpy as np

        known = Coverage(self.starts[counted], self.ends[counted])
        around = self._around(self.named(TRAINING_LOOP, TRAINING_ITERATION))
        program = self.main & ~self.named(*KNOWN) & ~around & ~tuned
        starts, ends, kinds = self.starts[program], self.ends[program], self.kinds[program]
        own = exclusive(starts - known.until(starts), ends - known.until(ends))
        sums: dict[str, float] = {}
        for kind in np.unique(kinds).tolist():
            name = self.names[kind]
            label = f"{name} (span)" if name in CATEGORIES else name
            sums[label] = float(own[kinds == kind].sum()) / NANO
        largest = sorted((name for name in sums if sums[name]), key=lambda name: -sums[name])[:MAX_PROGRAM_SPANS]
        return {name: sums[name] for name in largest}, program

    def _unexplained(self, told: Coverage, tuned: Mask) -> dict[str, float]:
        """Where time lies that is inside no span that tells what happens, in seconds."""
        whole = float(told.uncovered(self.begin, self.begin + self.total).sum()) / NANO
        loops = self._uncovered(told, self.named(TRAINING_LOOP) & ~tuned)
        iterations = self._uncovered(told, self.named(TRAINING_ITERATION) & ~tuned)
        return {
            "in training iterations": iterations,
            "in training loops, between iterations": max(0.0, loops - iterations),
            "outside training loops": max(0.0, whole - max(loops, iterations)),
        }

    def _uncovered(self, told: Coverage, mask: Mask) -> float:
        chosen = mask & self.main
        return float(told.uncovered(self.starts[chosen], self.ends[chosen]).sum()) / NANO

    def _around(self, mask: Mask) -> Mask:
        """Which spans have one of these inside."""
        import numpy as np

        found: Mask = np.zeros(len(self.ids), dtype=bool)
        above = np.unique(self.above[mask])
        while len(above := above[above >= 0]):
            found[above] = True
            above = np.unique(self.above[above])
        return found

    def _iterations(self, found: ProcessTimes, iterations: Mask) -> None:
        """Medians, slow ones and trends of the training iterations."""
        import numpy as np

        places = np.flatnonzero(iterations)
        found.iterations = len(places)
        if not len(places):
            return
        durations = self.durations[places]
        median = float(np.median(durations))
        found.median, found.slow_limit = median / NANO, 5 * median / NANO
        slow = durations > 5 * median
        found.slow_count, found.slow_seconds = int(slow.sum()), float((durations[slow] - median).sum()) / NANO
        phases = self._phases(places)
        for place in np.argsort(durations)[::-1][:SLOWEST].tolist():
            worst = max(phases, key=lambda name: float(phases[name][place]), default="")
            found.slowest.append(
                SlowIteration(
                    number=place, seconds=float(durations[place]) / NANO, start_ns=int(self.starts[places[place]]),
                    phase=worst, phase_seconds=float(phases[worst][place]) / NANO if worst else 0.0,
                )
            )  # fmt: skip
        if len(places) >= MIN_ITERATIONS:
            third = len(places) // 3
            columns: dict[str, Any] = {"iteration": durations, **phases}
            found.first_third = {name: float(column[:third].mean()) / NANO for name, column in columns.items()}
            found.last_third = {name: float(column[-third:].mean()) / NANO for name, column in columns.items()}

    def _phases(self, iterations: IntArray) -> dict[str, Any]:
        """By category, a column of nanoseconds with one value for each iteration."""
        import numpy as np

        columns: dict[str, Any] = {}
        for name, category in CATEGORY_OF.items():
            if category not in IN_TRAINING or name not in self.codes:
                continue
            chosen = np.flatnonzero((self.kinds == self.codes[name]) & (self.above >= 0))
            rows = np.searchsorted(iterations, self.above[chosen])
            known = (rows < len(iterations)) & (iterations[np.minimum(rows, len(iterations) - 1)] == self.above[chosen])
            sums = np.bincount(rows[known], weights=self.durations[chosen][known], minlength=len(iterations))
            columns[category] = columns.get(category, 0) + sums
        return columns
