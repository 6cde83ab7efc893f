"""The `swanlab` importer: local runs of SwanLab, `run-ID.swanlab` with `files/config.yaml` beside it.

The records have the framing of W&B's. SwanLab keeps the first value of each step, and its file is empty until the run
has finished.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tracelet.capture.parameters import flatten
from tracelet.errors import ImportFailed
from tracelet.importers import yaml_file
from tracelet.importers.base import Item, SourceRun
from tracelet.importers.point_columns import PointColumns
from tracelet.importers.protobuf import Field, fields, number, text
from tracelet.importers.record_log import SWANLAB, RecordLog
from tracelet.journal.records import FAILED, FINISHED, INTERRUPTED, KILLED, Console, Notice, Params, Status

SUFFIX, CONFIG = "*.swanlab", Path("files", "config.yaml")
START, FINISH, SCALAR, MEDIA, LOG = 10, 11, 13, 14, 16
STATES = {1: FINISHED, 2: FAILED, 3: INTERRUPTED}
"""Finished, crashed, aborted."""


class SwanlabImporter:
    """Reads `.swanlab` files with the reader of `.wandb` files."""

    name = "swanlab"

    def find(self, path: Path) -> list[SourceRun]:
        """A run for each file."""
        files = [path] if path.is_file() else sorted(path.rglob(SUFFIX))
        return [self._source(file) for file in files if file.suffix == ".swanlab"]

    def _source(self, path: Path) -> SourceRun:
        for record, _ in zip(RecordLog(path, SWANLAB).records(), range(50)):
            start = _parts(record).get(START)
            if start is not None:
                parts = {part.number: part for part in fields(record, start.start, start.end)}
                name, project = (text(record, parts[n]) if n in parts else "" for n in (4, 1))
                tags = {text(record, one): "true" for one in fields(record, start.start, start.end) if one.number == 6}
                return SourceRun(self.name, path, name=name or path.stem, project=project, tags=tags)
        return SourceRun(self.name, path, name=path.stem)

    def read(self, run: SourceRun) -> Iterator[Item]:
        """Scalars, configuration, console and state."""
        log, reading = RecordLog(run.path, SWANLAB), _Reading()
        try:
            for record in log.records():
                reading.take(record)
                yield from reading.points.full()
        except ValueError as error:
            raise ImportFailed(f"{run.path} has a record that cannot be read: {error}") from None
        yield from reading.points.rest()
        yield from _config(run.path.parent / CONFIG, reading.time)
        yield from reading.rest(log.problems)


def _parts(record: bytes) -> dict[int, Field]:
    return {part.number: part for part in fields(record, 0, len(record))}


def _config(path: Path, time: int) -> Iterator[Item]:
    if not path.is_file():
        return
    config = yaml_file.loaded(path)
    if isinstance(config, dict) and config:
        values = {name: one.get("value") if isinstance(one, dict) else one for name, one in config.items()}
        yield Params(time=time, values=flatten(values), source="swanlab")


class _Reading:
    """The state of reading a run."""

    def __init__(self) -> None:
        self.points = PointColumns()
        self.time = 0
        self._media = 0
        self._status: Status | None = None
        self._lines: list[tuple[int, int, str]] = []

    def take(self, record: bytes) -> None:
        """One record."""
        parts = _parts(record)
        if 2 in parts:
            self.time = max(self.time, _timestamp(record, parts[2]))
        if SCALAR in parts:
            self._scalar(record, parts[SCALAR])
        elif MEDIA in parts:
            self._media += 1
        elif FINISH in parts:
            self._finish(record, parts[FINISH])
        elif LOG in parts:
            inner = {part.number: part for part in fields(record, parts[LOG].start, parts[LOG].end)}
            if 1 in inner:
                self._lines.append((len(self._lines), 0, text(record, inner[1])))

    def _scalar(self, record: bytes, message: Field) -> None:
        parts = {part.number: part for part in fields(record, message.start, message.end)}
        value = 0.0
        if 5 in parts:  # a message without its number is 0.0, as protocol buffers have it
            value = next((float(number(record, one)) for one in fields(record, parts[5].start, parts[5].end)), 0.0)
        step = int(number(record, parts[2])) if 2 in parts else 0
        time = _timestamp(record, parts[4]) if 4 in parts else self.time
        if 1 in parts:
            self.points.add(text(record, parts[1]), step, value, time)

    def _finish(self, record: bytes, message: Field) -> None:
        parts = {part.number: part for part in fields(record, message.start, message.end)}
        state: Any = parts[1].value if 1 in parts else 0
        reason = text(record, parts[2]) if 2 in parts else ""
        self._status = Status(time=self.time, status=STATES.get(state, KILLED), reason=reason)

    def rest(self, problems: list[str]) -> Iterator[Item]:
        """What is known when all records were read."""
        if self._lines:
            yield Console(time=self.points.earliest, stream="stdout", lines=self._lines)
        yield from self.points.notices()
        messages = [*problems, *([f"{self._media:,} media stay in the folder of the source"] if self._media else [])]
        yield from (Notice(time=self.time, code="import", message=message) for message in messages)
        yield self._status or Status(time=self.time, status=KILLED, reason="the source has no end")


def _timestamp(record: bytes, message: Field) -> int:
    parts = {part.number: part.value for part in fields(record, message.start, message.end)}
    return parts.get(1, 0) * 1_000_000 + parts.get(2, 0) // 1000
