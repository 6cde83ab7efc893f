"""/api/runs/ID/console: a run's console output."""

from __future__ import annotations

from typing import Any, Literal, Union

from fastapi import APIRouter, Response

from tracelet.store.console_lines import Line, with_gaps
from tracelet.ui.api.responses import Json, disposition
from tracelet.ui.run_cache import RunCache

MOST_LINES = 5000
"""Lines per answer: as many as a page shows without becoming slow."""


class ConsoleApi:
    """Serves console lines."""

    def __init__(self, run_cache: RunCache) -> None:
        self.run_cache = run_cache

    def router(self) -> APIRouter:
        """The route."""
        router = APIRouter(tags=["console"])
        router.add_api_route("/runs/{run_id}/console", self.lines, methods=["GET"])
        return router

    def lines(
        self, run_id: str, stream: Union[Literal["stdout", "stderr"], None] = None, rank: Union[int, None] = None,
        search: str = "", before: Union[int, None] = None, limit: int = 1000, format: Literal["json", "text"] = "json",
    ) -> Response:  # fmt: skip
        """The last lines that contain the search string, or the lines before a position; or all lines as text."""
        with self.run_cache.open(run_id) as run:
            found = list(with_gaps(run.console(stream, rank)))
        if format == "text":
            text = "".join(line.text + "\n" for line, _ in found)
            return Response(text, media_type="text/plain", headers=disposition(f"{run_id}.log"))
        total, ranks = len(found), sorted({line.rank for line, _ in found})
        wanted = search.lower()
        if wanted:
            found = [(line, missing) for line, missing in found if wanted in line.text.lower()]
        stop = len(found) if before is None else max(0, min(before, len(found)))
        start = max(0, stop - max(1, min(limit, MOST_LINES)))
        return Json({
            "lines": [_described(line, missing) for line, missing in found[start:stop]],
            "start": start, "matching": len(found), "total": total, "ranks": ranks,
        })  # fmt: skip


def _described(line: Line, missing: int) -> dict[str, Any]:
    """A line, and the number of lines before it that were not recorded."""
    return {"time": line.time, "rank": line.rank, "stream": line.stream, "text": line.text, "missing": missing}
