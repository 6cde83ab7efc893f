"""What a notebook shows of a run, a series and a store: HTML with small plots, and one line of text elsewhere.

Called by IPython when a cell ends with such an object. Text from runs is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from tracelet.store import dates
from tracelet.store.metric_definitions import RunMetric
from tracelet.store.point_selection import select_indices
from tracelet.store.run_colours import LIGHT
from tracelet.store.run_info import RunInfo
from tracelet.store.svg_chart import Curve, short_number, svg_chart

if TYPE_CHECKING:
    from tracelet.journal.column_packing import FloatArray, IntArray

PLOT_POINTS = 1000
SPARK_POINTS, SPARK_WIDTH, SPARK_HEIGHT = 120, 120, 24
MOST_ROWS = 30
"""Metrics, or runs, that are shown; a cell is not a dashboard."""


@dataclass(frozen=True)
class Plot:
    """Curves as a notebook shows them; `str(plot)` is the SVG."""

    title: str
    curves: tuple[Curve, ...]

    def __str__(self) -> str:
        return svg_chart(self.title, self.curves, 640, 300)

    def __repr__(self) -> str:
        return f"<tracelet plot of {self.title}: {sum(len(curve.x) for curve in self.curves)} points>"

    def _repr_html_(self) -> str:
        names = " ".join(
            f'<span style="color:{curve.stroke}">&#9632;</span> {escape(curve.label)}' for curve in self.curves
        )
        return f"<div>{self}<div>{names}</div></div>"


def plotted(names: Sequence[str], chart: Callable[[str], Any]) -> Plot:
    """Metrics in one plot; `chart` gives the series of a name."""
    found = [(place % len(LIGHT), name, chart(name)) for place, name in enumerate(names)]
    return Plot(
        ", ".join(names), tuple(curve(series.steps, series.values, name, place) for place, name, series in found)
    )


def curve(steps: IntArray, values: FloatArray, label: str, colour: int = 0, dash: str = "") -> Curve:
    """The points of a series as a line."""
    return Curve(label, steps.tolist(), values.tolist(), colour, LIGHT[colour], dash)


def sparkline_svg(name: str, values: FloatArray) -> str:
    """The course of a series, as high as a line of text."""
    finite = [value for value in values.tolist() if math.isfinite(value)]
    if len(finite) < 2:
        return ""
    low, high = min(finite) / 2, max(finite) / 2
    height, width = SPARK_HEIGHT - 4, SPARK_WIDTH - 4
    points = " ".join(
        f"{2 + place / (len(finite) - 1) * width:.1f},{2 + (high - value / 2) / ((high - low) or 1) * height:.1f}"
        for place, value in enumerate(finite)
    )
    return (
        f'<svg width="{SPARK_WIDTH}" height="{SPARK_HEIGHT}" role="img" aria-label="course of {escape(name, True)}">'
        f'<polyline points="{points}" fill="none" stroke="{LIGHT[0]}" stroke-width="1.4"/></svg>'
    )


def run_html(
    info: RunInfo, params: Mapping[str, Any], metrics: Sequence[RunMetric], chart: Callable[[str, int], Any]
) -> str:
    """Name, status and parameters of a run; a row with a small plot for each metric that the program logged."""
    rows = []
    for metric in metrics[:MOST_ROWS]:
        assert metric.values is not None  # only metrics with points are given
        best = "" if metric.best is None else f"{short_number(metric.best)} ({metric.goal})"
        spark = sparkline_svg(metric.name, chart(metric.name, SPARK_POINTS).values)
        rows.append((metric.name, short_number(metric.values.last), best, f"{metric.values.count:,}", spark))
    head = (
        f"<b>{escape(info.name)}</b> {escape(info.id)} &middot; {escape(info.project)} &middot; {escape(info.status)}"
    )
    listed = escape(", ".join(f"{name}={value}" for name, value in list(params.items())[:8]))
    more = f"<div>{len(metrics) - MOST_ROWS} more metrics</div>" if len(metrics) > MOST_ROWS else ""
    return f"<div>{head}<div>{listed}</div>{_table(('metric', 'last', 'best', 'points', ''), rows)}{more}</div>"


def series_text(name: str, steps: IntArray, values: FloatArray) -> str:
    """Name, number of points, steps and last value."""
    count = len(steps)
    told = f"{name}: {count:,} {'point' if count == 1 else 'points'}"
    return f"{told}, steps {steps[0]} to {steps[-1]}, last {short_number(float(values[-1]))}" if count else told


def series_html(name: str, steps: IntArray, values: FloatArray) -> str:
    """The same, and a plot."""
    told = f"<div>{escape(series_text(name, steps, values))}"
    if not len(steps):
        return told + "</div>"
    if len(steps) > PLOT_POINTS:
        places = select_indices(values, PLOT_POINTS)
        steps, values = steps[places], values[places]
    return f"{told}<div>{svg_chart(name, [curve(steps, values, name)])}</div></div>"


def store_html(root: object, infos: Sequence[RunInfo]) -> str:
    """The newest runs of a store."""
    rows = [
        (info.name, info.id, info.project, info.status, dates.format_local(info.started)) for info in infos[:MOST_ROWS]
    ]
    more = f"<div>{len(infos) - MOST_ROWS} more runs</div>" if len(infos) > MOST_ROWS else ""
    count = f"{len(infos):,} {'run' if len(infos) == 1 else 'runs'}"
    heads = ("name", "id", "project", "status", "started")
    return f"<div><b>{count}</b> in {escape(str(root))}{_table(heads, rows)}{more}</div>"


def _table(heads: Iterable[str], rows: Iterable[Sequence[Any]]) -> str:
    """Only what `sparkline_svg` has made is markup."""
    marked = ([text if str(text).startswith("<svg width") else escape(str(text)) for text in row] for row in rows)
    cells = "".join(f"<tr>{''.join(f'<td>{text}</td>' for text in row)}</tr>" for row in marked)
    return f"<table><tr>{''.join(f'<th>{escape(head)}</th>' for head in heads)}</tr>{cells}</table>"
