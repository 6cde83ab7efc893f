"""The `clearml` importer: offline sessions of ClearML, as a folder or as the zip file that `Task.close` makes.

ClearML writes NaN and infinities as 0.0, whole milliseconds, and no status; an initial iteration is not in these files.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tracelet.errors import ImportFailed
from tracelet.importers import zipped
from tracelet.importers.base import Item, SourceRun
from tracelet.importers.point_columns import PointColumns
from tracelet.importers.text_numbers import as_number, measured
from tracelet.importers.timestamps import from_millis
from tracelet.journal.records import Console, Facts, Notice, Params, Scalar

TASK, METRICS, LOG = "task.json", "metrics.jsonl", "log.jsonl"
PREFIX = "offline-"
SCALAR, SINGLE_VALUE = "training_stats_scalar", -(2**31)
DEFAULT_SECTION = "General"


class ClearmlImporter:
    """Reads offline sessions."""

    name = "clearml"

    def find(self, path: Path) -> list[SourceRun]:
        """A run for each session; the zip file beside a session's folder is the same one."""
        if path.is_file():
            return self._sources([path] if path.suffix == ".zip" else [])
        found: list[Path] = []
        for folder, subfolders, files in os.walk(path):
            subfolders.sort()
            here = Path(folder)
            if TASK in files:
                found.append(here)
            found += [here / name for name in sorted(files) if name.endswith(".zip") and name[:-4] not in subfolders]
        return self._sources(found)

    def _sources(self, paths: list[Path]) -> list[SourceRun]:
        found: list[SourceRun] = []
        for path in paths:
            task = zipped.json_object(path, TASK) if TASK in zipped.names(path) else {}
            if str(task.get("id", "")).startswith(PREFIX):
                tags = {str(tag): "true" for tag in task.get("tags") or ()}
                name, project = str(task.get("name") or path.stem), str(task.get("project_name") or "")
                found.append(SourceRun(self.name, path, str(task["id"]), name, project, tags))
        return found

    def read(self, run: SourceRun) -> Iterator[Item]:
        """Scalars, single values, hyperparameters and console."""
        reading = _Reading()
        for event in _events(run.path, METRICS):
            reading.take(event)
            yield from reading.points.full()
        yield from reading.points.rest()
        time = reading.points.earliest
        params = dict(_params(zipped.json_object(run.path, TASK)))
        if params:
            yield Params(time=time, values=params, source="clearml")
        if reading.single:
            yield Facts(time=time, topic="summary", values=reading.single)
        yield from _console(run.path)
        yield from reading.notices()


def _events(path: Path, name: str) -> Iterator[dict[str, Any]]:
    """The events of a file; each of its lines is a list of some."""
    for line in zipped.lines(path, name):
        if not line.strip():
            continue
        try:
            events = json.loads(line)
        except (ValueError, RecursionError) as error:
            if not line.endswith("\n"):
                return  # it is being written
            raise ImportFailed(f"{path} is damaged: {name} cannot be read: {error}") from None
        yield from (event for event in events if isinstance(event, dict)) if isinstance(events, list) else ()


def _params(task: dict[str, Any]) -> Iterator[tuple[str, Scalar]]:
    sections = task.get("hyperparams")
    for section, values in sections.items() if isinstance(sections, dict) else ():
        for name, one in values.items() if isinstance(values, dict) else ():
            prefix = "" if section == DEFAULT_SECTION else f"{section}/"
            yield f"{prefix}{name}", as_number(str(one.get("value", "") if isinstance(one, dict) else one))


def _console(path: Path) -> Iterator[Item]:
    number = 0
    for event in _events(path, LOG):
        printed = str(event.get("msg", "")).splitlines()
        if printed:
            lines = [(number + place, 0, line) for place, line in enumerate(printed)]
            number += len(printed)
            yield Console(time=from_millis(event.get("timestamp")), stream="stdout", lines=lines)


class _Reading:
    """The state of reading a session's events."""

    def __init__(self) -> None:
        self.points = PointColumns()
        self.single: dict[str, Any] = {}
        self._skipped: Counter[str] = Counter()
        self._zeros = 0

    def take(self, event: dict[str, Any]) -> None:
        value, step = measured(event.get("value")), measured(event.get("iter"))
        if event.get("type") != SCALAR or value is None:
            self._skipped[str(event.get("type"))] += 1
        elif step == SINGLE_VALUE:
            self.single[str(event.get("variant"))] = value
        else:
            self._zeros += value == 0
            name = f"{event.get('metric')}/{event.get('variant')}"
            self.points.add(name, step, value, from_millis(event.get("timestamp")))

    def notices(self) -> Iterator[Notice]:
        yield from self.points.notices()
        if self._zeros:
            yield self._notice("values are 0.0, as which ClearML also writes NaN and infinities", self._zeros)
        for kind, count in sorted(self._skipped.items()):
            yield self._notice(f"events of kind {kind!r} are not imported", count)

    def _notice(self, message: str, count: int) -> Notice:
        return Notice(time=self.points.latest, code="import", message=f"{count:,} {message}", count=count)
