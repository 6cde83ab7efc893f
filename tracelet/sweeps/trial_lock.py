"""Locks of a trial that tell, without pids, whether its process or its controller still lives.

The process lock is inherited by the trial's process and released by the operating system when that ends, however it
ends; the owner lock belongs to the controller. Used by controllers on one thread.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class TrialLock:
    """One lock file, held by whoever has its descriptor open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = -1

    def acquire(self) -> bool:
        """Acquire the lock; False if another process holds it."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self.descriptor = descriptor
        return True

    def release(self) -> None:
        """Close our descriptor: the lock stays with a process that inherited it."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    @property
    def is_free(self) -> bool:
        """Whether nobody holds the lock."""
        free = self.acquire()
        self.release()
        return free
