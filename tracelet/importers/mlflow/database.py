"""Runs in an SQLite database of MLflow, read with SQL: MLflow's client would migrate it and lock out the older version.

The file is opened read-only. Points come in the order of their rows, which is the order of logging.
"""

from __future__ import annotations

import math
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tracelet.importers.base import Item, PointBatch, SourceRun
from tracelet.importers.mlflow.statuses import DELETED, MILLI, facts
from tracelet.importers.sqlite_file import is_database, opened, tables
from tracelet.journal.records import Artifact, Notice

NEEDED = {"runs", "metrics", "params", "tags", "experiments"}
LARGEST = sys.float_info.max
ROWS_AT_ONCE = 100_000


def find(format: str, path: Path) -> list[SourceRun]:
    """The runs in the database that are not deleted; none if it is not MLflow's."""
    if not is_database(path):
        return []
    with opened(path) as database:
        if not tables(database) >= NEEDED:
            return []
        rows = database.execute(
            "select runs.run_uuid, runs.name, experiments.name from runs join experiments using (experiment_id)"
            " where runs.lifecycle_stage <> ? order by runs.start_time, runs.run_uuid", (DELETED,)
        )  # fmt: skip
        return [SourceRun(format, path, run, name or run, project or "") for run, name, project in rows]


def read(run: SourceRun) -> Iterator[Item]:
    """The content of the run."""
    with opened(run.path) as database:
        row = database.execute(
            "select start_time, end_time, status, artifact_uri from runs where run_uuid = ?", (run.key,)
        ).fetchone()
        started, ended, status, artifacts = row if row is not None else (0, None, "", "")
        params, tags = (_pairs(database, table, run.key) for table in ("params", "tags"))
        rest = list(facts(params, tags, started or 0, ended, status or ""))
        yield from rest[:-1]
        yield from _points(database, run.key)
        yield from _artifacts(artifacts or "")
        yield rest[-1]


def _pairs(database: sqlite3.Connection, table: str, run: str) -> dict[str, str]:
    rows = database.execute(f"select key, value from {table} where run_uuid = ? order by key", (run,))  # noqa: S608
    return {str(key): str(value) for key, value in rows}


def _points(database: sqlite3.Connection, run: str) -> Iterator[Item]:
    names = [
        name for (name,) in database.execute("select distinct key from metrics where run_uuid = ? order by 1", (run,))
    ]
    unreadable = 0
    for name in names:
        rows = database.execute(
            "select step, value, is_nan, timestamp from metrics where run_uuid = ? and key = ? order by rowid",
            (run, name),
        )
        while found := rows.fetchmany(ROWS_AT_ONCE):
            sound = [one for one in found if isinstance(one[0], int) and isinstance(one[3], int)]
            unreadable += len(found) - len(sound)
            if sound:
                yield _batch(str(name), sound)
    if unreadable:
        yield Notice(
            time=0, code="import", message=f"{unreadable:,} points have steps that are no integers in the database"
        )


def _batch(name: str, rows: list[Any]) -> PointBatch:
    import numpy as np

    steps, values, nan, times = zip(*rows)
    numbers = np.array(values, dtype=np.float64)
    numbers[numbers >= LARGEST] = math.inf
    numbers[numbers <= -LARGEST] = -math.inf
    numbers[np.array(nan, dtype=np.bool_)] = math.nan
    return PointBatch(name, np.array(steps, dtype=np.int64), numbers, np.array(times, dtype=np.int64) * MILLI)


def _artifacts(uri: str) -> Iterator[Item]:
    """The files of the run in place, if that is a folder of this machine."""
    parts = urlsplit(uri)
    folder = Path(unquote(parts.path)) if parts.scheme in ("", "file") and parts.path else None
    if folder is None or not folder.is_dir():
        return
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        stat = path.stat()
        name = path.relative_to(folder).as_posix()
        yield Artifact(time=int(stat.st_mtime * 1e6), name=name, path=str(path), size=stat.st_size)
