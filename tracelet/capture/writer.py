"""The buffer that the training thread appends to, and the one thread that writes it to the journal.

`emit` is called on any thread, returns at once and never raises. The thread `tracelet-writer` alone packs, writes and
seals: it wakes a few times within the flush interval and appends what is there in one write. Whoever wants something
from it puts a request into its queue, so signal handlers and finalizers may log at any moment. When the disk refuses,
records wait in bounded memory, one message says so, and what is dropped is counted and recorded as soon as the
disk accepts writes. In a forked child the buffer is replaced by a null buffer, so a child never writes into its
parent's journal.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Union

from tracelet import guard
from tracelet.capture.clock import now
from tracelet.capture.null_buffers import EndedBuffer, NullBuffer, NullWriter
from tracelet.capture.packer import Packer
from tracelet.capture.parameter_names import ParameterNames
from tracelet.capture.running_fits import FitChange, RunningFits
from tracelet.capture.sanitize import sanitized
from tracelet.capture.sink import DeferredRecords, Item, point_count
from tracelet.capture.write_queue import WriteQueue
from tracelet.journal.compaction import compact
from tracelet.journal.journal_writer import JournalWriter
from tracelet.journal.records import FINISHED, RUNNING, Footer, Params, Scalar, Started, Status, Tags
from tracelet.redaction.recorded_names import mask_artifacts

WAKES_PER_INTERVAL = 2.5
"""The writer wakes this often within the flush interval: waiting, packing and writing must fit into it together."""
MIN_PAUSE = 0.01
"""Seconds; waking more often would take the interpreter from the training."""
RETRY_PAUSE = 2.0
"""Seconds between two attempts while the disk refuses: trying costs time, and rarer attempts make fuller chunks."""
WAKE_AT = 20_000
"""Items at which the writer is woken early; about 4 MB."""
WAKE_MASK = 127
"""A crowd is looked after at one item in 128 (those whose number has none of these bits), because it takes the
writer until its turn of the interpreter to come."""
MAX_BUFFERED = 120_000
"""Items at which the emitting thread waits for the writer: memory is bounded (about 25 MB), nothing is dropped."""
MAX_EMIT_WAIT = 2.0
"""Longest such wait, in seconds. A disk that hangs longer must not hold the training: the oldest are given up."""
POLL_INTERVAL = 0.5
"""Seconds after which a waiting thread looks whether the writer is still there."""
SYNC_INTERVAL = 5.0
"""Seconds between two fsyncs: what a power failure may take. A killed process loses nothing that was written."""
COMPACT_BYTES = 1_000_000
"""Bytes of a sealed journal up to which its writer compacts it: at most 0.1 s. The agent has time for larger ones."""
MAX_COMPACT_BYTES = 50_000_000
"""Where there is no agent: at most 5 s at the end of a run, and at most a thousandth of what the run took."""
MICROSECONDS_PER_MEGABYTE = 100_000_000
"""Of a run, so that compacting costs it a thousandth."""
TOUCH_INTERVAL = 10.0
"""Seconds between two touches of a journal that has nothing to write."""

__all__ = ["WAKE_AT", "WAKE_MASK", "NullWriter", "Writer", "now"]

Request = Union["SimpleQueue[bool]", None]
"""Where the writer answers that a round is done, or None for a mere wake-up."""


class Writer:
    """Owns the journal of this process from the first record to the seal."""

    def __init__(self, journal: JournalWriter, started: Started, flush_interval: float = 0.5) -> None:
        self.started = sanitized(started) or started
        self.queue = WriteQueue(journal, self.started)
        self.items: list[Item] = []
        self.packer = Packer()
        self.fits = RunningFits(self.emit)
        self.params: dict[str, Scalar] = {}
        self._names = ParameterNames()
        self.tags, self.next_media_steps = dict[str, str](), dict[str, int]()  # the steps: of a resumed run, by name
        self.expected = ("", "")
        """(status, reason) to assume if the process ends without recording one; see `Sink.expect`."""
        self.without_agent = False
        """Whether no agent will come by to compact the journal."""
        self._pause = max(MIN_PAUSE, flush_interval / WAKES_PER_INTERVAL)
        self._requests: SimpleQueue[Request] = SimpleQueue()
        self._done: SimpleQueue[bool] = SimpleQueue()
        self._taking = threading.RLock()
        self._rest: list[Item] = []
        """What was emitted before the end and is not packed yet."""
        self._stuck = False
        self._status: Status | None = None
        self._stopping = self._finished = self._complete = self._threaded = False
        self._synced = self._touched = time.monotonic()
        self._syncing: threading.Thread | None = None
        self._thread = threading.Thread(target=self._run, name="tracelet-writer", daemon=True)

    @property
    def recording(self) -> bool:
        """Whether what is emitted still reaches the journal."""
        return not self._stopping

    @property
    def journal(self) -> JournalWriter:
        """The file; touched by the writer's thread alone once that runs."""
        return self.queue.journal

    @property
    def path(self) -> Path:
        """The path of the journal."""
        return self.journal.path

    def start(self) -> None:
        """Write the first record at once, so that the run is on disk before anything else happens. Raises OSError."""
        self.journal.append([self.started])
        with guard.guard("starting the writer thread"):
            self._thread.start()
            self._threaded = True

    def emit(self, item: Item) -> None:
        """Take one item; see `Sink`."""
        items = self.items
        items.append(item)
        if len(items) > WAKE_AT and not len(items) & WAKE_MASK:
            self.apply_backpressure()

    def expect(self, status: str, reason: str) -> None:
        """Record the status to assume if the process ends without recording one; see `Sink`."""
        if (status, reason) != self.expected:
            self.expected = (status, reason)
            self.emit(Status(time=now(), status=RUNNING, expected=status, reason=reason))

    def apply_backpressure(self) -> None:
        """Called by an emitting thread when the buffer is large: wakes the writer, and waits for it if it is full."""
        if len(self.items) <= MAX_BUFFERED:
            if self._requests.empty():
                self._requests.put(None)
        elif self._stuck or not self.flush(MAX_EMIT_WAIT):
            self._stuck = True
            with self._taking:
                excess = len(self.items) - MAX_BUFFERED
                if excess > MAX_BUFFERED:
                    oldest = self.items[:excess]
                    # What makes its records later is emitted once until then, and a fit begins or ends once.
                    later = [item for item in oldest if isinstance(item, (DeferredRecords, FitChange))]
                    self.queue.dropped += sum(map(point_count, oldest)) - len(later)
                    self.items[:excess] = later

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything emitted so far is in the journal (or the disk has refused it). False: not in time."""
        if self._stopping or threading.current_thread() is self._thread or not self._thread.is_alive():
            return False
        answer: SimpleQueue[bool] = SimpleQueue()
        self._requests.put(answer)
        deadline = None if timeout is None else time.monotonic() + timeout
        while self._thread.is_alive() and (deadline is None or time.monotonic() < deadline):
            try:
                return answer.get(timeout=POLL_INTERVAL if timeout is None else timeout)
            except Empty:
                continue
        return not answer.empty()

    def _run(self) -> None:
        while not self._stopping:
            requests = self._next_requests(RETRY_PAUSE if self.queue.failing else self._pause)
            with guard.guard("writing the journal"):
                self._write(self._take())
            self._stuck = False
            for request in requests:
                request.put(True)
            with guard.guard("keeping the journal alive"):
                self._maintain(time.monotonic())
        self._finish()

    def _next_requests(self, pause: float) -> list[SimpleQueue[bool]]:
        found: list[Request] = []
        try:
            found.append(self._requests.get(timeout=pause))
            while True:
                found.append(self._requests.get_nowait())
        except Empty:
            return [request for request in found if request is not None]

    def _write(self, items: Sequence[Item]) -> None:
        records = self._names.settled(mask_artifacts(self.packer.pack(items)))
        for record in records:
            if isinstance(record, Params):
                self.params.update(record.values)
            elif isinstance(record, Tags):
                self.tags.update(record.values)
        self.queue.put(records)
        self.queue.write()

    def _take(self) -> list[Item]:
        with self._taking:
            taken = self.items[:]
            del self.items[: len(taken)]
        return taken

    def _maintain(self, clock: float) -> None:
        if clock - self._synced > SYNC_INTERVAL and not (self._syncing and self._syncing.is_alive()):
            self._synced = clock
            # fsync may take long on a busy disk, and flushing must not wait for it.
            self._syncing = threading.Thread(target=self._sync, name="tracelet-sync", daemon=True)
            self._syncing.start()
        if clock - self._touched > TOUCH_INTERVAL:
            self._touched = clock
            self.journal.touch()

    def _sync(self) -> None:
        with guard.guard("syncing the journal"):
            self.journal.sync()

    @property
    def has_metrics(self) -> bool:
        """Whether the program has logged a metric that is written by now."""
        return any(not summary.automatic for summary in self.packer.summaries.all().values())

    def close(self, status: Status, timeout: float | None = None) -> bool:
        """Have everything left, the status and the seal written. False when that failed: said, never raised."""
        if self._status is None:
            self._status = sanitized(status) or status
        return self.wait(timeout)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end of a writer that is closing; see `close`."""
        with self._taking:
            if not self._stopping:
                # Here and not later: threads that still log must not displace what was logged before.
                self._rest, self.items, self._stopping = self.items, EndedBuffer(), True
        self._requests.put(None)
        if not self._threaded and not self._finished:
            self._finish()
        elif not self._finished and self._thread is not threading.current_thread():
            # Not by joining: after a Ctrl-C in join() Python takes the thread for ended.
            try:
                self._done.put(self._done.get(timeout=timeout))
            except Empty:
                pass
        if not self._finished:
            guard.say(f"{self.path} is still being written because its disk is slow; the last points may be lost.")
        return self._complete

    def _finish(self) -> None:
        """The last round, on the writer's thread: the rest, the status, the seal."""
        if self._syncing is not None:
            self._syncing.join()
        items, self._rest = self._rest, []
        status = self._status or Status(time=now(), status="")
        with guard.guard("sealing the journal"):
            self._write([*items, status])
            self._complete = self.queue.empty
            if self._complete:
                self._seal(status)
            else:
                self.queue.give_up(status)
        with guard.guard("closing the journal"):
            self.journal.close()
            if self._complete and self.journal.size <= self._compacted(status):
                self._compact()
        self._finished = True
        self._done.put(True)
        for request in self._next_requests(0.0):
            request.put(self._complete)

    def _compacted(self, status: Status) -> int:
        """Bytes up to which the end of the process may wait for compaction. A cluster that preempts does not wait."""
        if not self.without_agent or status.status != FINISHED:
            return COMPACT_BYTES
        earned = (now() - self.started.time) * COMPACT_BYTES // MICROSECONDS_PER_MEGABYTE
        return min(MAX_COMPACT_BYTES, max(COMPACT_BYTES, earned))

    def _compact(self) -> None:
        try:
            compact(self.path)
        except OSError as error:  # it stays as it is, a little larger
            guard.logger.debug("tracelet: %s was not compacted: %s", self.path, error)

    def _seal(self, status: Status) -> None:
        try:
            self.journal.seal(self.footer(status))
        except (
            OSError,
            ValueError,
        ) as error:  # it is whole without its index (or with too large a one); readers scan it
            guard.logger.debug("tracelet: %s has no index: %s", self.path, error)

    def footer(self, status: Status) -> Footer:
        """The index of the journal as it stands."""
        return Footer(
            started=self.started, status=status,
            metrics=list(self.packer.summaries.all().values()), fits=self.packer.summaries.by_fit(self.fits.counted),
            params=self.params, tags=self.tags, frames=self.journal.number, others=self.journal.others,
            points=self.journal.index(),
        )  # fmt: skip

    def discard(self) -> None:
        """In a forked child: discard everything, and close the parent's file without writing to it."""
        self.items = NullBuffer()
        self._stopping = self._finished = True
        self.journal.close()
