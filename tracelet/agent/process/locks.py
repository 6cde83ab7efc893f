"""File locks that one process holds at a time: one per run and host for the agent, one per backend for couriers.

The operating system releases a lock when its process ends, however it ends. On network file systems that refuse or
misreport locks, a lock that cannot be tested counts as acquired: backends recognize a batch that is delivered twice.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from tracelet.store.pids import is_alive, process_start

if os.name == "posix":
    import fcntl

RETRY_INTERVAL = 0.1
"""Seconds between two attempts."""
COMPLETED = "left"
"""First line of the file after a normal release; a killed process leaves its pid."""


class Lock:
    """One lock, whose file names its holder. Not for several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1

    def acquire(self, timeout: float = 0.0) -> bool:
        """Acquire the lock, waiting up to `timeout` seconds. OSError if its file cannot be created."""
        self.path.parent.mkdir(exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + timeout
        while not _locked(descriptor):
            if time.monotonic() >= deadline:
                os.close(descriptor)
                return False
            time.sleep(RETRY_INTERVAL)
        pid = os.getpid()
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{pid} {process_start(pid)} {socket.gethostname()}".encode(), 0)
        self._descriptor = descriptor
        return True

    def release(self, completed: Sequence[str] = ()) -> None:
        """Release the lock, and leave these lines in the file: see `read_completed`."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.ftruncate(descriptor, 0)
            if completed:
                os.pwrite(descriptor, "\n".join((COMPLETED, *completed)).encode(), 0)
            os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def holder(path: Path) -> int:
    """The pid of the process that holds the lock; 0 if none does, or one on another host."""
    try:
        pid, started, host = path.read_text(encoding="utf-8").split(" ", 2)
        number, moment = int(pid), float(started)
    except (OSError, ValueError):
        return 0
    # Do not try the file lock itself: for a moment that would block the process that wants it.
    return number if host == socket.gethostname() and is_alive(number, moment) else 0


def read_completed(path: Path) -> list[str]:
    """The lines that the last release left; empty while a process holds the lock, and after one was killed."""
    try:
        first, *lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError):
        return []
    return lines if first == COMPLETED else []


def backend_entry(name: str) -> str:
    """The line for a completed backend."""
    return f"backend {name}"


def lock_path(folder: Path) -> Path:
    """The file that the agent of this host locks while it is alive."""
    return folder / f"agent-{socket.gethostname()}.lock"
