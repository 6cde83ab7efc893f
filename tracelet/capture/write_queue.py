"""Between the packer and the journal: records go out in batches, and wait in bounded memory while the disk refuses.

Used by the writer, on its thread alone. The user is told once that the disk refuses; what has to be given up is
counted, and written down as soon as the disk takes it. A journal that was deleted is written again. Lets no OSError
out.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path

from tracelet import guard
from tracelet.capture.clock import now
from tracelet.capture.sanitize import mended
from tracelet.journal.journal_writer import Journal
from tracelet.journal.records import Notice, Points, Record, Started, Status
from tracelet.journal.run_folder import RUNS, ignore_in_git

BACKLOG_POINTS = 1_000_000
"""Points kept in memory while the disk refuses (packed: about 10 MB); the oldest are given up beyond it."""
BACKLOG_RECORDS = 20_000
"""Records kept meanwhile; 11 hours of a slow run's flushes at one every `TROUBLED_PAUSE`."""
BATCH_POINTS, BATCH_RECORDS = 200_000, 500
"""What is encoded and written at once: a few MB, so that an attempt on a full disk costs little."""


class Outbox:
    """The journal and what is on its way to it."""

    def __init__(self, journal: Journal, started: Started) -> None:
        self.journal = journal
        self.started = started
        self.troubled = False
        """Whether the disk refused the last attempt."""
        self.given_up = 0
        """Points and records given up since the last notice, because the disk refused for too long."""
        self._backlog: deque[Record] = deque()
        self._backlog_points = 0

    @property
    def path(self) -> Path:
        """Where the journal stands."""
        return self.journal.path

    @property
    def empty(self) -> bool:
        """Whether everything is in the journal."""
        return not self._backlog

    def keep(self, records: list[Record]) -> None:
        """Take records, to be written in this order."""
        for record in records:
            self._backlog.append(record)
            self._backlog_points += _points_in(record)

    def write(self) -> None:
        """Bring everything to the journal, if the disk takes it."""
        while self._backlog:
            batch = self._batch()
            try:
                if self.journal.lost():
                    self._rescue()
                self._append(batch)
            except OSError as error:
                self._trouble(error)
                return
            for record in batch:
                self._backlog.popleft()
                self._backlog_points -= _points_in(record)
            if self.troubled or self.given_up:
                self._recovered()

    def _batch(self) -> list[Record]:
        batch: list[Record] = []
        points = 0
        for record in self._backlog:
            points += _points_in(record)
            if batch and (points > BATCH_POINTS or len(batch) >= BATCH_RECORDS):
                break
            batch.append(record)
        return batch

    def _append(self, records: list[Record]) -> None:
        try:
            self.journal.append(records)
        except (TypeError, ValueError, OverflowError, RecursionError):
            # One record holds something that msgpack cannot: it is described instead, and the others are as they were.
            self.journal.append([sound for record in records if (sound := mended(record)) is not None])

    def _rescue(self) -> None:
        complete = self.journal.rescue()
        with guard.guard("telling git to ignore the store again"):
            runs = self.journal.path.parents[1]
            if runs.name == RUNS:
                ignore_in_git(runs.parent)
        if complete:
            guard.say(f"{self.path} had been deleted or moved; the journal was written again there, complete.")
            return
        message = f"{self.path} was deleted and cannot be read any more; it begins again, and its first part is lost."
        guard.say(message)
        self.journal.append([self.started, Notice(time=now(), code="deleted", message=message)])

    def _trouble(self, error: OSError) -> None:
        self.troubled = True
        guard.say(
            f"cannot write {self.path} ({error.strerror or error}). The training goes on and points are kept in "
            f"memory, up to {BACKLOG_POINTS:,}. Free some space, or make the folder writable: "
            "writing goes on by itself.",
            once=f"writer:{self.path}",
        )
        while self._backlog_points > BACKLOG_POINTS or len(self._backlog) > BACKLOG_RECORDS:
            oldest = next((place for place, record in enumerate(self._backlog) if isinstance(record, Points)), 0)
            lost = _points_in(self._backlog[oldest])
            del self._backlog[oldest]
            self._backlog_points -= lost
            self.given_up += max(1, lost)

    def _recovered(self) -> None:
        lost, self.given_up, self.troubled = self.given_up, 0, False
        message = "The disk refused to take records for a while; "
        message += f"{lost:,} points or records were given up." if lost else "nothing was lost."
        guard.say(f"writing {self.path} works again. {message}")
        self._backlog.append(Notice(time=now(), code="disk", message=message, count=lost))

    def lose(self, status: Status) -> None:
        """The disk is full to the end: what is lost is said, and the two small records that tell it are tried alone."""
        lost = self.given_up + self._backlog_points
        message = f"The run ended while its disk refused records: {lost:,} points or records are lost."
        guard.say(f"{self.path}: {message}")
        try:
            self.journal.append([Notice(time=now(), code="disk", message=message, count=lost), status])
        except OSError as error:
            guard.logger.debug("tracelet: %s has no status: %s", self.path, error)


def _points_in(record: Record) -> int:
    return sum(chunk.count for chunk in record.chunks) if isinstance(record, Points) else 0
