"""The `jsonl` backend: one JSON line per record, appended to a file or written to a pipe.

Called by a courier on its thread. Every line carries an id that is the same when it is sent again, so that the reader
of a pipe can recognize repeats; lines that a file already has are skipped. Never rewrites a complete line.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from dataclasses import asdict, dataclass
from typing import ClassVar

from tracelet.backends.artifact_files import resolve_path
from tracelet.backends.base import Batch, Outcome, RunDescription
from tracelet.backends.health_checks import check_writable
from tracelet.backends.jsonl.lines import Line, lines
from tracelet.backends.jsonl.written_lines import WrittenLines
from tracelet.errors import Misconfigured, Unavailable

STDOUT = "-"
FIX = "backend={'jsonl': {'path': 'FILE'}}"
BLOCK = 1024 * 1024
"""Bytes read at a time when searching backwards for the end of the last complete line."""


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
        self._written: WrittenLines | None = None
        """The lines in it, if it is a file."""

    def check(self) -> str:
        """For `doctor`: whether the file is writable."""
        if self._options.path == STDOUT:
            return "the standard output of the agent"
        return f"the file {check_writable(self._options.path, FIX)}" if self._options.path else "files in the store"

    def open(self, run: RunDescription) -> None:
        """Open the file for appending and write the run's description."""
        self._run = run.id
        if self._options.path == STDOUT:
            self._descriptor = os.dup(1)
        else:
            self._descriptor = self._open_path(run)
        regular = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        self._written = WrittenLines(self._descriptor, run.id) if regular else None
        described = {
            "id": f"{run.id}/run", "run": run.id, "kind": "run", "name": run.name, "project": run.project,
            "time": run.started, "host": run.host, "command": list(run.command),
        }  # fmt: skip
        if regular or not run.memory.get("begun"):
            self._append([described])
            run.remember("begun", True)

    def _open_path(self, run: RunDescription) -> int:
        path = resolve_path(run, self._options.path, "jsonl", f"{run.id}.jsonl")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # A pipe that nobody reads yet must not block us; a regular file ignores this flag.
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
        """Append the batch's lines; of a repeated batch, those that are missing."""
        self._append(list(lines(self._run, batch)))

    def close(self, outcome: Outcome | None) -> None:
        """Write the run's status and close the file."""
        if self._descriptor < 0:
            return
        if outcome is not None:
            line = {
                "id": f"{self._run}/end:{round(outcome.ended * 1e6)}",
                "run": self._run,
                "kind": "end",
                **asdict(outcome),
            }
            self._append([line])
        os.close(self._descriptor)
        self._descriptor = -1

    def _append(self, lines: list[Line]) -> None:
        try:
            if self._written is not None:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
                self._drop_torn_line()
                self._written.look()
                there = self._written.present(line["id"] for line in lines)
                lines = [line for line in lines if line["id"] not in there] if there else lines
            text = "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines)
            _write_all(self._descriptor, text.encode("utf-8", "backslashreplace"))
            if self._written is not None:
                os.fdatasync(self._descriptor) if hasattr(os, "fdatasync") else os.fsync(self._descriptor)
        except OSError as error:
            raise Unavailable(f"the file cannot be written ({error.strerror})") from error
        finally:
            if self._written is not None:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _drop_torn_line(self) -> None:
        """An incomplete last line was being written when its writer died; it is sent again."""
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


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
