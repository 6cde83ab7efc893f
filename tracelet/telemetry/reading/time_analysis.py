"""The breakdown of a run's wall time, computed from its spans: shares, trends, slow iterations, stragglers.

Pure: takes a `SpanTable`, returns plain data; used by `tracelet time` and the dashboard. Works on whole columns with
numpy, so that a run of a million iterations takes seconds. Every moment of a process counts once, see `attribution`;
time without a category goes to the program's own spans, the largest few by name; unexplained time is `other`, and
before the first training loop `before training`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tracelet.store.process_status import ProcessStatus
from tracelet.store.span_table import SpanTable
from tracelet.telemetry.names import DATA_LOADING, KNOWN, TRAINING_ITERATION, TRAINING_LOOP, VALIDATION_LOOP
from tracelet.telemetry.reading.attribution import IN_TRAINING, Attribution
from tracelet.telemetry.reading.intervals import Coverage, exclusive
from tracelet.telemetry.reading.process_columns import ProcessColumns
from tracelet.telemetry.reading.process_times import (
    BEFORE_TRAINING,
    CATEGORIES,
    ProcessTimes,
    SlowIteration,
    sorted_by_category,
)
from tracelet.telemetry.reading.stragglers import find_stragglers

if TYPE_CHECKING:
    from tracelet.journal.column_packing import IntArray
    from tracelet.telemetry.reading.process_columns import Mask

NANO = 1e9
SLOWEST = 10
SLOW_FACTOR = 5
"""An iteration is slow from this multiple of the median on,"""
SLOW_NS = 100_000_000
"""and if it takes this much longer than the median: less is what a busy machine does to any process."""
MAX_PROGRAM_SPANS = 8
"""Spans of the program's own with a row each; a program may name thousands."""
MIN_ITERATIONS = 6
"""Fewer iterations have no trend."""


def analyse(table: SpanTable, statuses: Mapping[int, ProcessStatus] | None = None) -> list[ProcessTimes]:
    """One entry for each process of the run that recorded spans, by rank and attempt.

    `statuses`: what is known of each of the table's processes, see `statuses_by_number`; without it open spans last
    until the last recorded moment.
    """
    return analyse_processes(attribute(table, statuses or {}), statuses or {})


def attribute(table: SpanTable, statuses: Mapping[int, ProcessStatus]) -> list[Attribution]:
    """The spans of each process, with what counts of each of them."""
    import numpy as np

    found = []
    for process in np.unique(table.processes).tolist():
        places = np.flatnonzero(table.processes == process)
        found.append(Attribution(ProcessColumns(table, places, int(process), statuses.get(int(process)))))
    return found


def analyse_processes(attributions: Sequence[Attribution], statuses: Mapping[int, ProcessStatus]) -> list[ProcessTimes]:
    """The same as `analyse`."""
    found = [_Breakdown(attribution).times() for attribution in attributions]
    for times, straggles in zip(found, find_stragglers(attributions)):
        times.straggles = straggles
        known = statuses.get(times.process)
        if known is not None:
            times.status, times.ended = known.status.status, known.status.time / 1e6
    return found


class _Breakdown:
    """The time of one process."""

    def __init__(self, attribution: Attribution) -> None:
        self._attribution = attribution
        self._columns = attribution.columns

    def times(self) -> ProcessTimes:
        """The complete breakdown of this process."""
        columns = self._columns
        training = columns.named(TRAINING_LOOP) & ~columns.tuned
        total = columns.total
        parts, within = self._parts()
        early = within["other"].pop(BEFORE_TRAINING)
        if early:
            parts[BEFORE_TRAINING] = early
        parts["other"] = max(0.0, total / NANO - sum(parts.values()))
        found = ProcessTimes(
            rank=columns.rank, process=columns.process, total=total / NANO,
            training=float(columns.durations[training].sum()) / NANO,
            parts={name: parts[name] for name in sorted_by_category(parts) if parts[name]}, within=within,
            open=[columns.names[columns.kinds[row]] for row in columns.open.tolist()],
            open_since=[float(columns.starts[row]) / NANO for row in columns.open.tolist()],
        )  # fmt: skip
        self._iterations(found)
        return found

    def _parts(self) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
        """Seconds by category, and by what some of them consist of."""
        columns, own, counted = self._columns, self._attribution.own, self._attribution.counted
        parts: dict[str, float] = {}
        within: dict[str, dict[str, float]] = {}
        for name, code in columns.codes.items():
            category = self._attribution.category(name)
            if category is None:
                continue
            seconds = float(own[counted & (columns.kinds == code)].sum()) / NANO
            parts[category] = parts.get(category, 0.0) + seconds
            if category == "initialization" and seconds:
                within.setdefault(category, {})[name] = seconds
        for row, hook in columns.hooks.items():
            if counted[row] and hook:
                hooks = within.setdefault("callbacks", {})
                hooks[hook] = hooks.get(hook, 0.0) + float(own[row]) / NANO
        waits = columns.inside(columns.named(VALIDATION_LOOP)) & columns.named(DATA_LOADING) & ~columns.tuned
        if waits.any():
            within["validation"] = {"loading": float(columns.durations[waits].sum()) / NANO}
        own_parts, program = self._own()
        told = counted | program
        within["other"] = self._unexplained(Coverage(columns.starts[told], columns.ends[told]))
        return {**parts, **own_parts}, within

    def _own(self) -> tuple[dict[str, float], Mask]:
        """Seconds by span of the program's own, the largest few, and which spans these are.

        Only of time that has no category: a span inside a forward pass is forward. One around loops or iterations says
        nothing about what happens in them.
        """
        import numpy as np

        columns, counted = self._columns, self._attribution.counted
        known = Coverage(columns.starts[counted], columns.ends[counted])
        around = columns.around(columns.named(TRAINING_LOOP, TRAINING_ITERATION))
        program = columns.main & ~columns.named(*KNOWN) & ~around & ~columns.tuned
        starts, ends, kinds = columns.starts[program], columns.ends[program], columns.kinds[program]
        own = exclusive(starts - known.until(starts), ends - known.until(ends))
        sums: dict[str, float] = {}
        for kind in np.unique(kinds).tolist():
            name = columns.names[kind]
            label = f"{name} (span)" if name in CATEGORIES else name
            sums[label] = float(own[kinds == kind].sum()) / NANO
        largest = sorted((name for name in sums if sums[name]), key=lambda name: -sums[name])[:MAX_PROGRAM_SPANS]
        return {name: sums[name] for name in largest}, program

    def _unexplained(self, told: Coverage) -> dict[str, float]:
        """Where time lies that is inside no span that tells what happens, in seconds."""
        columns = self._columns
        whole = float(told.uncovered(columns.begin, columns.begin + columns.total).sum()) / NANO
        all_loops = columns.named(TRAINING_LOOP) & columns.main
        loops = self._uncovered(told, all_loops & ~columns.tuned)
        iterations = self._uncovered(told, columns.named(TRAINING_ITERATION) & ~columns.tuned & columns.main)
        early = 0.0
        if all_loops.any():
            first = columns.starts[all_loops].min(keepdims=True)
            early = max(0.0, float(told.uncovered(columns.begin, first).sum()) / NANO)
        return {
            "in training iterations": iterations,
            "in training loops, between iterations": max(0.0, loops - iterations),
            "outside training loops": max(0.0, whole - max(loops, iterations) - early),
            BEFORE_TRAINING: early,
        }

    def _uncovered(self, told: Coverage, chosen: Mask) -> float:
        return float(told.uncovered(self._columns.starts[chosen], self._columns.ends[chosen]).sum()) / NANO

    def _iterations(self, found: ProcessTimes) -> None:
        """Medians, slow ones and trends of the training iterations."""
        import numpy as np

        rows = self._columns.iterations()
        found.iterations = len(rows)
        if not len(rows):
            return
        durations = self._columns.durations[rows]
        median = float(np.median(durations))
        found.median, found.slow_limit = median / NANO, SLOW_FACTOR * median / NANO
        slow = durations > max(SLOW_FACTOR * median, median + SLOW_NS)
        slow[0] = False  # the first one compiles, allocates and starts workers
        found.slow_count, found.slow_seconds = int(slow.sum()), float((durations[slow] - median).sum()) / NANO
        phases = self._phases(rows)
        for place in np.argsort(durations)[::-1][:SLOWEST].tolist():
            worst = max(phases, key=lambda name: float(phases[name][place]), default="")
            found.slowest.append(
                SlowIteration(
                    number=place, seconds=float(durations[place]) / NANO,
                    start_ns=int(self._columns.starts[rows[place]]), phase=worst,
                    phase_seconds=float(phases[worst][place]) / NANO if worst else 0.0,
                )
            )  # fmt: skip
        if len(rows) >= MIN_ITERATIONS:
            third = len(rows) // 3
            shown: dict[str, Any] = {"iteration": durations, **phases}
            found.first_third = {name: float(column[:third].mean()) / NANO for name, column in shown.items()}
            found.last_third = {name: float(column[-third:].mean()) / NANO for name, column in shown.items()}
            found.usual_growth = float(np.median(durations[-third:]) - np.median(durations[:third])) / NANO

    def _phases(self, iterations: IntArray) -> dict[str, Any]:
        """By category, a column of nanoseconds with one value for each iteration."""
        starts, ends = self._columns.starts[iterations], self._columns.ends[iterations]
        found = self._attribution.by_period(starts, ends)
        return {name: found[name] for name in (*IN_TRAINING, "checkpoints", "validation") if name in found}
