"""The buffer that the training thread appends to, and the one thread that brings it to the journal.

`emit` is called on any thread, returns at once and never raises. The thread `tracelet-writer` wakes a few times within the
flush interval, packs what is there and appends it in one write. When the disk refuses, records wait in bounded memory, the
user is told once, and what has to be given up is counted and written down as soon as the disk takes it. In a forked
child the buffer is replaced by one that forgets, so a child never writes into its parent's journal.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from pathlib import Path

from tracelet import guard
from tracelet.journal import Journal
from tracelet.packer import MICRO, Packer
from tracelet.records import Footer, Notice, Params, Points, Record, Scalar, Started, Status, Tags
from tracelet.sink import Item

WAKES_PER_INTERVAL = 2.5
"""The writer wakes this often within the flush interval: waiting, packing and writing must fit into it together."""
CROWDED = 20_000
"""Items at which the writer is woken early; about 4 MB."""
OVERCROWDED = 120_000
"""Items at which the emitting thread flushes for itself: memory stays bounded (about 25 MB) and nothing is dropped."""
BACKLOG_POINTS = 1_000_000
"""Points kept in memory while the disk refuses (packed: about 10 MB); the oldest are given up beyond it."""
BACKLOG_RECORDS = 20_000
"""Other records kept meanwhile."""
SYNC_EVERY = 5.0
"""Seconds between two fsyncs: what a power failure may take. A killed process loses nothing that was written."""
BEAT_EVERY = 10.0
"""Seconds between two touches of a journal that has nothing to write."""


class _Forgetting(list[Item]):
    """The buffer after the end, or in a forked child: takes everything, keeps nothing."""

    def append(self, item: Item) -> None:
        return None


class Writer:
    """Owns the journal of this process from the first record to the seal."""

    def __init__(self, journal: Journal, started: Started, flush_interval: float = 0.5) -> None:
        self.journal = journal
        self.started = started
        self.items: list[Item] = []
        self.packer = Packer()
        self.params: dict[str, Scalar] = {}
        self.tags: dict[str, str] = {}
        self.expected = ("", "")
        """(status, reason) that the process would end with if nobody said otherwise; see `Sink.expect`."""
        self.given_up = 0
        """Points lost because the disk refused for too long."""
        self._interval = flush_interval / WAKES_PER_INTERVAL
        self._backlog: deque[Record] = deque()
        self._backlog_points = 0
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._stopping = False
        self._troubled = False
        self._synced = self._beaten = time.monotonic()
        self._syncing: threading.Thread | None = None
        self._thread = threading.Thread(target=self._run, name="tracelet-writer", daemon=True)

    @property
    def recording(self) -> bool:
        """Whether what is emitted still reaches the journal."""
        return not self._stopping

    @property
    def path(self) -> Path:
        """Where the journal stands."""
        return self.journal.path

    def start(self) -> None:
        """Write the first record at once, so that the run is on disk before anything else happens, then go on alone."""
        self.journal.append([self.started])
        self._thread.start()

    def emit(self, item: Item) -> None:
        """Take one item; see `Sink`."""
        items = self.items
        items.append(item)
        if len(items) > CROWDED:
            self.relieve()

    def expect(self, status: str, reason: str) -> None:
        """Remember how the process would end if it ended now; see `Sink`."""
        self.expected = (status, reason)

    def relieve(self) -> None:
        """Called by an emitting thread that finds the buffer crowded."""
        if len(self.items) > OVERCROWDED:
            self.flush()
        elif not self._wake.is_set():
            self._wake.set()

    def flush(self) -> None:
        """Bring everything emitted so far to the journal, on the calling thread."""
        with self._lock, guard.guard("writing the journal"):
            items = self.items
            count = len(items)
            taken = items[:count]
            del items[:count]
            self._keep(self.packer.pack(taken))
            self._write_backlog()

    def _keep(self, records: list[Record]) -> None:
        for record in records:
            if isinstance(record, Params):
                self.params.update(record.values)
            elif isinstance(record, Tags):
                self.tags.update(record.values)
            self._backlog.append(record)
            self._backlog_points += _points_in(record)

    def _write_backlog(self) -> None:
        if not self._backlog:
            return
        if self.journal.lost() and not self._rescued():
            return
        try:
            self._append(list(self._backlog))
        except OSError as error:
            self._trouble(error)
            return
        self._backlog.clear()
        self._backlog_points = 0
        if self._troubled:
            self._recovered()

    def _append(self, records: list[Record]) -> None:
        try:
            self.journal.append(records)
        except (TypeError, ValueError, OverflowError):
            # One record holds something that msgpack cannot: the others are written without it.
            for record in records:
                with guard.guard(f"recording {type(record).__name__.lower()}"):
                    self.journal.append([record])

    def _rescued(self) -> bool:
        try:
            self.journal.rescue()
        except OSError as error:
            self._trouble(error)
            return False
        guard.say(f"{self.path} had been deleted or moved; the journal was written again there, complete.")
        return True

    def _trouble(self, error: OSError) -> None:
        self._troubled = True
        guard.say(
            f"cannot write {self.path} ({error.strerror or error}). The training goes on and points are kept in memory, "
            f"up to {BACKLOG_POINTS:,}. Free some space, or make the folder writable: writing goes on by itself.",
            once=f"writer:{self.path}",
        )
        while self._backlog_points > BACKLOG_POINTS or len(self._backlog) > BACKLOG_RECORDS:
            lost = self._backlog.popleft()
            self._backlog_points -= _points_in(lost)
            self.given_up += max(1, _points_in(lost))

    def _recovered(self) -> None:
        self._troubled = False
        message = "The disk refused to take records for a while; "
        message += f"{self.given_up:,} points were given up." if self.given_up else "nothing was lost."
        guard.say(f"writing {self.path} works again. {message}")
        self.emit(Notice(time=now(), code="disk", message=message, count=self.given_up))
        self.given_up = 0

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(self._interval)
            self._wake.clear()
            self.flush()
            with guard.guard("keeping the journal alive"):
                self._maintain(time.monotonic())

    def _maintain(self, clock: float) -> None:
        if clock - self._synced > SYNC_EVERY and not (self._syncing and self._syncing.is_alive()):
            self._synced = clock
            # fsync may take long on a busy disk, and flushing must not wait for it.
            self._syncing = threading.Thread(target=self._sync, name="tracelet-sync", daemon=True)
            self._syncing.start()
        if clock - self._beaten > BEAT_EVERY:
            self._beaten = clock
            self.journal.beat()

    def _sync(self) -> None:
        with guard.guard("syncing the journal"):
            self.journal.sync()

    def close(self, status: Status) -> bool:
        """Write what is left, the status, and the seal. False when the disk did not take it all: said, never raised."""
        self._stopping = True
        self._wake.set()
        for thread in (self._thread, self._syncing):
            if thread is not None and thread.is_alive() and thread is not threading.current_thread():
                thread.join()
        with self._lock:
            items, self.items = self.items, _Forgetting()
            with guard.guard("sealing the journal"):
                self._keep(self.packer.pack([*items, status]))
                self._write_backlog()
                if not self._backlog:
                    self.journal.seal(self.footer(status))
            complete = not self._backlog
            if not complete:
                guard.say(
                    f"the run ended while {self.path} could not be written: {self._backlog_points:,} points "
                    f"of its end are lost, {self.given_up:,} before it."
                )
            self.journal.close()
        return complete

    def footer(self, status: Status) -> Footer:
        """The index of the journal as it stands."""
        return Footer(
            started=self.started, status=status,
            metrics=[tally.summary(name) for name, tally in self.packer.tallies.items()],
            params=self.params, tags=self.tags, frames=self.journal.number, others=self.journal.others,
            points=self.journal.index(),
        )  # fmt: skip

    def abandon(self) -> None:
        """In a forked child: forget everything, and let go of the parent's file without writing to it."""
        self.items = _Forgetting()
        self._stopping = True
        os.close(self.journal.descriptor)
        self.journal.descriptor = -1


class Mute:
    """A writer that records nothing, for handles of runs that are not recorded."""

    recording = False

    def __init__(self) -> None:
        self.items: list[Item] = _Forgetting()

    def emit(self, item: Item) -> None:
        """Keep nothing."""

    def relieve(self) -> None:
        """Never crowded."""

    def flush(self) -> None:
        """Nothing to write."""


def now() -> int:
    """The time in microseconds since the epoch."""
    return int(time.time() * MICRO)


def _points_in(record: Record) -> int:
    return sum(chunk.count for chunk in record.chunks) if isinstance(record, Points) else 0


