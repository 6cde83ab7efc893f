"""/api/compare: differences between runs: parameters, tags, code, packages, and the best and last of every metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Response

from tracelet.store.code_diff import code_difference
from tracelet.store.metric_definitions import common_goal
from tracelet.ui.api.responses import Json, disposition
from tracelet.ui.report import Report
from tracelet.ui.run_cache import RunCache

MOST_RUNS = 200
Runs = Annotated[list[str], Query()]


class ComparisonApi:
    """Serves comparisons of several runs."""

    def __init__(self, run_cache: RunCache, read_only: bool = False) -> None:
        self.run_cache = run_cache
        self.read_only = read_only

    def router(self) -> APIRouter:
        """The routes."""
        router = APIRouter(tags=["compare"])
        router.add_api_route("/compare", self.compared, methods=["GET"])
        router.add_api_route("/compare/code", self.code, methods=["GET"])
        router.add_api_route("/report", self.report, methods=["GET"])
        return router

    def compared(self, run: Runs) -> Response:
        """Runs side by side: one list of values per name, with `null` for a run without one."""
        if len(run) > MOST_RUNS:
            raise HTTPException(400, f"at most {MOST_RUNS} runs can be compared")
        columns = [self._column(run_id) for run_id in dict.fromkeys(run)]
        gits = [column["git"] for column in columns]
        return Json({
            "runs": [column["info"] for column in columns],
            "params": _side_by_side([column["params"] for column in columns]),
            "tags": _side_by_side([column["tags"] for column in columns]),
            "code": _side_by_side([_code(git) for git in gits]),
            "packages": _differing([column["packages"] for column in columns]),
            "metrics": [
                {**row, "goal": common_goal(column["definitions"].of(row["name"]) for column in columns)}
                for row in _side_by_side([column["metrics"] for column in columns])
            ],
            "read_only": self.read_only,
        })  # fmt: skip

    def report(self, run: Runs, title: str = "") -> Response:
        """The runs as one HTML file that needs neither a network nor scripts, to download."""
        if len(run) > MOST_RUNS:
            raise HTTPException(400, f"at most {MOST_RUNS} runs can be reported")
        with ExitStack() as stack:
            # In the order of ids: two requests never wait for each other's runs.
            opened = {run_id: stack.enter_context(self.run_cache.open(run_id)) for run_id in sorted(set(run))}
            text = Report([opened[run_id] for run_id in dict.fromkeys(run)], title).html()
        return Response(text, media_type="text/html; charset=utf-8", headers=disposition("report.html"))

    def code(self, first: str, second: str) -> Response:
        """The code changes from one run to another as a patch, and a sentence about what was compared."""
        gits = []
        for run_id in (first, second):
            with self.run_cache.open(run_id, refresh=False) as run:
                gits.append(run.git)
        return Json(code_difference(*gits))

    def _column(self, run_id: str) -> dict[str, Any]:
        row = self.run_cache.row(run_id)
        info = row.info
        with self.run_cache.open(run_id) as run:
            summaries = run.summaries()
            return {
                "info": {"id": info.id, "name": info.name, "project": info.project, "status": info.status,
                         "started": info.started, "ended": info.ended},
                "params": run.params, "tags": run.tags, "git": run.git,
                "definitions": run.definitions, "packages": dict(run.environment.get("packages") or {}),
                "metrics": {
                    name: {"last": found.last, "min": found.min, "max": found.max, "count": found.count,
                           "automatic": found.automatic}
                    for name, found in summaries.items()
                },
            }  # fmt: skip


def _side_by_side(tables: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    names = sorted({name for table in tables for name in table})
    rows = []
    for name in names:
        values = [table.get(name) for table in tables]
        rows.append({"name": name, "values": values, "differs": len({repr(value) for value in values}) > 1})
    return rows


def _differing(tables: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in _side_by_side(tables) if row["differs"]]


def _code(git: Mapping[str, Any]) -> dict[str, Any]:
    return {key: git[key] for key in ("commit", "branch", "subject", "dirty") if key in git}
