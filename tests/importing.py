"""Imports for tests: a source is imported twice, and both imports must leave it as it was and agree.

Used by the tests of importers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from tracelet.importers.base import Importer
from tracelet.importers.run_import import Failure, find, import_runs
from tracelet.importers.run_writer import Written
from tracelet.store.run import Run
from tracelet.store.store import Store

HARD = (0.5, math.nan, math.inf, -math.inf, -0.0, 1e-300, 0.1, 2.0**60)
"""Values that formats like to lose."""
FAR = 2**53 + 1
"""A step that no double holds."""


def imported(path: Path, importer: Importer, store: Path, format: str | None = None) -> dict[str, Run]:
    """The runs of a path by name, after two imports: the second adds nothing, and the source is as it was."""
    before = content(path)
    first = _import(path, importer, store, format)
    again = _import(path, importer, store, format)
    assert [(one.run, one.points, one.records) for one in again] == [(one.run, 0, 0) for one in first]
    assert content(path) == before, "the source was changed"
    runs = [Store.open(store).run(one.run) for one in first]
    return {run.info.name: run for run in runs}


def _import(path: Path, importer: Importer, store: Path, format: str | None) -> list[Written]:
    importers = {importer.name: importer}
    outcomes = list(import_runs(find([path], importers, format), importers, store))
    failures = [one for one in outcomes if isinstance(one, Failure)]
    assert failures == []
    return [one for one in outcomes if isinstance(one, Written)]


def content(path: Path) -> dict[str, bytes]:
    """Every file at or below the path, with its bytes."""
    files: Iterable[Path] = [path] if path.is_file() else path.rglob("*")
    return {str(one): one.read_bytes() for one in files if one.is_file()}


def points(run: Run, name: str) -> list[tuple[int, str, float]]:
    """(step, value, time) of a metric's points; values as text, so that NaN equals itself and -0.0 is not 0.0."""
    series = run.series(name)
    return list(zip(series.steps.tolist(), map(repr, series.values.tolist()), series.times.tolist()))


def values(run: Run, name: str) -> list[tuple[int, str]]:
    """(step, value) of a metric's points."""
    return [(step, value) for step, value, _ in points(run, name)]


def expected(steps: Sequence[int], numbers: Iterable[float]) -> list[tuple[int, str]]:
    """What `values` should return."""
    return list(zip(steps, (repr(float(number)) for number in numbers)))
