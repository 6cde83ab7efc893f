"""What filters see of runs with several fits: the run as a whole, and each fit with its own values and parameters.

Used by `Store.matching`, `tracelet ls` and the dashboard. No namespace has a value of one fit beside a
parameter of another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from tracelet.store.filtering import FIELDS, TABLES
from tracelet.store.fits import are_several, outside_summaries
from tracelet.store.run import Run
from tracelet.store.search import Search

Names = dict[str, Any]
Row = TypeVar("Row")
FIT = "fit"
"""The name of the fit's number, which only namespaces of fits have."""


def fit_namespaces(run: Run, names: Mapping[str, Any]) -> list[Names]:
    """One namespace for each fit of a run with several, else none; `names` is that of the run."""
    if not are_several(run):
        return []
    ours = {*names["metrics"], *names["params"], *TABLES}.difference(FIELDS)
    fields = {name: value for name, value in names.items() if name not in ours}
    outside = outside_summaries(run)
    found = []
    for fit in run.fits:
        params, summaries = fit.params, {**outside, **fit.summaries()}
        last = {name: summary.last for name, summary in summaries.items()}
        found.append({
            **last, **params, **fields, "status": fit.status, "duration": fit.duration, FIT: fit.number,
            "metrics": last, "params": params, "tags": names["tags"],
            "min": {name: summary.min for name, summary in summaries.items()},
            "max": {name: summary.max for name, summary in summaries.items()},
        })  # fmt: skip
    return found


def select(rows: Sequence[tuple[Row, Names, Sequence[Names]]], chosen: Search) -> list[tuple[Row, list[Names]]]:
    """The rows that match, each with its own namespace if it matches as a whole, else with those of its matching fits.

    `rows`: whatever stands for a run, its namespace, and those of its fits. FilterError for a name that none of them
    has.
    """
    if rows:
        chosen.check_names({name for _, names, fits in rows for found in (names, *fits) for name in found})
    matching = [(row, _matching(names, fits, chosen)) for row, names, fits in rows]
    return [(row, found) for row, found in matching if found]


def _matching(names: Names, fits: Sequence[Names], chosen: Search) -> list[Names]:
    return [names] if chosen.matches(names) else [fit for fit in fits if chosen.matches(fit)]
