"""The dashboard's cache of the store: opened runs, one reader at a time for each, and the rows of the list.

Used by the API's worker threads and the live updates. Memory is bounded: few runs stay open; of the others it keeps
only their row. Never writes.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tracelet.errors import RunNotFound
from tracelet.journal.records import RUNNING
from tracelet.journal.run_folder import RUNS
from tracelet.store.filtering import namespace
from tracelet.store.fit_filtering import fit_namespaces
from tracelet.store.run import Run
from tracelet.store.run_info import RunInfo
from tracelet.store.store import Store

OPEN_RUNS = 48
"""Runs that stay open: as many as one compares, plus the running ones."""
FRESH = 0.4
"""Seconds during which the list is not read again: several pages ask at once."""


@dataclass(frozen=True)
class Row:
    """One run in the list: its info, and its fields for filters."""

    info: RunInfo
    names: dict[str, Any]
    automatic: frozenset[str]
    """The metrics that tracelet recorded automatically."""
    heartbeat: float
    """When its journals were last written, in seconds since the epoch."""
    changed: int
    """The folder's modification time; if it is unchanged and the run is over, the row is valid."""

    fits: list[dict[str, Any]] = field(default_factory=list)
    """The fields for filters of each fit, if the run has several."""

    def namespace(self) -> dict[str, Any]:
        """The current fields for filters."""
        times = {"duration": self.info.duration, "age": time.time() - self.info.started}
        return {**self.names, **times}


class _Opened:
    """A run and its lock: only one thread at a time reads a run."""

    def __init__(self, path: Path) -> None:
        self.lock = threading.RLock()
        self.path = path
        self.run: Run | None = None


class RunCache:
    """The runs of one store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.folder = store.root / RUNS
        self._opened: OrderedDict[str, _Opened] = OrderedDict()
        self._guard = threading.Lock()
        self._listing = threading.Lock()
        self._rows: dict[str, Row] = {}
        self._listed = 0.0

    def path(self, run_id: str) -> Path:
        """The folder of a run, a direct child of the store. RunNotFound for anything else."""
        path = self.folder / run_id
        plain = run_id and not run_id.startswith(".") and Path(run_id).name == run_id and "\0" not in run_id
        if not plain or not path.is_dir():
            raise RunNotFound(f"run {run_id[:80]!r} does not exist in this store. It may have been deleted")
        return path

    @contextmanager
    def open(self, run_id: str, refresh: bool = True) -> Iterator[Run]:
        """The run in its current state, locked for this thread."""
        path = self.path(run_id)
        with self._guard:
            opened = self._opened.setdefault(run_id, _Opened(path))
            self._opened.move_to_end(run_id)
            while len(self._opened) > OPEN_RUNS:
                self._opened.popitem(last=False)
        with opened.lock:
            if opened.run is None:
                opened.run = Run(path)
            elif refresh:
                opened.run.refresh()
            yield opened.run

    def forget(self, run_id: str) -> None:
        """The run was deleted or changed: read it again when it is next requested."""
        with self._guard:
            self._opened.pop(run_id, None)
        with self._listing:
            self._rows.pop(run_id, None)
            self._listed = 0.0

    def rows(self) -> list[Row]:
        """All runs, newest first. Finished runs are read once."""
        with self._listing:
            if time.monotonic() - self._listed > FRESH:
                self._rows = {row.info.id: row for row in map(self._row, self._folders()) if row is not None}
                self._listed = time.monotonic()
            return sorted(self._rows.values(), key=lambda row: row.info.started, reverse=True)

    def row(self, run_id: str) -> Row:
        """The current row of one run. RunNotFound if there is none."""
        known = self._rows.get(run_id)
        try:
            changed = self.path(run_id).stat().st_mtime_ns
            if known is None or known.changed != changed or known.info.status == RUNNING:
                with self.open(run_id) as run:
                    known = self._rows[run_id] = self._read(run, changed)
        except OSError as error:
            raise RunNotFound(f"run {run_id!r} no longer exists. It may have been deleted") from error
        return known

    def _folders(self) -> list[Path]:
        try:
            return [path for path in self.folder.iterdir() if not path.name.startswith(".")]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _row(self, path: Path) -> Row | None:
        known = self._rows.get(path.name)
        try:
            changed = path.stat().st_mtime_ns
            if known is not None and known.changed == changed and known.info.status != RUNNING:
                return known
            if known is not None and known.info.status == RUNNING:
                with self.open(path.name) as run:
                    return self._read(run, changed)
            return self._read(Run(path), changed)
        except (OSError, RunNotFound):
            return None

    @staticmethod
    def _read(run: Run, changed: int) -> Row:
        info, summaries = run.info, run.summaries()
        automatic = frozenset(name for name, summary in summaries.items() if summary.automatic)
        beat = max((view.path.stat().st_mtime for view in run.views), default=info.started)
        names = namespace(run, info, summaries)
        return Row(info, names, automatic, beat, changed, fit_namespaces(run, names))
