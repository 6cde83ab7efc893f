"""The `trackio` importer: the SQLite files of trackio, one for each project.

Values that JSON lacks are the strings `NaN`, `Infinity` and `-Infinity`. Rows that were sent together have one time.
The database does not record how a run ended.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tracelet.capture.parameters import flatten
from tracelet.importers.base import Item, SourceRun
from tracelet.importers.point_columns import PointColumns
from tracelet.importers.sqlite_file import columns, is_database, opened, tables
from tracelet.importers.text_numbers import measured
from tracelet.importers.timestamps import from_iso
from tracelet.journal.records import Notice, Params, Tags

NEEDED = {"timestamp", "run_name", "step", "metrics"}
OWN = "_"
"""Names of a configuration that begin like this are trackio's."""
SYSTEM = "system/"


class TrackioImporter:
    """Reads databases of trackio."""

    name = "trackio"

    def find(self, path: Path) -> list[SourceRun]:
        """The runs of every database at or below the path; the project is the name of the file."""
        files = [path] if path.is_file() else sorted(path.rglob("*.db"))
        return [run for file in files if is_database(file) for run in self._runs(file)]

    def _runs(self, path: Path) -> Iterator[SourceRun]:
        with opened(path) as database:
            if "metrics" not in tables(database) or not columns(database, "metrics") >= NEEDED:
                return
            key = _key(database, "metrics")
            order = f"select {key}, run_name from metrics group by {key} order by min(id)"  # noqa: S608
            for run, name in database.execute(order):
                yield SourceRun(self.name, path, str(run), str(name), path.stem)

    def read(self, run: SourceRun) -> Iterator[Item]:
        """Configuration, metrics and system metrics of a run."""
        with opened(run.path) as database:
            yield from _config(database, run.key)
            yield from _points(database, "metrics", run.key)
            if "system_metrics" in tables(database):
                yield from _points(database, "system_metrics", run.key)


def _key(database: sqlite3.Connection, table: str) -> str:
    """The column that distinguishes runs: older versions have only their names."""
    return "run_id" if "run_id" in columns(database, table) else "run_name"


def _config(database: sqlite3.Connection, run: str) -> Iterator[Item]:
    if "configs" not in tables(database):
        return
    rows = database.execute(f"select config from configs where {_key(database, 'configs')} = ?", (run,))  # noqa: S608
    for (raw,) in rows:
        config = _loaded(raw)
        time = from_iso(config.get("_Created")) or 0
        own = {name: value for name, value in config.items() if not name.startswith(OWN)}
        if own:
            yield Params(time=time, values=flatten(own), source="trackio")
        if config.get("_Group"):
            yield Tags(time=time, values={"group": str(config["_Group"])})


def _points(database: sqlite3.Connection, table: str, run: str) -> Iterator[Item]:
    system = table == "system_metrics"
    step = "null" if system else "step"
    query = f"select {step}, timestamp, metrics from {table} where {_key(database, table)} = ? order by id"  # noqa: S608
    points, skipped = PointColumns(), Counter[str]()
    for place, stamp, raw in database.execute(query, (run,)):
        time = from_iso(stamp) or 0
        for name, cell in _leaves("", _loaded(raw)):
            value = measured(cell)
            if value is None and cell is not None:
                skipped[name] += 1
            elif value is not None:
                points.add(SYSTEM + name if system else name, measured(place), value, time)
        yield from points.full()
    yield from points.rest()
    yield from points.notices()
    if skipped:
        names = ", ".join(sorted(skipped)[:10])
        message = f"{skipped.total():,} values that are no numbers are not imported: {names}"
        yield Notice(time=points.latest, code="import", message=message, count=skipped.total())


def _loaded(raw: Any) -> dict[str, Any]:
    try:
        values = json.loads(raw)
    except (ValueError, TypeError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _leaves(prefix: str, values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Nested numbers by names joined with `/`; a media object is one leaf."""
    for name, value in values.items():
        if isinstance(value, dict) and "_type" not in value:
            yield from _leaves(f"{prefix}{name}/", value)
        else:
            yield f"{prefix}{name}", value
