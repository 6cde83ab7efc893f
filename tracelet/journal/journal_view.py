"""What one journal says, kept up to date by reading only what is new.

Used by `Run` on the reading side. A sealed journal is known from its footer; what the footer leaves out (facts,
events, artifacts, points) is read when it is asked for. An unsealed one is read frame by frame, and after the last
cursor later.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from tracelet.errors import JournalError
from tracelet.journal.column_packing import unpack_floats, unpack_integers
from tracelet.journal.fit_events import begun_fit
from tracelet.journal.frames import Cursor, Frame
from tracelet.journal.journal_reader import JournalReader
from tracelet.journal.metric_summary import FitSummaries
from tracelet.journal.records import (
    KIND_OF,
    Chunk,
    Console,
    Event,
    FitMetrics,
    Footer,
    MetricSummary,
    Params,
    Points,
    Record,
    Scalar,
    Spans,
    Started,
    Status,
    Tags,
)

RecordType = TypeVar("RecordType", bound=Record)


class JournalView:
    """One journal file, read lazily. Not thread-safe."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reader = JournalReader(path)
        self.started: Started | None = None
        self.status: Status | None = None
        self.params: dict[str, Scalar] = {}
        self.tags: dict[str, str] = {}
        self.sealed = False
        self._footer_metrics: dict[str, MetricSummary] = {}
        self._footer_fits: dict[int, dict[str, MetricSummary]] = {}
        self._read_metrics = FitSummaries()
        self._fits = 0
        """How many fits have begun."""
        self._records: list[Record] = []
        self._records_read = False
        self._cursor = Cursor()
        self._cached: dict[str, list[Chunk]] = {}
        self.refresh()

    @property
    def damage(self) -> list[str]:
        """One sentence for every place of the file that could not be read."""
        return self.reader.damage

    @property
    def metrics(self) -> dict[str, MetricSummary]:
        """What is known of each metric."""
        return self._footer_metrics or self._read_metrics.all()

    @property
    def fit_metrics(self) -> dict[int, dict[str, MetricSummary]]:
        """The same for each fit, and 0 for what was logged outside of all; empty if there are not several fits."""
        return self._footer_fits or _by_fit(self._read_metrics.by_fit(self._fits))

    def refresh(self) -> None:
        """Take in what was written since the last time."""
        if self.sealed:
            return
        footer = self.reader.footer()
        if footer is not None:
            self._take_footer(footer)
            return
        for frame in self.reader.frames(self._cursor):
            self._cursor = frame.after
            self._take(frame)
        self._records_read = True
        if self.started is None and self._cursor.number:
            self.started = self._started_from_name()

    def _started_from_name(self) -> Started:
        """What can be known of the process whose first record is damaged: the file bears rank and attempt."""
        self.reader.note("the start record is missing; rank and attempt are taken from the file name")
        stem, _, attempt = self.path.stem.rpartition(".")
        role, _, rank = stem.rpartition("-")
        numbers = [int(text) if text.isdecimal() else 0 for text in (rank, attempt)]
        return Started(
            run=self.path.parent.name, name=self.path.parent.name, project="", host="", pid=0,
            time=int(self.path.stat().st_mtime * 1e6), role="rank" if role == "rank" else "node",
            rank=numbers[0], attempt=numbers[1],
        )  # fmt: skip

    def _take_footer(self, footer: Footer) -> None:
        self.sealed = True
        self.started, self.status = footer.started, footer.status
        self.params, self.tags = footer.params, footer.tags
        self._footer_metrics = {summary.name: summary for summary in footer.metrics}
        self._footer_fits = _by_fit(footer.fits)
        self._records, self._records_read = [], False

    def _take(self, frame: Frame) -> None:
        record = self._decoded(frame)
        if isinstance(record, Points):
            for chunk in record.chunks:
                self._count(chunk, frame.number)
        elif isinstance(record, Started):
            self.started = record
        elif isinstance(record, Status):
            self.status = record
        elif isinstance(record, Params):
            self.params.update(record.values)
        elif isinstance(record, Tags):
            self.tags.update(record.values)
        elif isinstance(record, Event):
            self._fits = max(self._fits, begun_fit(record))
        if record is not None and not isinstance(record, (Points, Spans, Console, Footer)):
            self._records.append(record)

    def _decoded(self, frame: Frame) -> Record | None:
        try:
            return frame.record()
        except JournalError as error:
            self.reader.note(str(error))
            return None

    def _count(self, chunk: Chunk, frame: int) -> None:
        try:
            count = chunk.count
            columns = unpack_integers(chunk.steps, count), unpack_integers(chunk.times, count)
            values = unpack_floats(chunk.values, count)
            self._check_rest(chunk)
        except JournalError as error:
            self.reader.note(f"{chunk.name}: {error}")
            return
        self._read_metrics.of(chunk).add_arrays(*columns, values, frame)

    @staticmethod
    def _check_rest(chunk: Chunk) -> None:
        if chunk.epochs is not None:
            unpack_integers(chunk.epochs, chunk.count)
        if chunk.weights is not None:
            unpack_floats(chunk.weights, chunk.count)
        if chunk.totals is not None:
            unpack_floats(chunk.totals, chunk.count)

    def sound(self, chunk: Chunk) -> bool:
        """Whether all columns of a chunk can be read; noted where not."""
        try:
            for column in (chunk.steps, chunk.times):
                unpack_integers(column, chunk.count)
            unpack_floats(chunk.values, chunk.count)
            self._check_rest(chunk)
        except JournalError as error:
            self.reader.note(f"{chunk.name}: {error}")
            return False
        return True

    def records(self, of: type[RecordType]) -> list[RecordType]:
        """All records of one type (any but points, packed spans and printed lines, which may be many), in order."""
        if not self._records_read:
            self._read_records()
        return [record for record in self._records if isinstance(record, of)]

    def _read_records(self) -> None:
        skipped = KIND_OF[Points], KIND_OF[Spans], KIND_OF[Console], KIND_OF[Footer]
        decoded = (self._decoded(frame) for frame in self.reader.frames() if frame.kind not in skipped)
        self._records = [record for record in decoded if record is not None]
        self._records_read = True

    def spans(self) -> Iterator[Spans]:
        """The packed spans, read from the file each time."""
        for frame in self.reader.frames():
            if frame.kind == KIND_OF[Spans] and isinstance(record := self._decoded(frame), Spans):
                yield record

    def console(self) -> Iterator[Console]:
        """What the process printed, read from the file each time."""
        for frame in self.reader.frames():
            if frame.kind == KIND_OF[Console] and isinstance(record := self._decoded(frame), Console):
                yield record

    def cache_chunks(self, names: Iterable[str]) -> None:
        """Read the file once and cache the chunks of these metrics, for reading one after the other; drop all others.

        What is cached does not grow with the journal.
        """
        self._cached = {}
        cached: dict[str, list[Chunk]] = {name: [] for name in names if name in self.metrics}
        for chunk in self.chunks() if cached else ():
            if chunk.name in cached:
                cached[chunk.name].append(chunk)
        self._cached = cached

    def chunks(self, name: str | None = None) -> Iterator[Chunk]:
        """The chunks of one metric, or of all, in order; damaged frames are noted and left out."""
        if name in self._cached:
            yield from self._cached[name]
            return
        for frame in self.reader.frames():
            if frame.kind != KIND_OF[Points]:
                continue
            if name is not None:
                yield from self._named(frame, name)
            elif isinstance(record := self._decoded(frame), Points):
                yield from record.chunks

    def _named(self, frame: Frame, name: str) -> list[Chunk]:
        try:
            return frame.chunks(name)
        except JournalError as error:
            self.reader.note(str(error))
            return []


def _by_fit(found: Iterable[FitMetrics]) -> dict[int, dict[str, MetricSummary]]:
    return {fit.number: {summary.name: summary for summary in fit.metrics} for fit in found}
