"""/api/series and /api/runs/ID/spans: points for charts and downloads, and the breakdown of time."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Union

from fastapi import APIRouter, HTTPException, Query, Response

from tracelet.errors import RunNotFound
from tracelet.journal.metric_definition import AXES
from tracelet.store.process_status import statuses_by_number
from tracelet.store.run import Run
from tracelet.store.series import Series
from tracelet.store.span_table import SpanTable
from tracelet.ui import timeline
from tracelet.ui.api.responses import Json, as_arrow, as_csv
from tracelet.ui.chart_data import Axis, band, curve
from tracelet.ui.run_cache import RunCache
from tracelet.ui.series_cache import SeriesCache, ranks
from tracelet.ui.series_preview import SeriesPreviews
from tracelet.ui.smoothing import MOST_WIDTH

MOST_SERIES = 200
MOST_BAND = 64
"""Ranks read for one band."""
MOST_WHOLE = 4
"""Runs whose span table is cached, so that zooming does not read the spans again."""

Names = Annotated[list[str], Query()]
Low = Annotated[Union[float, None], Query(alias="from", allow_inf_nan=False)]
High = Annotated[Union[float, None], Query(alias="to", allow_inf_nan=False)]
AxisName = Literal["auto", "step", "epoch", "time", "relative"]
"""`auto`: as `define_metric` says, step for other metrics."""

Smoothing = Literal["ema", "time", "mean", "gaussian"]
Amount = Annotated[float, Query(ge=0, le=MOST_WIDTH, allow_inf_nan=False)]


class SeriesApi:
    """Serves points and spans."""

    def __init__(self, run_cache: RunCache, series_cache: SeriesCache) -> None:
        self.run_cache = run_cache
        self.series_cache = series_cache
        self.previews = SeriesPreviews(run_cache, series_cache)
        self._tables: dict[str, tuple[tuple[int, ...], SpanTable]] = {}

    def router(self) -> APIRouter:
        """The routes."""
        router = APIRouter(tags=["series and spans"])
        router.add_api_route("/series", self.series, methods=["GET"])
        router.add_api_route("/runs/{run_id}/spans", self.spans, methods=["GET"])
        router.add_api_route("/runs/{run_id}/shares", self.shares, methods=["GET"])
        return router

    def series(
        self, run: Names, name: Names, x: AxisName = "auto", points: int = 1500,
        low: Low = None, high: High = None,
        rank: int | None = None, ranks: Literal["lowest", "band", "lines"] = "lowest",
        smoothing: Smoothing = "ema", smooth: Amount = 0.0, format: Literal["json", "csv", "arrow"] = "json",
    ) -> Response:  # fmt: skip
        """The points of metrics: downsampled for a chart as JSON, all of them as CSV or Arrow.

        `smooth`: for `ema` and `time` the weight of the past, for `mean` and `gaussian` a number of points.
        """
        run, name = list(dict.fromkeys(run)), list(dict.fromkeys(name))
        if len(run) * len(name) > MOST_SERIES:
            raise HTTPException(400, f"at most {MOST_SERIES} series at once")
        if format != "json":
            whole = [(one, found) for one in run for title in name if (found := self._whole(one, title, rank))]
            if not whole:
                raise RunNotFound("none of these runs has any of these metrics")
            return (as_csv if format == "csv" else as_arrow)(whole, f"{run[0]}-{name[0]}.{format}")
        found = []
        for one in run:
            with self.run_cache.open(one) as opened:
                for title in name:
                    found += self._curves(opened, title, x, points, (low, high), rank, ranks, (smoothing, smooth))
        return Json({"series": found, "x": x})

    def _whole(self, run_id: str, name: str, rank: int | None) -> Any:
        with self.run_cache.open(run_id) as run:
            try:
                return self.series_cache.series(run, name, rank)
            except KeyError:
                return None

    def _curves(
        self, run: Run, name: str, x: str, points: int, sight: tuple[float | None, float | None], rank: int | None,
        how: str, smooth: tuple[str, float],
    ) -> list[dict[str, Any]]:  # fmt: skip
        known = ranks(run, name)
        if not known or (rank is not None and rank not in known):
            return []
        info, axis_name = run.info, run.definitions.of(name).x if x == "auto" else x
        along = self._along(run, axis_name)
        if axis_name not in AXES and along is None:
            axis_name = "step"  # the run lacks the metric that is to be the axis
        wanted = known[:MOST_BAND] if how == "lines" else [rank]
        found = []
        for number in wanted:
            # A chart of the whole series; the position of a point within its epoch depends on all of them.
            quick = sight == (None, None) and not smooth[1] and axis_name != "epoch" and along is None
            first_look = self.previews.preview(run, name, number, points) if quick else None
            series, total = first_look or (self.series_cache.series(run, name, number), None)
            axis = Axis.of(series, axis_name, info.started, along)
            drawn = curve(series, axis, points, *sight, smooth=smooth)
            if total is not None:
                drawn.update(count=total, total=total)
            if how == "band" and len(known) > 1 and total is None:
                of_ranks = [self.series_cache.series(run, name, one) for one in known[:MOST_BAND]]
                drawn["band"] = band(of_ranks, series, axis, points, *sight)
            found.append({
                "run": run.id, "run_name": info.name, "name": name, "rank": number, "ranks": len(known),
                "axis": axis_name, **drawn,
            })  # fmt: skip
        return found

    def _along(self, run: Run, axis_name: str) -> Series | None:
        """The metric that is the x axis; None for any other axis, and if the run lacks it."""
        if axis_name in AXES:
            return None
        try:
            return self.series_cache.series(run, axis_name)
        except KeyError:
            return None

    def _table(self, run: Run) -> SpanTable:
        signature = tuple(view.path.stat().st_size for view in run.views)
        kept = self._tables.get(run.id)
        if kept is None or kept[0] != signature:
            kept = (signature, run.spans())
            while len(self._tables) >= MOST_WHOLE:
                self._tables.pop(next(iter(self._tables)), None)
            self._tables[run.id] = kept
        return kept[1]

    def spans(
        self, run_id: str, low: Low = None,
        high: High = None, width: int = 1200,
    ) -> Response:  # fmt: skip
        """The spans of all ranks in a time range (Unix timestamps), reduced to what `width` pixels can show."""
        with self.run_cache.open(run_id) as run:
            return Json(timeline.lanes(self._table(run), low, high, width))

    def shares(self, run_id: str) -> Response:
        """Breakdown of the time by span name, goodput, and findings."""
        with self.run_cache.open(run_id) as run:
            return Json(timeline.shares(self._table(run), statuses_by_number(run.views), run.params, run.environment))
