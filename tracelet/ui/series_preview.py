"""A quick preview of a series of millions of points: as much as a chart shows, while the whole is being unpacked.

Called by the API's worker threads. Has one thread of its own, which unpacks one series after the other, so that zooming
into it is fast; it ends when none is left.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from tracelet.errors import TraceletError
from tracelet.store.run import Run
from tracelet.store.series import Series
from tracelet.ui.run_cache import RunCache
from tracelet.ui.series_cache import SeriesCache

LONG = 1_000_000
"""Points from which unpacking takes longer (0.1 s) than users perceive as instant."""

Wanted = tuple[str, str, "int | None"]
"""Run, metric, rank."""


class SeriesPreviews:
    """Previews of series that are still being unpacked."""

    def __init__(self, run_cache: RunCache, series_cache: SeriesCache) -> None:
        self._run_cache = run_cache
        self._series_cache = series_cache
        self._wanted: OrderedDict[Wanted, None] = OrderedDict()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def preview(self, run: Run, name: str, rank: int | None, points: int) -> tuple[Series, int] | None:
        """About `points` points of the series and its total number; None if the whole series is available
        as quickly.
        """
        total = self._series_cache.awaits(run, name, rank)
        if total < LONG:
            return None
        self._want((run.id, name, rank))
        return run.chart(name, points, rank), total

    def _want(self, wanted: Wanted) -> None:
        with self._lock:
            self._wanted[wanted] = None
            if self._thread is None:
                self._thread = threading.Thread(target=self._unpack, name="tracelet-columns", daemon=True)
                self._thread.start()

    def _unpack(self) -> None:
        while (wanted := self._next()) is not None:
            run_id, name, rank = wanted
            try:
                with self._run_cache.open(run_id) as run:
                    self._series_cache.series(run, name, rank)
            except (KeyError, OSError, TraceletError):
                continue  # deleted in the meantime, or damaged: the next request for it reports that

    def _next(self) -> Wanted | None:
        with self._lock:
            if not self._wanted:
                self._thread = None
                return None
            return self._wanted.popitem(last=False)[0]
