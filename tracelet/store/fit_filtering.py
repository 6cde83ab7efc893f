"""What filters see of runs with several fits: the run as a whole, and each fit with its own values and parameters.

Used by `tracelet ls` and the dashboard. No namespace has a value of one fit beside a parameter of another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tracelet.store.filtering import FIELDS, TABLES
from tracelet.store.fits import are_several, outside_summaries
from tracelet.store.run import Run

Names = dict[str, Any]
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


def matching(names: Names, fits: list[Names], matches: Callable[[Names], bool]) -> list[Names]:
    """The run's namespace if the run as a whole matches, else those of its fits that do."""
    return [names] if matches(names) else [fit for fit in fits if matches(fit)]
