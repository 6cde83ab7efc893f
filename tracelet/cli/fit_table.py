"""The fits of one run as a table: what they differ in, and what came of each. For `show`; pure but for reading."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from tracelet.cli.formatting import duration, number, value
from tracelet.cli.output import STATUS_STYLES, fit_to_width, shorten, table
from tracelet.store.checkpoints import best_overall
from tracelet.store.fit_params import FRAMEWORK
from tracelet.store.fits import Fit

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

MAX_PARAMS, MAX_METRICS = 6, 3
"""Columns: as many as fit beside the others in 120 characters."""
NAME_SHARE = 5


class FitColumn(NamedTuple):
    """A field, a parameter or a metric of fits."""

    title: str
    cells: tuple[str, ...]


def fit_table(target: Console, fits: Sequence[Fit]) -> Table:
    """One row per fit; a narrow terminal drops columns from the right."""
    from rich.text import Text

    fixed = [
        FitColumn("  fit", tuple(f"  {fit.number}" for fit in fits)),
        FitColumn("status", tuple(fit.status for fit in fits)),
        FitColumn("duration", tuple(duration(fit.duration) for fit in fits)),
    ]
    chosen = [*_params(fits), *_metrics(fits)]

    def build(columns: list[FitColumn]) -> Table:
        titles = [shorten(target, column.title, NAME_SHARE) for column in columns]
        shown = table(*titles, right=tuple(titles[3:]))
        for place in range(len(fits)):
            cells = [column.cells[place] for column in columns]
            shown.add_row(cells[0], Text(cells[1], STATUS_STYLES.get(cells[1], "")), *cells[2:])
        return shown

    return fit_to_width(target, build, [*fixed, *chosen], chosen[::-1])


def _params(fits: Sequence[Fit]) -> list[FitColumn]:
    """The parameters in which the fits differ, those that the program gave first."""
    tables, sources = [fit.params for fit in fits], fits[0].param_sources
    for fit in fits[1:]:
        sources = {**fit.param_sources, **sources}
    names = list(dict.fromkeys(name for params in tables for name in params))
    differing = [name for name in names if len({repr(params.get(name, fits)) for params in tables}) > 1]
    ordered = sorted(differing, key=lambda name: sources[name] in FRAMEWORK - {"module", "datamodule"})
    return [
        FitColumn(name, tuple(value(params[name]) if name in params else "-" for params in tables))
        for name in ordered[:MAX_PARAMS]
    ]


def _metrics(fits: Sequence[Fit]) -> list[FitColumn]:
    """The last values of the metrics that most fits logged."""
    tables = [fit.summaries() for fit in fits]
    count = Counter(name for found in tables for name, summary in found.items() if not summary.automatic)
    names = sorted(count, key=lambda name: (-count[name], name.startswith("train"), name))[:MAX_METRICS]
    return [
        FitColumn(name, tuple(number(found[name].last) if name in found else "-" for found in tables)) for name in names
    ]


def best_labels(fits: Sequence[Fit]) -> dict[str, str]:
    """By path, what the best checkpoints are called: `best`, or `best of fit 2` where there are several fits."""
    best = {fit.number: artifact for fit in fits if (artifact := fit.best_checkpoint) is not None}
    if len(fits) == 1:
        return {artifact.path: "best" for artifact in best.values()}
    labels = {artifact.path: f"best of fit {number}" for number, artifact in best.items()}
    overall = best_overall(list(best.values()))
    if overall is not None:
        labels[overall.path] = f"best, of fit {overall.metadata.get('fit')}"
    return labels
