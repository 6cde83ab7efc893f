"""Reports, once per kind, data that a program gives to a library and that tracelet does not record: no silent gaps.

Called on the user's threads, also in forked children. Those record nothing, so they add to a count in memory that they
share with the recording process.
"""

from __future__ import annotations

import mmap
import os
import time

from tracelet.guard import say
from tracelet.integrations.base import Sink
from tracelet.journal.records import Notice

WIDTH = 8
"""Bytes of the shared count."""


class Unrecorded:
    """Calls of one library that are not recorded, as notices of the run."""

    def __init__(self, sink: Sink, library: str) -> None:
        self._sink = sink
        self._library = library
        self._reported: set[str] = set()
        self._process = os.getpid()
        # Anonymous and shared: a forked child's count reaches us without a file, a pipe or a lock.
        self._lost = mmap.mmap(-1, WIDTH)

    def report(self, kind: str) -> None:
        """Report once that this kind of data is not recorded."""
        if kind in self._reported:
            return
        self._reported.add(kind)
        message = f"{kind} given to {self._library} are not recorded; {self._library} has them as before"
        self._sink.emit(Notice(time=time.time_ns() // 1000, code="unrecorded", message=message))
        say(f"{message}. `tracelet show` lists whatever else is not.", once=f"unrecorded:{self._library}")

    def in_forked_child(self) -> bool:
        """Whether this process is a fork of the recording one; its calls are counted, and reported once."""
        if os.getpid() == self._process:
            return False
        count = int.from_bytes(self._lost[:WIDTH], "little")
        self._lost[:WIDTH] = (count + 1).to_bytes(WIDTH, "little")
        if not count:
            say(
                f"{self._library} is called in a forked process, such as a DataLoader worker: what it is given there "
                "is not recorded. Training continues. Return it with the batch, and log it in the main process."
            )
        return True

    def close(self) -> None:
        """At the end of the run: leave a notice about the calls of forked children."""
        if os.getpid() != self._process:
            return
        count = int.from_bytes(self._lost[:WIDTH], "little")
        if count:
            self._lost[:WIDTH] = bytes(WIDTH)
            message = f"{self._library} was given values in forked processes, which record nothing"
            self._sink.emit(Notice(time=time.time_ns() // 1000, code="forked", message=message, count=count))
