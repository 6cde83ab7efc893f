"""What a coding assistant can ask about a store, as the functions that `tracelet mcp` offers. They only read.

Each answer is JSON without NaN, of bounded size. Their docstrings are what the assistant reads. Called on the server's
worker threads, one store for all.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal

from tracelet.cli.compare import compared_runs
from tracelet.cli.formatting import as_json
from tracelet.cli.ls import Row, filtered, row_as_json
from tracelet.cli.show import run_as_json
from tracelet.cli.time import time_as_json
from tracelet.errors import InvalidArgument
from tracelet.store.console_lines import Line
from tracelet.store.filtering import namespace
from tracelet.store.search import Search
from tracelet.store.store import Store

MOST_RUNS = 200
MOST_POINTS = 2000
MOST_LINES = 1000
MOST_COMPARED = 20
MOST_METRICS = 300
"""An answer has to fit into an assistant's context; the number of what was left out is told."""

Answer = dict[str, Any]


class Tools:
    """The tools over one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def all(self) -> list[Callable[..., Answer]]:
        """Every tool, in the order in which an assistant needs them."""
        return [self.list_runs, self.show_run, self.compare_runs, self.read_metric, self.explain_time, self.read_log]

    def list_runs(self, filter: str = "", project: str | None = None, limit: int = 20) -> Answer:
        """List runs of the store, newest first, with parameters, tags and last values of metrics.

        `filter`: terms that must all match, such as `resnet status:failed tag:vision lr < 0.01 val/loss < 0.5`.
        """
        rows: list[Row] = [(run, namespace(run)) for run in self._store.runs(project)]
        if filter.strip():
            rows = filtered(rows, Search(filter))
        shown = [_shortened(row_as_json(row)) for row in rows[: max(1, min(limit, MOST_RUNS))]]
        return _answer({"runs": shown, "found": len(rows)})

    def show_run(self, run: str) -> Answer:
        """One run: status and traceback, parameters, metrics with last, min, max, code, environment, problems.

        `run`: an id, a unique prefix of one, a name, or `latest`.
        """
        found = self._store.run(run)
        described = run_as_json(found, [name for name in found.metrics() if not name.startswith(("system/", "gpu/"))])
        described["goals"] = {name: goal for name in described["metrics"] if (goal := found.definitions.of(name).goal)}
        del described["events"]
        (described["environment"] or {}).pop("packages", None)
        return _answer(_shortened(described))

    def compare_runs(self, runs: list[str]) -> Answer:
        """Differences between runs, the first to the last: parameters, tags, code diff, packages, metrics."""
        if not 2 <= len(runs) <= MOST_COMPARED:
            raise InvalidArgument(f"compare 2 to {MOST_COMPARED} runs, e.g. ['first', 'latest']")
        compared = compared_runs([self._store.run(name) for name in runs])
        diff = compared["diff"]
        compared["diff"] = {**diff, "text": "\n".join(diff["text"].splitlines()[:MOST_LINES])}
        return _answer(_shortened(compared))

    def read_metric(self, run: str, metric: str, points: int = 100) -> Answer:
        """The course of a metric: steps and values, downsampled so that minimum and maximum of each interval stay."""
        found = self._store.run(run)
        if metric not in found.metrics():
            raise InvalidArgument(f"run {found.id} has no metric {metric!r}. It has: {', '.join(found.metrics()[:50])}")
        series, known = found.chart(metric, max(8, min(points, MOST_POINTS))), found.metric(metric)
        return _answer({
            "run": found.id, "metric": metric, "goal": known.goal, "best": known.best, "best_step": known.best_step,
            "count": known.values.count if known.values else 0, "step": series.steps.tolist(),
            "value": series.values.tolist(),
        })  # fmt: skip

    def explain_time(self, run: str) -> Answer:
        """Where the time of a run went: goodput, shares of data loading, forward, backward, ..., and findings."""
        return _answer(time_as_json(self._store.run(run)))

    def read_log(
        self, run: str, lines: int = 100, search: str = "", stream: Literal["stdout", "stderr"] | None = None
    ) -> Answer:
        """The last lines that a run printed; `search`: only lines that contain this text, in any case."""
        found = self._store.run(run)
        chosen = [line for line in found.console(stream) if search.casefold() in line.text.casefold()]
        return _answer({
            "lines": [_line(line) for line in chosen[-max(1, min(lines, MOST_LINES)) :]], "found": len(chosen),
            "traceback": found.status_record.traceback,
        })  # fmt: skip


def _line(line: Line) -> Answer:
    return {"text": line.text[:2000], "stream": line.stream, "rank": line.rank, "time": line.time}


def _shortened(described: Answer) -> Answer:
    """Without most of a thousand metrics; `metrics_left_out` says how many."""
    metrics = described.get("metrics") or {}
    if len(metrics) <= MOST_METRICS:
        return described
    kept = dict(list(metrics.items())[:MOST_METRICS])
    return {**described, "metrics": kept, "metrics_left_out": len(metrics) - len(kept)}


def _answer(found: Answer) -> Answer:
    answer: Answer = json.loads(as_json(found, None))
    return answer
