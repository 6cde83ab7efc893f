"""The `comet` importer: zip files of Comet's offline experiments, `experiment.json` and `messages.json`.

Comet makes the file complete when the experiment ends; one of 22 bytes is open or was killed, and holds nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from tracelet.errors import ImportFailed
from tracelet.importers import zipped
from tracelet.importers.base import Item, SourceRun
from tracelet.importers.point_columns import PointColumns
from tracelet.importers.text_numbers import measured
from tracelet.importers.timestamps import from_millis
from tracelet.journal.records import FINISHED, Console, Facts, Notice, Params, Scalar, Status, Tags

ABOUT, MESSAGES = "experiment.json", "messages.json"
NAME = "Name"
AUTOMATIC = frozenset({"curr_step", "curr_epoch", "offline_experiment", "hasNestedParams", "process duration"})
"""What the SDK adds by itself."""


class CometImporter:
    """Reads offline experiments."""

    name = "comet"

    def find(self, path: Path) -> list[SourceRun]:
        """A run for each zip file of Comet."""
        files = [path] if path.is_file() else sorted(path.rglob("*.zip"))
        return [self._source(file) for file in files if zipped.names(file) >= {ABOUT, MESSAGES}]

    def _source(self, path: Path) -> SourceRun:
        name = project = ""
        tags: dict[str, str] = {}
        with suppress(ImportFailed):  # reading the run says what is damaged, and others are imported
            about = zipped.json_object(path, ABOUT)
            tags, project = {str(tag): "true" for tag in about.get("tags") or ()}, str(about.get("project_name") or "")
            named = (one["payload"] for one in _messages(path) if one["type"] == "log_other")
            name = next((str(one.get("value")) for one in named if one.get("key") == NAME), "")
        return SourceRun(self.name, path, name=name or path.stem, project=project, tags=tags)

    def read(self, run: SourceRun) -> Iterator[Item]:
        """The messages in their order."""
        about = zipped.json_object(run.path, ABOUT)
        reading = _Reading(from_millis(about.get("start_time")))
        for message in _messages(run.path):
            yield from reading.items(message["type"], message["payload"])
        yield from reading.rest()
        stopped = from_millis(about.get("stop_time")) or reading.time
        yield Status(time=stopped, status=FINISHED, reason=str(about.get("customer_error_message") or ""))


def _messages(path: Path) -> Iterator[dict[str, Any]]:
    for line in zipped.lines(path, MESSAGES):
        try:
            message = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ImportFailed(f"{path} is damaged: {MESSAGES} cannot be read: {error}") from None
        if isinstance(message, dict) and isinstance(message.get("payload"), dict) and "type" in message:
            yield message


class _Reading:
    """The state of reading an experiment."""

    def __init__(self, time: int) -> None:
        self.time = time
        self._points = PointColumns()
        self._params: dict[str, Scalar] = {}
        self._others: dict[str, Any] = {}
        self._printed: dict[str, list[str]] = {"stdout": [], "stderr": []}
        self._skipped: Counter[str] = Counter()

    def items(self, kind: str, payload: dict[str, Any]) -> Iterator[Item]:
        time = from_millis(payload.get("local_timestamp")) or self.time
        if kind == "metric_msg":
            self._metric(payload.get("metric") or {}, time)
            yield from self._points.full()
        elif kind == "parameter_msg":
            self._param(payload.get("param") or {})
        elif kind == "log_other" and payload.get("key") not in AUTOMATIC:
            self._others[str(payload.get("key"))] = payload.get("value")
        elif kind == "standard_output":
            self._printed["stderr" if payload.get("stderr") else "stdout"].append(str(payload.get("output", "")))
        elif kind == "log_tags":
            yield Tags(time=time, values={str(tag): "true" for tag in payload.get("tags") or ()})
        elif "file" in kind or "asset" in kind:
            self._skipped[kind] += 1

    def _metric(self, metric: dict[str, Any], time: int) -> None:
        name, value = str(metric.get("metricName")), measured(metric.get("metricValue"))
        if value is None:
            self._skipped["metrics without a number"] += 1
        elif name not in AUTOMATIC:
            self._points.add(name, measured(metric.get("step")), value, time)

    def _param(self, param: dict[str, Any]) -> None:
        name, value = str(param.get("paramName")), param.get("paramValue")
        if name not in AUTOMATIC:
            plain = value is None or isinstance(value, (str, int, float, bool))
            self._params[name.replace("|", "/")] = value if plain else json.dumps(value)

    def rest(self) -> Iterator[Item]:
        """What is known when all messages were read."""
        yield from self._points.rest()
        if self._params:
            yield Params(time=self.time, values=self._params, source="comet")
        if self._others:
            yield Facts(time=self.time, topic="comet", values=self._others)
        for stream, parts in self._printed.items():
            printed = "".join(parts).splitlines()
            if printed:
                yield Console(time=self.time, stream=stream, lines=[(n, 0, line) for n, line in enumerate(printed)])
        yield from self._points.notices()
        for kind, count in sorted(self._skipped.items()):
            yield Notice(time=self.time, code="import", message=f"{count:,} {kind} are not imported", count=count)
