"""The `jsonl` backend: one line of JSON for each record, appended to a file or written to a pipe.

Called by a courier on its thread. Every line carries an id that is the same when its batch comes again, so that who
reads a pipe can tell repeats; a file is looked through first, and gets none. Never rewrites a line that is whole.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import msgspec

from tracelet.backends.artifact_files import resolve_path
from tracelet.backends.base import Batch, Outcome, RunDescription
from tracelet.backends.health_checks import check_writable
from tracelet.errors import Misconfigured, Unavailable

STDOUT = "-"
FIX = "backend={'jsonl': {'path': 'FILE'}}"
BLOCK = 1024 * 1024
"""Bytes read at a time when looking back for the end of the last whole line."""


@dataclass(frozen=True)
class JsonlOptions:
    """Settings of the backend `jsonl`."""

    path: str = ""
    """File or pipe to append to, or `-` for standard output. If empty, `jsonl/RUN.jsonl` in the store."""


class JsonlBackend:
    """Appends lines. Safe for several runs that share one file."""

    name: ClassVar[str] = "jsonl"
    options: ClassVar[type] = JsonlOptions
    extra: ClassVar[str] = ""

    def __init__(self, options: JsonlOptions) -> None:
        self._options = options
        self._descriptor = -1
        self._run = ""
        self._regular = False

    def check(self) -> str:
        """For `doctor`: whether the file can be written."""
        if self._options.path == STDOUT:
            return "the standard output of the agent"
        return f"the file {check_writable(self._options.path, FIX)}" if self._options.path else "files in the store"

    def open(self, run: RunDescription) -> None:
        """Open the file for appending and write what the run is."""
        self._run = run.id
        if self._options.path == STDOUT:
            self._descriptor = os.dup(1)
        else:
            self._descriptor = self._open_path(run)
        self._regular = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        described = {
            "id": f"{run.id}/run", "run": run.id, "kind": "run", "name": run.name, "project": run.project,
            "time": run.started, "host": run.host, "command": list(run.command),
        }  # fmt: skip
        if not run.memory.get("begun"):
            self._append("run", [described], again=True)
            run.remember("begun", True)

    def _open_path(self, run: RunDescription) -> int:
        path = resolve_path(run, self._options.path, "jsonl", f"{run.id}.jsonl")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # A pipe that nobody reads yet must not hold us; a regular file does not mind.
            flags = os.O_NONBLOCK if path.is_fifo() else 0
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | flags, 0o644)
            os.set_blocking(descriptor, True)
        except (IsADirectoryError, NotADirectoryError, PermissionError, FileExistsError) as error:
            raise Misconfigured(f"{path} cannot be written ({error.strerror})", f"Give another file: {FIX}") from error
        except OSError as error:
            raise Unavailable(f"{path} cannot be opened ({error.strerror})") from error
        run.announce(str(path))
        return descriptor

    def write(self, batch: Batch) -> None:
        """Append the batch's lines; of a batch that came before, those that are not there yet."""
        self._append(batch.id, list(_lines(self._run, batch)), batch.again)

    def close(self, outcome: Outcome | None) -> None:
        """Write how the run ended and let go of the file."""
        if self._descriptor < 0:
            return
        if outcome is not None:
            line = {"id": f"{self._run}/end", "run": self._run, "kind": "end", **asdict(outcome)}
            self._append("end", [line], again=True)
        os.close(self._descriptor)
        self._descriptor = -1

    def _append(self, batch: str, lines: list[dict[str, Any]], again: bool) -> None:
        try:
            if self._regular:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
                self._drop_torn_line()
                if again:
                    there = self._present(batch)
                    lines = [line for line in lines if line["id"] not in there]
            text = "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines)
            _write_all(self._descriptor, text.encode("utf-8", "backslashreplace"))
            if self._regular:
                os.fdatasync(self._descriptor) if hasattr(os, "fdatasync") else os.fsync(self._descriptor)
        except OSError as error:
            raise Unavailable(f"the file cannot be written ({error.strerror})") from error
        finally:
            if self._regular:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _drop_torn_line(self) -> None:
        """A line without its end was being written when its writer died; it comes again."""
        size = os.fstat(self._descriptor).st_size
        end = size
        while end > 0:
            begin = max(0, end - BLOCK)
            place = os.pread(self._descriptor, end - begin, begin).rfind(b"\n")
            if place >= 0:
                end = begin + place + 1
                break
            end = begin
        if end != size:
            os.ftruncate(self._descriptor, end)

    def _present(self, batch: str) -> set[str]:
        """Ids of the lines of this batch that the file holds."""
        mark = f'{{"id":{json.dumps(f"{self._run}/{batch}")[:-1]}'.encode()
        with open(self._descriptor, "rb", closefd=False) as file:
            file.seek(0)
            return {json.loads(line)["id"] for line in file if line.startswith(mark)}


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _lines(run: str, batch: Batch) -> Iterator[dict[str, Any]]:
    for number, record in enumerate(_records(batch)):
        yield {"id": f"{run}/{batch.id}#{number}", "run": run, **record}


def _records(batch: Batch) -> Iterator[dict[str, Any]]:
    for part in batch.points:
        for step, value, time, epoch in zip(part.steps, part.values, part.times, part.epochs):
            yield {"kind": "point", "name": part.name, "step": step, "value": _number(value), "time": time,
                   "epoch": epoch, "stage": part.stage, "fit": part.fit}  # fmt: skip
    if batch.params:
        yield {"kind": "params", "values": _plain(batch.params)}
    if batch.tags:
        yield {"kind": "tags", "values": dict(batch.tags)}
    for topic, facts in batch.facts.items():
        yield {"kind": "facts", "topic": topic, "values": _plain(facts)}
    for artifact in batch.artifacts:
        yield {"kind": "artifact", **_plain(msgspec.to_builtins(artifact))}
    for event in batch.events:
        yield {"kind": "event", **_plain(msgspec.to_builtins(event))}
    for span in batch.spans:
        yield {"kind": "span", **_plain(asdict(span))}


def _number(value: float) -> float | str:
    """JSON knows no NaN and no infinity: as texts, the way protobuf's JSON writes them."""
    if math.isfinite(value):
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, dict) or hasattr(value, "items"):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, (str, int, type(None))) else msgspec.to_builtins(value, enc_hook=str)
