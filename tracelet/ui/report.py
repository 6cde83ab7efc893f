"""One run or several as a single HTML file, which opens from a mail and without a network: no script, no other file.

Called by `tracelet report` and by the dashboard's API. Only reads. Text from runs is escaped.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from tracelet._version import __version__
from tracelet.store import dates
from tracelet.store.metric_definitions import MetricDefinitions, common_goal
from tracelet.store.notebook_views import curve
from tracelet.store.run import Run
from tracelet.store.run_colours import DARK, LIGHT, dashes, place
from tracelet.store.svg_chart import short_number, svg_chart

MOST_CURVE_POINTS, LEAST_CURVE_POINTS = 500, 40
POINT_BUDGET = 150_000
"""Points of all curves together, of about twelve bytes each: a file of two megabytes can be mailed."""
MOST_CHARTS = 200
STYLE = """
:root{color-scheme:light dark;--line:#8884;--muted:#667}
body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;padding:24px;max-width:1500px}
h1{font-size:24px;margin:0 0 4px}h2{font-size:18px;margin:28px 0 8px}
h3{font-size:13px;margin:0 0 4px;overflow-wrap:anywhere}
.hint{color:var(--muted);margin:2px 0}.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:4px 14px 4px 0;border-bottom:1px solid var(--line);white-space:nowrap}
thead th{color:var(--muted);font-weight:500}.best{font-weight:700;color:#0b6e4f}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,400px),1fr));gap:16px}
figure{margin:0;border:1px solid var(--line);border-radius:8px;padding:10px}
.key{display:flex;flex-wrap:wrap;gap:2px 14px;font-size:13px}
.key svg,th svg{vertical-align:middle;margin-right:5px}path[class]:hover{stroke-width:3.5}
@media(prefers-color-scheme:dark){:root{--muted:#a1adbd}body{background:#11151b;color:#e6eaf0}.best{color:#5ed3a6}DARK}
"""


class Report:
    """The file about some runs, in the order given."""

    def __init__(self, runs: Sequence[Run], title: str = "") -> None:
        self.runs = runs
        self.infos = [run.info for run in runs]
        self.definitions: list[MetricDefinitions] = [run.definitions for run in runs]
        self.summaries = [run.summaries() for run in runs]
        self.title = title or (self.infos[0].name if len(runs) == 1 else f"{len(runs)} runs")
        self._dashes = dashes(info.id for info in self.infos)

    def html(self) -> str:
        """The whole file."""
        dark = "".join(f".c{number}{{stroke:{colour}}}" for number, colour in enumerate(DARK))
        parts = (self._runs(), self._params(), self._best(), self._charts(), self._code())
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
            f"<title>{escape(self.title)}</title><style>{STYLE.replace('DARK', dark)}</style></head><body><main>"
            f"<h1>{escape(self.title)}</h1><p class=hint>Written by tracelet {escape(__version__)} on "
            f"{dates.format_local(time.time())}.</p>{''.join(parts)}</main></body></html>\n"
        )

    def _names(self) -> list[str]:
        names = [info.name for info in self.infos]
        return [f"{name} ({info.id[:5]})" if names.count(name) > 1 else name for name, info in zip(names, self.infos)]

    def _heads(self) -> list[str]:
        """The name of each run behind its line, as markup."""
        found = []
        for name, info in zip(self._names(), self.infos):
            colour, dash = place(info.id), self._dashes[info.id]
            style = f' stroke-dasharray="{dash}"' if dash else ""
            found.append(
                f'<svg width="22" height="8" aria-hidden="true"><path class="c{colour}" d="M1 4h20" stroke-width="3" '
                f'stroke="{LIGHT[colour]}"{style}/></svg>{escape(name)}'
            )
        return found

    def _runs(self) -> str:
        rows = [
            [
                head,
                *map(escape, (info.status, info.project, dates.format_local(info.started), _duration(info.duration))),
            ]
            + [escape(", ".join(f"{name}={text}" for name, text in run.tags.items())), escape(info.reason)]
            for head, info, run in zip(self._heads(), self.infos, self.runs)
        ]
        return _section("Runs", _table(["run", "status", "project", "started", "duration", "tags", "reason"], rows))

    def _params(self) -> str:
        params = [run.params for run in self.runs]
        names = list(dict.fromkeys(name for table in params for name in table))
        different = [name for name in names if len({repr(table.get(name)) for table in params}) > 1 or len(params) == 1]
        rows = [[escape(name), *(escape(_value(table, name)) for table in params)] for name in different]
        same = len(names) - len(different)
        hint = f"<p class=hint>{same} {'parameter is' if same == 1 else 'parameters are'} the same.</p>" if same else ""
        title = "Parameters" if len(params) == 1 else "Parameters that differ"
        return _section(title, (_table(["parameter", *self._heads()], rows) if rows else "") + hint) if names else ""

    def _metrics(self) -> list[str]:
        """The metrics that the programs logged; without any, all."""
        logged = {name for table in self.summaries for name, found in table.items() if not found.automatic}
        return sorted(logged or {name for table in self.summaries for name in table})[:MOST_CHARTS]

    def _best(self) -> str:
        rows = []
        for name in self._metrics():
            goal = common_goal(known.of(name) for known in self.definitions)
            values = [getattr(table[name], goal or "last") if name in table else None for table in self.summaries]
            finite = [value for value in values if value is not None and value == value]
            top = (min if goal == "min" else max)(finite) if goal and len(finite) > 1 else None
            cells = [_marked(value, top is not None and value == top) for value in values]
            rows.append([f"{escape(name)} <span class=hint>{goal or 'last'}</span>", *cells])
        hint = "<p class=hint>min and max where the goal of a metric is known, otherwise the last value.</p>"
        return _section("Best values", _table(["metric", *self._heads()], rows) + hint) if rows else ""

    def _charts(self) -> str:
        names = self._metrics()
        points = POINT_BUDGET // max(1, len(names) * len(self.runs))
        points = max(LEAST_CURVE_POINTS, min(MOST_CURVE_POINTS, points))
        figures = []
        for name in names:
            curves = [
                curve(series.steps, series.values, label, place(run.id), self._dashes[run.id])
                for run, table, label in zip(self.runs, self.summaries, self._names())
                if name in table for series in (run.chart(name, points),)
            ]  # fmt: skip
            figures.append(f"<figure><h3>{escape(name)}</h3>{svg_chart(name, curves)}</figure>")
        key = (
            f"<p class=key>{''.join(f'<span>{head}</span>' for head in self._heads())}</p>"
            if len(self.runs) > 1
            else ""
        )
        return _section("Curves", f"{key}<div class=charts>{''.join(figures)}</div>") if figures else ""

    def _code(self) -> str:
        rows = []
        for head, run, info in zip(self._heads(), self.runs, self.infos):
            git, python = run.git, run.environment.get("python") or {}
            changes = "uncommitted changes" if git.get("dirty") else ""
            told = (git.get("commit") or "not recorded", git.get("branch") or "", changes, python.get("version") or "")
            rows.append([head, *(escape(str(text)) for text in told), f"<code>{escape(' '.join(info.command))}</code>"])
        return _section("Code", _table(["run", "commit", "branch", "changes", "Python", "command"], rows))


def _marked(value: float | None, best: bool) -> str:
    text = "-" if value is None else short_number(value)
    return f"<span class=best>{text}</span>" if best else text


def _value(table: Mapping[str, Any], name: str) -> str:
    if name not in table:
        return "-"
    found = table[name]
    return short_number(found) if isinstance(found, float) else str(found)


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if seconds >= 10 else f"{seconds:.1f} s"


def _section(title: str, body: str) -> str:
    return f"<h2>{escape(title)}</h2>{body}"


def _table(heads: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    """`heads` and the cells are markup already."""
    head = "".join(f'<th scope="col">{text}</th>' for text in heads)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>' for row in rows
    )
    return f"<div class=scroll tabindex=0><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
