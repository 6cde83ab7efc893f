"""The output of the agent and of the SDKs it runs: redacted, bounded, in RUN/agent.log.

Used in the agent's process. Descriptors 1 and 2 become a pipe that one thread copies to the file, because SDKs, their
libraries and their child processes print directly.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tracelet.journal.private_files import open_private

MAX_SIZE = 1_000_000
"""Bytes; an SDK that logs an error in a loop for a week must not fill the disk."""
FLUSH_TIMEOUT = 1.0
"""Seconds to wait for the last lines at the end."""
FULL = "this log has reached its size limit; further messages are dropped\n"


class AgentLog:
    """Owns the file and the pipe."""

    def __init__(self, path: Path, redact: Callable[[str], str]) -> None:
        self.path = path
        self._redact = redact
        self._thread = threading.Thread(target=self._copy, name="tracelet-agent-log", daemon=True)
        self._reading = -1

    def start(self) -> None:
        """Redirect the standard output and the standard error."""
        self._reading, writing = os.pipe()
        for descriptor in (1, 2):
            os.dup2(writing, descriptor)
        os.close(writing)
        self._thread.start()

    def write(self, sentence: str) -> None:
        """One line with the time."""
        sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {sentence}\n")
        sys.stderr.flush()

    def stop(self) -> None:
        """Write what is pending. The standard streams lead nowhere afterwards."""
        sys.stdout.flush()
        sys.stderr.flush()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for descriptor in (1, 2):
            os.dup2(nowhere, descriptor)
        self._thread.join(FLUSH_TIMEOUT)  # a child of an SDK may hold the pipe for longer

    def _copy(self) -> None:
        with (
            open(self.path, "a", encoding="utf-8", errors="replace", buffering=1, opener=open_private) as file,
            open(self._reading, encoding="utf-8", errors="replace") as lines,
        ):
            size = file.tell()
            for line in lines:
                if size > MAX_SIZE:
                    continue  # still read: a full pipe would block every process that prints
                text = self._redact(line)
                size += len(text)
                file.write(text if size <= MAX_SIZE else FULL)
