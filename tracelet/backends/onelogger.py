"""The `onelogger` backend: spans and events in the format of nv-one-logger's FileExporter, during the run.

Called by a courier on its thread. Writes those of all ranks into one file. A long span is written when it begins and
when it ends; for a repeated batch, lines that exist already are skipped. Metrics are not included.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tracelet.backends.base import Batch, Outcome, RunDescription, SpanPart
from tracelet.errors import Misconfigured, Unavailable
from tracelet.journal.records import Event, Span
from tracelet.telemetry.reading.onelogger_records import RecordBuilder
from tracelet.telemetry.reading.span_node import SpanNode, by_time
from tracelet.telemetry.reading.span_selection import Selection

COUNT = ',"count":'
"""Starts the end of a line: the same record may be sent again under another number."""

MAX_LINE_LENGTH = 4 * 1024 * 1024
"""Bytes searched for the end of the last complete line: lines have kilobytes."""


@dataclass(frozen=True)
class OneloggerOptions:
    """Settings of the backend `onelogger`."""

    path: str = ""
    """File to append to. If empty, `onelogger/RUN.jsonl` in the store."""
    spans: str = "all"
    """Names of the spans to write, separated by commas, or `all`."""
    spans_deny: str = ""
    """Names of spans not to write; their children move up to the nearest ancestor that is written."""


class OneloggerBackend:
    """Keeps, across restarts, the names and parents of spans that have begun and not ended."""

    name: ClassVar[str] = "onelogger"
    options: ClassVar[type] = OneloggerOptions
    extra: ClassVar[str] = ""
    every_rank: ClassVar[bool] = True

    def __init__(self, options: OneloggerOptions) -> None:
        self._options = options
        self._selection = Selection.parse(options.spans, options.spans_deny)
        self._run: RunDescription | None = None
        self._path = Path()
        self._open_spans: dict[str, tuple[str, int]] = {}
        """`JOURNAL/id` to name and parent."""
        self._sent = ""
        self._count = 0

    def open(self, run: RunDescription) -> None:
        """Create the file, or continue the existing one."""
        memory = run.memory.get("spans") or {}
        self._open_spans = {key: (name, parent) for key, (name, parent) in memory.get("begun", {}).items()}
        self._sent, self._run = memory.get("sent", ""), run
        path = Path(self._options.path or run.store / "onelogger" / f"{run.id}.jsonl").expanduser()
        self._path = path if path.is_absolute() else Path(run.folder) / path
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab+") as file:
                file.seek(0)
                self._count = sum(line.endswith(b"\n") for line in file)  # an incomplete one is dropped
        except (IsADirectoryError, NotADirectoryError, PermissionError, FileExistsError) as error:
            raise Misconfigured(
                f"{self._path} cannot be written ({error.strerror})",
                "Give another file: backend={'onelogger': {'path': 'FILE'}}",
            ) from error
        except OSError as error:
            raise Unavailable(f"{self._path} cannot be opened ({error.strerror})") from error
        run.announce(str(self._path))

    def write(self, batch: Batch) -> None:
        """Append the batch's records, except those written before."""
        assert self._run is not None  # `open` comes first
        if batch.again and batch.id == self._sent:
            return
        source, begun = batch.source, dict(self._open_spans)
        author = RecordBuilder(self._run.id, source.rank, source.attempt, source.pid)
        lines = [_line(record) for record in author.records(self._items(batch, begun))]
        if lines:
            try:
                self._append(lines, batch.again)
            except OSError as error:
                raise Unavailable(f"{self._path} cannot be written ({error.strerror})") from error
        if lines or begun != self._open_spans:
            self._open_spans, self._sent = begun, batch.id
            self._run.remember("spans", {"begun": begun, "sent": batch.id})

    def close(self, outcome: Outcome | None) -> None:
        """Nothing is open between two batches; the spans contain the run's end."""

    def _items(self, batch: Batch, begun: dict[str, tuple[str, int]]) -> list[SpanNode | Event]:
        """The batch's spans and events as trees; updates `begun`."""
        process = batch.id.rpartition(":")[0]
        before = {key for key in begun if key.rpartition("/")[0] == process}
        parts = {part.id: part for part in (*batch.begun, *batch.spans)}
        above = {int(key.rpartition("/")[2]): begun[key] for key in before}
        above.update({number: (part.name, part.parent) for number, part in parts.items()})
        begun.update({f"{process}/{part.id}": (part.name, part.parent) for part in batch.begun})
        for part in batch.spans:
            begun.pop(f"{process}/{part.id}", None)
        nodes = {
            number: SpanNode(
                _span(part), parent_id=self._selection.parent(part.parent, above),
                begun_before=f"{process}/{number}" in before,
            )
            for number, part in parts.items() if self._selection.includes(part.name)
        }  # fmt: skip
        top: list[SpanNode | Event] = []
        for node in nodes.values():
            (nodes[node.parent_id].children if node.parent_id in nodes else top).append(node)
        for event in sorted(batch.events, key=lambda event: event.time):
            if event.span in nodes:
                nodes[event.span].events.append(event)
            elif event.span in above and self._selection.includes(above[event.span][0]):
                top.append(event)
        return by_time(top)

    def _append(self, lines: list[str], again: bool) -> None:
        with self._path.open("ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # another run may use the same file
            file.seek(0)
            if again:
                there = {known.rpartition(COUNT)[0] for known in map(_decoded, file)}
                lines = [line for line in lines if line not in there]
            _drop_torn_line(file.fileno())
            numbered = (f"{line}{COUNT}{number}}}\n" for number, line in enumerate(lines, self._count + 1))
            file.write("".join(numbered).encode("utf-8", "backslashreplace"))
            file.flush()
            os.fsync(file.fileno())
            self._count += len(lines)


def _drop_torn_line(descriptor: int) -> None:
    """An incomplete last line was being written when its writer died; it is sent again."""
    size = os.fstat(descriptor).st_size
    tail = os.pread(descriptor, MAX_LINE_LENGTH, max(0, size - MAX_LINE_LENGTH))
    whole = tail.rfind(b"\n") + 1
    if whole != len(tail):
        os.ftruncate(descriptor, size - len(tail) + whole)


def _span(part: SpanPart) -> Span:
    return Span(
        id=part.id, name=part.name, start_ns=part.start_ns, duration_ns=part.end_ns - part.start_ns, parent=part.parent,
        thread=part.thread, attributes=dict(part.attributes), error=part.error,
    )  # fmt: skip


def _line(record: dict[str, Any]) -> str:
    """The record without its closing brace, before which its number is added."""
    return json.dumps(_plain(record), separators=(",", ":"), ensure_ascii=False, default=str)[:-1]


def _plain(value: Any) -> Any:
    """The same, with strings for values that JSON cannot store."""
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _decoded(line: bytes) -> str:
    return line.decode("utf-8", "replace")
