"""The `wandb` importer: offline runs of Weights & Biases, `run-ID.wandb` in folders of one segment each.

Imports history, configuration, tags, notes, group, system metrics, console and the final status; a notice counts files
and media, which are not copied. A run that was resumed has several folders and becomes one run.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tracelet.capture.parameters import flatten
from tracelet.importers.base import Item, PointBatch, SourceRun
from tracelet.importers.protobuf import BYTES, Field, fields, number, signed, text, varint
from tracelet.importers.record_log import RecordLog
from tracelet.importers.wandb_offline.history import INTERNAL_SUMMARY, History, item, loaded, plain_items
from tracelet.journal.records import FAILED, FINISHED, KILLED, Console, Facts, Notice, Params, Status, Tags

FILE = re.compile(r"run-([^/]+)\.wandb")
HISTORY, SUMMARY, CONFIG, FILES, STATS, METRIC, OUTPUT_RAW, RUN, EXIT = 2, 3, 5, 6, 7, 12, 13, 17, 18
ENVELOPE = frozenset({16, 19, 200})
"""Fields of a record that belong only to the transport."""
STDERR = 0
INTERNAL = "_wandb"


class WandbImporter:
    """Reads `.wandb` files with its own reader."""

    name = "wandb"

    def find(self, path: Path) -> list[SourceRun]:
        """One run per id; its segments are searched below the parent of its first folder."""
        files = [path] if path.is_file() else _files_below(path)
        found: dict[tuple[Path, str], SourceRun] = {}
        for file in files:
            match = FILE.fullmatch(file.name)
            if match is not None:
                folder = file if path.is_file() else file.parent.parent
                found.setdefault((folder, match[1]), SourceRun(self.name, folder, match[1], *_titles(file, match[1])))
        return list(found.values())

    def read(self, run: SourceRun) -> Iterator[Item]:
        """All segments of the run, in the order of their folders' names, which contain the time."""
        files = [run.path] if run.path.is_file() else _segments(run)
        reading = _Reading()
        for file in files:
            log = RecordLog(file)
            for record in log.records():
                yield from reading.items(record)
            yield from reading.rows(reading.history.rest())
            yield from (reading.notice(problem) for problem in log.problems)
        yield from reading.rest()


def _files_below(path: Path) -> list[Path]:
    found = []
    for folder, subfolders, names in os.walk(path):
        subfolders.sort()
        found += [Path(folder) / name for name in sorted(names) if FILE.fullmatch(name)]
    return found


def _segments(run: SourceRun) -> list[Path]:
    name = f"run-{run.key}.wandb"
    with os.scandir(run.path) as entries:
        # `latest-run` is a link to one of the others.
        folders = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    return [file for folder in folders if (file := run.path / folder / name).is_file()]


def _titles(file: Path, run_id: str) -> tuple[str, str]:
    """Name and project from the first records of the file."""
    for record, _ in zip(RecordLog(file).records(), range(50)):
        for one in fields(record, 0, len(record)):
            if one.number == RUN and one.wire == BYTES:
                parts = {part.number: part for part in fields(record, one.start, one.end) if part.wire == BYTES}
                return tuple(text(record, parts[n]) if n in parts else "" for n in (8, 3)) or (run_id, "")  # type: ignore[return-value]
    return run_id, ""


class _Reading:
    """The state of reading a run's segments."""

    def __init__(self) -> None:
        self.history = History()
        self.latest = 0
        self.files = 0
        self.exit: int | None = None
        self.summary: dict[str, Any] = {}
        self._plain_summary: dict[bytes, bytes] = {}
        self._stats: Counter[str] = Counter()
        self._lines: Counter[str] = Counter()

    def notice(self, message: str) -> Notice:
        """A remark on the import."""
        return Notice(time=self.latest, code="import", message=message)

    def items(self, record: bytes) -> Iterator[Item]:
        """The content of one record."""
        place = _message(record)
        if place is None:
            return
        kind, start, end = place
        if kind == HISTORY:
            yield from self.rows(self.history.take(record[start:end]))
        elif kind == SUMMARY:
            body = record[start:end]
            plain = plain_items(body)
            if plain is not None:
                self._plain_summary.update(plain)
            elif INTERNAL_SUMMARY.fullmatch(body) is None:
                self.summary.update(_updates(record, start, end))
        elif kind in _READERS:
            yield from _READERS[kind](self, record, start, end)
        elif kind == METRIC:
            self._axis(record, start, end)
        elif kind == FILES:
            self.files += sum(part.number == 1 for part in fields(record, start, end))
        elif kind == EXIT:
            self.exit = next((signed(part.value) for part in fields(record, start, end) if part.number == 1), 0)

    def rows(self, batches: Iterator[PointBatch]) -> Iterator[PointBatch]:
        """The same batches, while keeping track of the latest time."""
        for batch in batches:
            self.latest = max(self.latest, int(batch.times[-1]))
            yield batch

    def _axis(self, record: bytes, start: int, end: int) -> None:
        """`define_metric(name, step_metric=axis)`."""
        parts = {part.number: part for part in fields(record, start, end)}
        if 1 in parts and 4 in parts:
            self.history.axes[text(record, parts[1])] = text(record, parts[4])

    def config(self, record: bytes, start: int, end: int) -> Iterator[Item]:
        """Hyperparameters."""
        values = {name: value for name, value in _updates(record, start, end) if name.split(".")[0] != INTERNAL}
        if values:
            yield Params(time=self.latest, values=flatten(values), source="wandb.config")

    def run(self, record: bytes, start: int, end: int) -> Iterator[Item]:
        """Tags, notes, group and the initial configuration."""
        tags: dict[str, str] = {}
        parts = list(fields(record, start, end))
        self.latest = max([self.latest, *(_timestamp(record, part) for part in parts if part.number == 17)])
        for part in parts:
            if part.number == 4 and part.wire == BYTES:
                yield from self.config(record, part.start, part.end)
            elif part.number == 10:
                tags[text(record, part)] = "true"
            elif part.number in _RUN_TAGS and part.wire == BYTES and part.end > part.start:
                tags[_RUN_TAGS[part.number]] = text(record, part)
        if tags:
            yield Tags(time=self.latest, values=tags)

    def stats(self, record: bytes, start: int, end: int) -> Iterator[Item]:
        """System metrics, as `system/...`."""
        import numpy as np

        parts = list(fields(record, start, end))
        time = next((_timestamp(record, part) for part in parts if part.number == 2), self.latest)
        for part in parts:
            if part.number == 3 and part.wire == BYTES:
                name, value = item(record, part)
                if isinstance(value, (int, float)):
                    name = f"system/{name.removeprefix('system.')}"
                    step = self._stats[name]
                    self._stats[name] += 1
                    yield PointBatch(
                        name,
                        np.array([step], dtype=np.int64),
                        np.array([float(value)]),
                        np.array([time], dtype=np.int64),
                    )

    def output(self, record: bytes, start: int, end: int) -> Iterator[Item]:
        """The console output."""
        parts = {part.number: part for part in fields(record, start, end)}
        stream = "stderr" if 1 not in parts or parts[1].value == STDERR else "stdout"
        time = _timestamp(record, parts[2]) if 2 in parts else self.latest
        printed = text(record, parts[3]) if 3 in parts else ""
        lines = [(self._lines[stream] + place, 0, line) for place, line in enumerate(printed.splitlines())]
        self._lines[stream] += len(lines)
        if lines:
            yield Console(time=time, stream=stream, lines=lines)

    def rest(self) -> Iterator[Item]:
        """Items known only once all segments are read."""
        summary = {name.decode(): loaded(value) for name, value in self._plain_summary.items()} | self.summary
        if summary:
            values = {name: value for name, value in summary.items() if not name.startswith("_")}
            yield Facts(time=self.latest, topic="summary", values=values)
        if self.history.skipped:
            names = ", ".join(sorted(self.history.skipped)[:10])
            count = sum(self.history.skipped.values())
            yield self.notice(f"{count:,} values that are no numbers are not imported: {names}")
        if self.history.fractions:
            names = ", ".join(sorted(self.history.fractions)[:10])
            yield self.notice(f"the x axis has fractions, so the step is that of the row: {names}")
        if self.files:
            yield self.notice(f"{self.files:,} files stay in the folder of the source")
        status = {None: KILLED, 0: FINISHED}.get(self.exit, FAILED)
        reason = "the source has no end" if self.exit is None else "" if self.exit == 0 else f"exit code {self.exit}"
        yield Status(time=self.latest, status=status, reason=reason)


_RUN_TAGS = {6: "group", 7: "job_type", 9: "notes"}
_READERS = {CONFIG: _Reading.config, RUN: _Reading.run, STATS: _Reading.stats, OUTPUT_RAW: _Reading.output}


def _updates(record: bytes, start: int, end: int) -> Iterator[tuple[str, Any]]:
    for part in fields(record, start, end):
        if part.number == 1 and part.wire == BYTES:
            name, value = item(record, part)
            yield name, value


def _message(record: bytes) -> tuple[int, int, int] | None:
    """(field, start, end) of the first message in a record, after its number."""
    at, end = 0, len(record)
    while at < end:
        key, start = varint(record, at, end)
        if key & 7 == BYTES and record[start : start + 1] < b"\x80" and key >> 3 not in ENVELOPE:
            return key >> 3, start + 1, start + 1 + record[start]
        value, at = varint(record, start, end)
        if key & 7 == BYTES:
            if key >> 3 not in ENVELOPE:
                return key >> 3, at, at + value
            at += value
    return None


def _timestamp(record: bytes, message: Field) -> int:
    """A protobuf Timestamp (seconds, nanoseconds) in microseconds."""
    parts = {part.number: number(record, part) for part in fields(record, message.start, message.end)}
    return int(parts.get(1, 0)) * 1_000_000 + int(parts.get(2, 0)) // 1000
