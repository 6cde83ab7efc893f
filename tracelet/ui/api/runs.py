"""/api/runs: the list of runs, one run in full, and edits."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Literal, Union

from fastapi import APIRouter, Body, HTTPException, Query, Response

from tracelet.journal.records import Event
from tracelet.store.artifacts import replaced_references
from tracelet.store.fit_filtering import select
from tracelet.store.run import Run
from tracelet.store.search import Search
from tracelet.telemetry.reading.routine_events import notable
from tracelet.ui.api.responses import Json, disposition
from tracelet.ui.run_cache import Row, RunCache
from tracelet.ui.run_edits import RunEdits

DEFAULT_METRICS, DEFAULT_PARAMS = 4, 4
"""Columns shown if none were chosen: as many as fit a laptop's screen."""
MOST_EVENTS = 2000
MOST_TAGS = 50
"""Names of tags to group by."""
Names = Annotated[Union[list[str], None], Query()]
Tags = Annotated[Union[dict[str, str], None], Body()]
Text = Annotated[Union[str, None], Body()]
Yes = Annotated[Union[bool, None], Body()]


class RunsApi:
    """Serves runs."""

    def __init__(self, run_cache: RunCache, edits: RunEdits) -> None:
        self.run_cache = run_cache
        self.edits = edits

    def router(self) -> APIRouter:
        """The routes."""
        router = APIRouter(tags=["runs"])
        router.add_api_route("/runs", self.listed, methods=["GET"])
        router.add_api_route("/columns", self.columns, methods=["GET"])
        router.add_api_route("/runs/{run_id}", self.one, methods=["GET"])
        router.add_api_route("/runs/{run_id}/diff", self.diff, methods=["GET"])
        router.add_api_route("/runs/{run_id}", self.change, methods=["PATCH"])
        router.add_api_route("/runs/{run_id}", self.delete, methods=["DELETE"])
        return router

    def listed(
        self, filter: str = "", project: str | None = None, status: str | None = None,
        metric: Names = None, param: Names = None, git: bool = False, archived: bool = False,
    ) -> Response:  # fmt: skip
        """The runs, newest first, with the requested metrics (last, min, max) and parameters."""
        rows = self.run_cache.rows()
        total = len(rows)
        rows = [row for row in rows if project in (None, row.info.project) and status in (None, row.info.status)]
        hidden = 0 if archived else sum(row.info.archived for row in rows)
        rows = [row for row in rows if archived or not row.info.archived]
        if filter.strip():
            rows = _filtered(rows, Search(filter))
        found = [self._described(row, metric or [], param or [], git) for row in rows]
        return Json(
            {
                "runs": found,
                "total": total - hidden,
                "archived": hidden,
                "read_only": self.edits.read_only,
                "store": str(self.run_cache.store.root),
            }
        )

    def _described(self, row: Row, metrics: list[str], params: list[str], git: bool) -> dict[str, Any]:
        info, names = row.info, row.names
        found = {
            "id": info.id, "name": info.name, "project": info.project, "status": info.status, "reason": info.reason,
            "started": info.started, "ended": info.ended, "heartbeat": row.heartbeat, "host": info.host,
            "world_size": info.world_size, "tags": names["tags"], "pinned": info.pinned, "archived": info.archived,
            "original_name": info.original_name,
            "metrics": {
                name: [names["metrics"][name], names["min"][name], names["max"][name]]
                for name in metrics if name in names["metrics"]
            },
            "params": {name: names["params"][name] for name in params if name in names["params"]},
        }  # fmt: skip
        if git:
            with self.run_cache.open(info.id, refresh=False) as run:
                found["git"] = {key: run.git.get(key) for key in ("commit", "branch", "dirty", "subject")}
        return found

    def columns(self) -> Response:
        """The names that can be columns (metrics and parameters, most common first), and the default columns."""
        rows = self.run_cache.rows()
        metrics = Counter(name for row in rows for name in row.names["metrics"])
        own = Counter(name for row in rows for name in row.names["metrics"] if name not in row.automatic)
        params = Counter(name for row in rows for name in row.names["params"])
        return Json({
            "metrics": _ordered(metrics), "params": _ordered(params),
            "tags": _ordered(Counter(name for row in rows for name in row.names["tags"]))[:MOST_TAGS],
            "own_metrics": sorted(sorted(own), key=lambda n: (-own[n], n.startswith("train")))[:DEFAULT_METRICS],
            "own_params": _differing_params(rows, params), "projects": sorted({row.info.project for row in rows}),
        })  # fmt: skip

    def one(self, run_id: str, events: Literal["telling", "all"] = "telling") -> Response:
        """Everything about one run except points, spans, diff and console; by default only notable events."""
        row = self.run_cache.row(run_id)
        with self.run_cache.open(run_id) as run:
            described = _whole(run, row, run.events() if events == "all" else notable(run.events()))
        described["read_only"] = self.edits.read_only
        return Json(described)

    def diff(self, run_id: str) -> Response:
        """The uncommitted changes at the start of the run, as a patch."""
        with self.run_cache.open(run_id) as run:
            text = str(run.git.get("diff") or "")
        return Response(text, media_type="text/plain", headers=disposition(f"{run_id}.patch"))

    def change(
        self, run_id: str, name: Text = None, tags: Tags = None, pinned: Yes = None, archived: Yes = None,
        goals: Tags = None,
    ) -> Response:  # fmt: skip
        """Rename a run, set its tags (an empty value removes a tag), pin it, archive it, set goals of its metrics.

        A goal is `min`, `max` or `unknown`; an empty one restores what the run itself says.
        """
        if name is not None or tags is not None:
            self.edits.annotate(run_id, name, tags)
        if pinned is not None:
            self.edits.pin(run_id, pinned)
        if archived is not None:
            self.edits.archive(run_id, archived)
        if goals is not None:
            self.edits.set_goals(run_id, goals)
        return Json({"changed": run_id})

    def delete(self, run_id: str, confirm: str = "") -> Response:
        """Delete a run and all its files. `confirm` must repeat its id."""
        if confirm != run_id:
            raise HTTPException(400, "nothing was deleted: `confirm` must be the id of the run")
        self.edits.delete(run_id)
        return Json({"deleted": run_id})


def _filtered(rows: list[Row], chosen: Search) -> list[Row]:
    return [row for row, _ in select([(row, row.namespace(), row.fits) for row in rows], chosen)]


def _ordered(counts: Counter[str]) -> list[str]:
    return sorted(counts, key=lambda name: (-counts[name], name))


def _differing_params(rows: list[Row], params: Counter[str]) -> list[str]:
    """Parameters in which the runs differ; those set by the user come before detected ones."""
    differing = []
    for name in params:
        values = {str(row.names["params"].get(name)) for row in rows}
        if len(values) > 1 or len(rows) == 1:
            differing.append(name)
    return sorted(differing, key=lambda name: (name.count("/"), -params[name], name))[:DEFAULT_PARAMS]


def _whole(run: Run, row: Row, events: list[Event]) -> dict[str, Any]:
    info, end = run.info, run.status_record
    gone = replaced_references(run.artifacts, run.events("checkpoint_removed"))
    git = {key: value for key, value in run.git.items() if key != "diff"}
    summaries, definitions = run.summaries(), run.definitions
    return {
        **{name: getattr(info, name) for name in info.__dataclass_fields__},
        "heartbeat": row.heartbeat, "traceback": end.traceback, "params": run.params, "tags": run.tags, "git": git,
        "environment": run.environment, "model": run.facts("model"), "problems": run.problems,
        "metrics": {
            name: {**_summary(summary), "goal": definitions.of(name).goal}
            for name, summary in sorted(summaries.items())
        },
        "artifacts": [_artifact(number, artifact, number in gone) for number, artifact in enumerate(run.artifacts)],
        "deliveries": [_delivery(delivery) for delivery in run.deliveries.values()],
        "events": [_event(event) for event in events[-MOST_EVENTS:]],
        "points": sum(summary.count for summary in summaries.values()),
        "ranks": sorted({view.started.rank for view in run.views if view.started and view.started.role == "rank"}),
        "has_diff": bool(run.git.get("diff")),
    }  # fmt: skip


def _summary(found: Any) -> dict[str, Any]:
    return {
        "count": found.count, "last": found.last, "last_step": found.last_step, "min": found.min,
        "min_step": found.min_step, "max": found.max, "max_step": found.max_step,
        "automatic": found.automatic,
    }  # fmt: skip


def _artifact(number: int, artifact: Any, removed: bool) -> dict[str, Any]:
    return {
        "number": number, "name": artifact.name, "kind": artifact.kind, "size": artifact.size, "path": artifact.path,
        "kept": bool(artifact.digest), "time": artifact.time / 1e6, "metadata": artifact.metadata,
        "removed": removed,
    }  # fmt: skip


def _delivery(delivery: Any) -> dict[str, Any]:
    fields = ("backend", "state", "url", "points", "rejected", "error", "fix", "since", "updated")
    return {name: getattr(delivery, name) for name in fields}


def _event(event: Event) -> dict[str, Any]:
    return {"time": event.time / 1e6, "name": event.name, "attributes": event.attributes}
