"""The folder that holds runs: the session creates it, everything else reads it.

`.tracelet/` contains a `.gitignore` that ignores it; `.tracelet/runs/ID/` is one run, with its journals and
`artifacts/`.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tracelet import settings
from tracelet.errors import InvalidArgument, RunNotFound, StoreError
from tracelet.journal.records import STATUSES
from tracelet.journal.run_folder import RUNS, ignore_in_git
from tracelet.store.fits import Fit
from tracelet.store.run import Run

if TYPE_CHECKING:
    import pyarrow

STORE_NAME = ".tracelet"
LATEST = "latest"
"""A name for the latest run in every command; never matches a run's id or name."""
MIN_PREFIX = 4
"""An argument shorter than this matches a run's name, not an id prefix. A run named `a` must not be confused with
another one, because `rm` would delete that.
"""


def locate(path: str | os.PathLike[str] | None = None) -> Path:
    """The absolute path of the store's folder: the argument, else TRACELET_DIR or the setting `dir`, else `.tracelet`
    here.
    """
    chosen = os.fspath(path) if path is not None else settings.load().dir
    return Path(chosen or STORE_NAME).expanduser().absolute()


def prepare(path: str = "") -> Path:
    """Create the store's folder if it is missing and return the folder of its runs. Raises OSError."""
    root = locate(path or None)
    runs = root / RUNS
    runs.mkdir(parents=True, exist_ok=True)
    ignore_in_git(root)
    return runs


class Store:
    """The runs in one folder. Cheap to create; reads on demand."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def open(cls, path: str | os.PathLike[str] | None = None) -> Store:
        """The store at `path`; a folder that does not exist yet is an empty store. StoreError if it is a file."""
        root = locate(path)
        if root.exists() and not root.is_dir():
            raise StoreError(f"{root} is a file, not a store folder. Name the folder: --dir FOLDER, or TRACELET_DIR")
        return cls(root)

    def __repr__(self) -> str:
        return f"<tracelet.Store {self.root}>"

    def _repr_html_(self) -> str:
        from tracelet.store.notebook_views import store_html

        return store_html(self.root, [run.info for run in self.runs()])

    def _folders(self) -> Iterator[Path]:
        try:
            with os.scandir(self.root / RUNS) as entries:
                yield from (Path(entry.path) for entry in entries if entry.is_dir())
        except (FileNotFoundError, NotADirectoryError):
            return

    def runs(self, project: str | None = None, status: str | None = None) -> list[Run]:
        """All runs, newest first; optionally only those of one project or status. InvalidArgument for an unknown
        status.
        """
        if status is not None and status not in STATUSES:
            raise InvalidArgument(f"unknown status {status!r}. Statuses: {', '.join(STATUSES)}")
        found = []
        for folder in self._folders():
            run = Run(folder)
            info = run.info
            if project in (None, info.project) and status in (None, info.status):
                found.append((info.started, run))
        return [run for _, run in sorted(found, key=lambda pair: pair[0], reverse=True)]

    def query(self, sql: str, *, filter: str | None = None, metrics: Collection[str] = ()) -> pyarrow.Table:
        """The rows of an SQL query over the tables runs, params, tags, metrics, points, spans, events and artifacts.

        `filter`: read only runs that match, as in `tracelet ls --filter`. `metrics`: read only these metrics and their
        points. The result has `.to_pylist()` and `.to_pandas()`; `polars.from_arrow(result)` makes a polars frame.
        QueryError for SQL that is wrong; NotInstalled without DuckDB.
        """
        from tracelet.store.sql.query import query

        with query(sql, lambda: self.matching(filter), metrics) as rows:
            return rows.read_all()

    def matching(self, expression: str | None) -> list[Run]:
        """The runs that match a filter, or one of whose fits does, newest first; all without one. FilterError for a
        filter that is wrong.
        """
        if expression is None:
            return self.runs()
        from tracelet.store.filtering import namespace
        from tracelet.store.fit_filtering import fit_namespaces, select
        from tracelet.store.search import Search

        named = [(run, namespace(run)) for run in self.runs()]
        rows = [(run, names, fit_namespaces(run, names)) for run, names in named]
        return [run for run, _ in select(rows, Search(expression))]

    def run(self, name: str, *, unique: bool = False) -> Run:
        """The run with this id, unique id prefix, or name. RunNotFound otherwise.

        `latest` is the run whose newest training process started last, so a resumed run counts from its resumption. If
        several runs have the name, the newest is returned; with `unique` that is an error instead, for callers that
        delete.
        """
        if not isinstance(name, str):
            raise InvalidArgument(f"a run is found by its id or name, not by {name!r}. E.g. store.run('latest')")
        folders = {folder.name: folder for folder in self._folders()}
        if name == LATEST:
            return self._latest()
        if name in folders:
            return Run(folders[name])
        return self._by_prefix_or_name(name, folders, unique)

    def fit(self, name: str) -> Fit:
        """The fit `RUN:2`; RUN alone if the run has one fit. RunNotFound otherwise."""
        run, fit = self.run_and_fit(name)
        if fit is None and len(run.fits) > 1:
            raise RunNotFound(f"run {run.id} has {len(run.fits)} fits. Name one of them, e.g. {run.id}:1")
        return fit or run.fits[0]

    def run_and_fit(self, name: str) -> tuple[Run, Fit | None]:
        """The run with this id, prefix or name, or the run of the fit `RUN:2`, and the fit. RunNotFound otherwise."""
        try:
            return self.run(name), None
        except RunNotFound:
            of_run, colon, number = name.rpartition(":")
            if not colon or not number.isdecimal():
                raise
            run = self.run(of_run)
            return run, run.fit(int(number))

    def _latest(self) -> Run:
        runs = self.runs()
        if not runs:
            raise RunNotFound(f"no runs in {self.root}. Record one: tracelet demo")
        starts = [max((one.started.time / 1e6 for one in run.processes), default=run.info.started) for run in runs]
        return runs[starts.index(max(starts))]

    def _by_prefix_or_name(self, name: str, folders: dict[str, Path], unique: bool) -> Run:
        prefixed = [Run(folder) for run_id, folder in folders.items() if name and run_id.startswith(name)]
        matches = prefixed if len(name) >= MIN_PREFIX else []
        if not matches:
            runs = [(run, run.info) for run in self.runs()]
            renamed = [run for run, info in runs if info.original_name == name]
            named = [run for run, info in runs if info.name == name] or renamed
            matches = (named if unique else named[:1]) or prefixed
        if len(matches) == 1:
            return matches[0]
        if not matches:
            raise RunNotFound(f"no run in {self.root} has the id, id prefix or name {name!r}. List them: tracelet ls")
        listed = ", ".join(run.id for run in matches[:5])
        raise RunNotFound(f"{len(matches)} runs match {name!r}: {listed}. Give one of these ids")
