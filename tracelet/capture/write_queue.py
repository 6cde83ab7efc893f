"""Between the packer and the journal: records go out in batches, and wait in bounded memory while the disk refuses.

Used by the writer, on its thread alone. One message says that the disk refuses; what is dropped is counted, and
recorded as soon as the disk accepts writes. A deleted journal is written again. Raises no OSError.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path

from tracelet import guard
from tracelet.capture.clock import now
from tracelet.capture.record_size import fitting
from tracelet.capture.sanitize import sanitized
from tracelet.journal.journal_writer import JournalWriter
from tracelet.journal.records import Notice, Points, Record, Started, Status
from tracelet.journal.run_folder import RUNS, ignore_in_git

MAX_POINTS = 1_000_000
"""Points kept in memory while the disk refuses (packed: about 10 MB); the oldest are given up beyond it."""
MAX_RECORDS = 20_000
"""Records kept meanwhile; 11 hours of a slow run's flushes at one every `TROUBLED_PAUSE`."""
BATCH_POINTS, BATCH_RECORDS = 200_000, 500
"""What is encoded and written at once: a few MB, so that an attempt on a full disk costs little."""


class WriteQueue:
    """The journal, and the records that wait for it."""

    def __init__(self, journal: JournalWriter, started: Started) -> None:
        self.journal = journal
        self.started = started
        self.failing = False
        """Whether the disk refused the last attempt."""
        self.dropped = 0
        """Points and records given up since the last notice, because the disk refused for too long."""
        self._backlog: deque[Record] = deque()
        self._backlog_points = 0

    @property
    def path(self) -> Path:
        """The path of the journal."""
        return self.journal.path

    @property
    def empty(self) -> bool:
        """Whether everything is in the journal."""
        return not self._backlog

    def put(self, records: list[Record]) -> None:
        """Take records, to be written in this order."""
        for record in records:
            self._backlog.append(record)
            self._backlog_points += _point_count(record)

    def write(self) -> None:
        """Write everything to the journal, if the disk accepts it."""
        while self._backlog:
            batch = self._batch()
            try:
                if self.journal.is_missing():
                    self._recreate_journal()
                self._append(batch)
            except OSError as error:
                self._on_error(error)
                return
            for record in batch:
                self._backlog.popleft()
                self._backlog_points -= _point_count(record)
            if self.failing or self.dropped:
                self._on_recovery()

    def _batch(self) -> list[Record]:
        batch: list[Record] = []
        points = 0
        for record in self._backlog:
            points += _point_count(record)
            if batch and (points > BATCH_POINTS or len(batch) >= BATCH_RECORDS):
                break
            batch.append(record)
        return batch

    def _append(self, records: list[Record]) -> None:
        try:
            self.journal.append(records)
        except (TypeError, ValueError, OverflowError, RecursionError):
            # One record holds something that msgpack cannot, or is too large: it is replaced, the others stay.
            sound = [found for record in records if (found := sanitized(record)) is not None]
            self.journal.append([part for record in sound for part in fitting(record)])

    def _recreate_journal(self) -> None:
        complete = self.journal.recreate()
        with guard.guard("telling git to ignore the store again"):
            runs = self.journal.path.parents[1]
            if runs.name == RUNS:
                ignore_in_git(runs.parent)
        if complete:
            guard.say(f"{self.path} was deleted or moved; the complete journal was written there again.")
            return
        message = f"{self.path} was deleted and cannot be read any more; it starts again, and its first part is lost."
        guard.say(message)
        self.journal.append([self.started, Notice(time=now(), code="deleted", message=message)])

    def _on_error(self, error: OSError) -> None:
        self.failing = True
        guard.say(
            f"cannot write {self.path} ({error.strerror or error}). The training continues and points are kept in "
            f"memory, up to {MAX_POINTS:,}. Free some space, or make the folder writable: "
            "writing then resumes automatically.",
            once=f"writer:{self.path}",
        )
        while self._backlog_points > MAX_POINTS or len(self._backlog) > MAX_RECORDS:
            oldest = next((place for place, record in enumerate(self._backlog) if isinstance(record, Points)), 0)
            lost = _point_count(self._backlog[oldest])
            del self._backlog[oldest]
            self._backlog_points -= lost
            self.dropped += max(1, lost)

    def _on_recovery(self) -> None:
        lost, self.dropped, self.failing = self.dropped, 0, False
        message = "The disk rejected writes for a while; "
        message += f"{lost:,} points or records were dropped." if lost else "nothing was lost."
        guard.say(f"writing {self.path} works again. {message}")
        self._backlog.append(Notice(time=now(), code="disk", message=message, count=lost))

    def give_up(self, status: Status) -> None:
        """The run ends while the disk is full: report the loss, and try to write just the two records about it."""
        lost = self.dropped + self._backlog_points
        message = f"The run ended while its disk rejected writes: {lost:,} points or records are lost."
        guard.say(f"{self.path}: {message}")
        try:
            self.journal.append([Notice(time=now(), code="disk", message=message, count=lost), status])
        except OSError as error:
            guard.logger.debug("tracelet: %s has no status: %s", self.path, error)


def _point_count(record: Record) -> int:
    return sum(chunk.count for chunk in record.chunks) if isinstance(record, Points) else 0
