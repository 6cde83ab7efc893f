"""What the columns of a table mean: which is the step, the time, the run; which are parameters. Pure.

What the user names is taken; the rest is guessed from names and the first rows, and shown before anything is imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tracelet.errors import ImportFailed
from tracelet.importers.text_numbers import MISSING, measured
from tracelet.importers.timestamps import from_iso, from_seconds

STEPS = ("step", "_step", "global_step", "trainer/global_step", "iteration", "iter", "epoch")
TIMES = ("time", "timestamp", "_timestamp", "wall_time", "wall time", "datetime", "date")
RUNS = ("run", "run_id", "run_name", "run name", "trial", "trial_id")
METRICS, VALUES = ("metric", "tag", "key", "variable"), ("value",)
PARAMS = ("params.", "params/", "param.", "param/", "config.", "config/", "hparams.", "hparams/")
UNITS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3))
"""From this magnitude on, a time is in nanoseconds, microseconds, milliseconds; below, in seconds."""


@dataclass(frozen=True)
class TableColumns:
    """The columns that the user names."""

    step: str = ""
    time: str = ""
    run: str = ""
    params: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """The meaning of each column; empty where there is none. A long table has a metric's name and value in each row."""

    step: str
    time: str
    run: str
    params: tuple[str, ...]
    metrics: tuple[str, ...]
    metric: str = ""
    value: str = ""

    def described(self) -> str:
        """One line for the user."""
        found = f"metric names from {self.metric!r}, values from {self.value!r}" if self.metric else (
            f"metrics: {_listed(self.metrics)}")  # fmt: skip
        parts = [
            f"step: {self.step or 'row number'}", f"time: {self.time or 'of the file'}",
            f"run: {self.run or 'the whole table'}", f"parameters: {_listed(self.params)}", found,
        ]  # fmt: skip
        return "; ".join(parts)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more or "none"


def guessed(columns: Sequence[str], sample: Sequence[dict[str, Any]], named: TableColumns) -> Layout:
    """The layout of a table. ImportFailed if it lacks a column that the user names."""
    wanted = [name for name in (named.step, named.time, named.run, *named.params) if name]
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise ImportFailed(f"there is no column {', '.join(missing)}. Columns: {', '.join(columns)}")
    step = named.step or _first(columns, STEPS, named)
    time = named.time or _first(columns, TIMES, named)
    run = named.run or _first(columns, RUNS, named)
    metric, value = _first(columns, METRICS, named), _first(columns, VALUES, named)
    if metric and value and any(measured(row.get(metric)) is None for row in sample):
        return Layout(step, time, run, named.params, (), metric, value)
    rest = [name for name in columns if name not in (step, time, run, *named.params)]
    prefixed = [name for name in rest if name.lower().startswith(PARAMS)]
    texts = [name for name in rest if name not in prefixed and _is_text(name, sample)]
    params = named.params or (*prefixed, *texts)
    metrics = tuple(name for name in rest if name not in params and name not in texts)
    return Layout(step, time, run, tuple(params), metrics)


def _first(columns: Sequence[str], names: Sequence[str], named: TableColumns) -> str:
    taken = {named.step, named.time, named.run, *named.params}
    found = {column.lower(): column for column in reversed(columns) if column not in taken}
    return next((found[name] for name in names if name in found), "")


def _is_text(name: str, sample: Sequence[dict[str, Any]]) -> bool:
    """Whether the column holds something other than numbers in the first rows."""
    cells = [cell for row in sample if (cell := row.get(name)) is not None and cell not in MISSING]
    return any(measured(cell) is None for cell in cells)


def time_of(cell: object) -> int | None:
    """A time in microseconds since the epoch: a number, whose unit its magnitude shows, or a date."""
    number = measured(cell)
    if number is None:
        return from_iso(cell)
    for least, unit in UNITS:
        if abs(number) >= least:
            return int(number * 1_000_000 // int(unit)) if isinstance(number, int) else from_seconds(number / unit)
    return from_seconds(number)
