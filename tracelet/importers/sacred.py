"""The `sacred` importer: folders of Sacred's FileStorageObserver, `NUMBER/{run,config,metrics}.json` and `cout.txt`.

Times in these files are in UTC and say no zone. Metrics are written at Sacred's heartbeat, every 10 seconds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tracelet.capture.parameters import flatten
from tracelet.errors import ImportFailed
from tracelet.importers.base import Item, SourceRun
from tracelet.importers.point_columns import PointColumns
from tracelet.importers.text_numbers import measured
from tracelet.importers.timestamps import from_iso, modified
from tracelet.journal.records import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    KILLED,
    Artifact,
    Console,
    Facts,
    Notice,
    Params,
    Status,
)

RUN, CONFIG, METRICS, CONSOLE, INFO = "run.json", "config.json", "metrics.json", "cout.txt", "info.json"
OWN_FILES = frozenset({RUN, CONFIG, METRICS, CONSOLE, INFO})
STATUSES = {"COMPLETED": FINISHED, "FAILED": FAILED, "INTERRUPTED": INTERRUPTED}
NO_END = "the source has no end"


class SacredImporter:
    """Reads the folders of a FileStorageObserver."""

    name = "sacred"

    def find(self, path: Path) -> list[SourceRun]:
        """A run for each folder with Sacred's files; its project is the experiment."""
        found: list[SourceRun] = []
        for folder, subfolders, files in os.walk(path if path.is_dir() else ""):
            subfolders.sort()
            if RUN in files and CONFIG in files:
                here = Path(folder)
                experiment = _experiment(here)
                if experiment is not None:
                    found.append(SourceRun(self.name, here, name=f"{experiment}-{here.name}", project=experiment))
                    subfolders.clear()
        return found

    def read(self, run: SourceRun) -> Iterator[Item]:
        """Metrics, configuration, result, console, files by reference, and the status."""
        known = _loaded(run.path / RUN)
        started = from_iso(known.get("start_time")) or modified(run.path / RUN)
        config = {name: value for name, value in _loaded(run.path / CONFIG).items() if name != "__doc__"}
        if config:
            yield Params(time=started, values=flatten(config), source="sacred")
        yield from _points(run.path / METRICS)
        yield from _rest(run.path, known, started)
        yield _ended(known, started)


def _experiment(folder: Path) -> str | None:
    """The name of the experiment; None if these are not Sacred's files."""
    try:
        known = json.loads((folder / RUN).read_text(encoding="utf-8"))
        return str(known["experiment"]["name"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _ended(known: dict[str, Any], started: int) -> Status:
    found = str(known.get("status"))
    trace = "".join(map(str, known.get("fail_trace") or ()))
    reason = trace.strip().rpartition("\n")[2] or (NO_END if found == "RUNNING" else "" if found in STATUSES else found)
    time = from_iso(known.get("stop_time")) or from_iso(known.get("heartbeat")) or started
    return Status(time=time, status=STATUSES.get(found, KILLED), reason=reason, traceback=trace)


def _loaded(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ImportFailed(f"{path} cannot be read as JSON: {error}. If Sacred is writing it, import again") from None
    if not isinstance(values, dict):
        raise ImportFailed(f"{path} has a {type(values).__name__}, not a JSON object")
    return values


def _points(path: Path) -> Iterator[Item]:
    points = PointColumns()
    skipped = 0
    for name, series in _loaded(path).items():
        columns = [series.get(column, ()) for column in ("steps", "values", "timestamps")]
        if len({len(column) for column in columns}) != 1:
            raise ImportFailed(f"{path} is damaged: the columns of {name!r} have different lengths")
        for step, value, time in zip(*columns):
            number = measured(value)
            if number is None:
                skipped += 1
                continue
            points.add(name, measured(step), number, from_iso(time) or 0)
            yield from points.full()
    yield from points.rest()
    yield from points.notices()
    if skipped:
        message = f"{skipped:,} values of metrics are no numbers and are not imported"
        yield Notice(time=points.latest, code="import", message=message, count=skipped)


def _rest(folder: Path, known: dict[str, Any], started: int) -> Iterator[Item]:
    summary = dict(_loaded(folder / INFO))
    if known.get("result") is not None:
        summary["result"] = known["result"]
    if summary:
        yield Facts(time=started, topic="summary", values=summary)
    facts: dict[str, Any] = {name: known[name] for name in ("host", "command", "meta", "experiment") if name in known}
    yield Facts(time=started, topic="sacred", values=facts)
    path = folder / CONSOLE
    if path.is_file():
        printed = path.read_text(encoding="utf-8", errors="replace").splitlines()
        if printed:
            lines = [(number, 0, line) for number, line in enumerate(printed)]
            yield Console(time=started, stream="stdout", lines=lines)
    for file in sorted(one for one in folder.iterdir() if one.is_file() and one.name not in OWN_FILES):
        yield Artifact(time=modified(file), name=file.name, path=str(file), size=file.stat().st_size)
