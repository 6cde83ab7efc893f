"""Whole series in memory, unpacked once, so that repeated zooms into millions of points are fast. Bounded in bytes.

Used by the API's worker threads, which hold the run's lock during a call. A series of an active run is extended: only
the chunks after the last cursor are read.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from tracelet.errors import JournalError
from tracelet.journal.frames import Cursor
from tracelet.journal.journal_view import JournalView
from tracelet.journal.records import KIND_OF, Chunk, Points
from tracelet.store.run import Run
from tracelet.store.series import Origin, Series, assemble, join

MOST_BYTES = 640 * 1024 * 1024
"""Two series of ten million points with steps, times and values, and some thousand ordinary ones."""

Key = tuple[str, str, int]
"""Run, metric, rank; -1 for all."""
Signature = tuple[tuple[str, int, bool], ...]
"""(file, points, sealed) of every journal that has the metric."""


@dataclass
class _Kept:
    series: Series
    signature: Signature
    cursors: dict[str, Cursor] = field(default_factory=dict)

    @property
    def size(self) -> int:
        columns = (self.series.steps, self.series.values, self.series.times, self.series.epochs, self.series.weights)
        return sum(column.nbytes for column in columns if any(column.strides)) + 1000


class SeriesCache:
    """Series by run, metric and rank."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def bytes(self) -> int:
        """Bytes currently in the cache."""
        return sum(kept.size for kept in self._kept.values())

    def series(self, run: Run, name: str, rank: int | None = None) -> Series:
        """The current series; without a rank, aggregated over all ranks. KeyError if there is none."""
        chosen, views, signature = self._held(run, name, rank)
        key = (run.id, name, -1 if chosen is None else chosen)
        with self._lock:
            kept = self._kept.get(key)
        if kept is None or kept.signature != signature:
            kept = self._continued(kept, name, views, signature) or _read(run, name, chosen, signature)
            self._keep(key, kept)
        return kept.series

    def awaits(self, run: Run, name: str, rank: int | None = None) -> int:
        """The number of points of one rank, whose journals have ended, that `series` would have to read; 0 if they are
        cached, or if reading is not all there is to do. KeyError if there is none.
        """
        chosen, views, signature = self._held(run, name, rank)
        with self._lock:
            kept = self._kept.get((run.id, name, -1 if chosen is None else chosen))
        branches = {(view.started.rank, view.started.branch) for view in views if view.started}
        if kept is not None or len(branches) > 1 or not all(sealed for _, _, sealed in signature):
            return 0
        return sum(count for _, count, _ in signature)

    @staticmethod
    def _held(run: Run, name: str, rank: int | None) -> tuple[int | None, list[JournalView], Signature]:
        """The rank that is meant, the journals that have the metric, and their current ends."""
        views = [view for view in run.views if view.started and name in view.metrics]
        known = ranks(run, name)
        if not known or (rank is not None and rank not in known):
            raise KeyError(f"run {run.id} has no metric {name!r}" + ("" if rank is None else f" of rank {rank}"))
        chosen = rank if rank is not None or len(known) > 1 else known[0]
        views = [view for view in views if chosen is None or (view.started and view.started.rank == chosen)]
        return chosen, views, tuple((view.path.name, view.metrics[name].count, view.sealed) for view in views)

    @staticmethod
    def _continued(kept: _Kept | None, name: str, views: list[JournalView], signature: Signature) -> _Kept | None:
        """The cached part plus what its only journal has received since; None if more than that has changed."""
        if len(views) != 1 or views[0].sealed or views[0].started is None:
            return None
        view = views[0]
        if kept is not None and [entry[0] for entry in kept.signature] != [view.path.name]:
            return None
        assert view.started is not None  # mypy: checked above
        cursor = kept.cursors.get(view.path.name, Cursor()) if kept else Cursor()
        chunks: list[tuple[Origin, Chunk]] = []
        try:
            for frame in view.reader.frames(cursor):
                cursor = frame.after
                if frame.kind == KIND_OF[Points]:
                    origin = Origin(view.started.rank, view.started.attempt)
                    chunks += [(origin, chunk) for chunk in frame.chunks(name)]
            fresh = assemble(name, chunks)
        except (JournalError, OSError):
            return None
        series = join([kept.series, fresh]) if kept and kept.cursors and len(kept.series) else fresh
        if len(series) < signature[0][1]:
            return None
        return _Kept(series, ((view.path.name, len(series), False),), {view.path.name: cursor})

    def _keep(self, key: Key, kept: _Kept) -> None:
        with self._lock:
            self._kept[key] = kept
            self._kept.move_to_end(key)
            while len(self._kept) > 1 and self.bytes > self.most_bytes:
                self._kept.popitem(last=False)


def _read(run: Run, name: str, rank: int | None, signature: Signature) -> _Kept:
    return _Kept(run.series(name, rank), signature)


def ranks(run: Run, name: str) -> list[int]:
    """The ranks that have the metric, ascending."""
    return sorted({view.started.rank for view in run.views if view.started and name in view.metrics})
