"""An imported run on disk: writes an importer's items into journals of the store, without duplicates.

Used by `run_import`, on one thread. The id of the run is derived from its source, so importing again finds it; of each
metric it skips as many points as the run already has. A source that resumed has a journal for each branch, as a run
recorded by tracelet has. New data after the run was sealed goes into another journal.
"""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tracelet._version import __version__
from tracelet.capture.sanitize import sanitized
from tracelet.importers.base import Item, PointBatch, Resumed, SourceRun
from tracelet.journal.journal_writer import JournalWriter
from tracelet.journal.metric_summary import SummaryBuilder
from tracelet.journal.numpy_column_packing import pack_float_array, pack_integer_array
from tracelet.journal.records import (
    FINISHED,
    Chunk,
    Event,
    Facts,
    Footer,
    Params,
    Points,
    Record,
    Scalar,
    Started,
    Status,
    Tags,
)
from tracelet.journal.run_folder import create_journal
from tracelet.redaction.known_secrets import redact
from tracelet.store.pids import process_start
from tracelet.store.resumed_series import RESUMED_EVENT
from tracelet.store.run import Run

if TYPE_CHECKING:
    from tracelet.journal.column_packing import FloatArray, IntArray

CHUNK_POINTS = 65_536
"""Points of one metric that are packed together."""
HELD_POINTS = 1_000_000
"""Maximum points in memory until their metrics have a chunk (24 MB)."""
TOPIC = "import"
NO_END = "imported; the source does not record how it ended"


@dataclass
class Written:
    """What an import added to a run."""

    run: str
    name: str
    points: int = 0
    known: int = 0
    """Points that the run already had."""
    records: int = 0


@dataclass
class _Held:
    """Points of one metric that wait for a full chunk."""

    batches: list[PointBatch] = field(default_factory=list)
    count: int = 0


class RunWriter:
    """Writes one run. `take` items in the order of the source, then `close`; `abandon` leaves it incomplete."""

    def __init__(self, folder: Path, source: SourceRun, project: str) -> None:
        self.folder = folder
        self.source = source
        self.written = Written(folder.name, source.name)
        self._project = project
        self._branch = 0
        self._had = _counts(folder)
        self._records = _records(folder)
        self._journal: JournalWriter | None = None
        self._started: Started | None = None
        self._waiting: list[Record] = []
        self._held: dict[str, _Held] = {}
        self._held_points = 0
        self._builders: dict[str, SummaryBuilder] = {}
        self._params: dict[str, Scalar] = {}
        self._tags: dict[str, str] = {}
        self._latest = 0
        self._status: Status | None = None

    @property
    def read(self) -> int:
        """Points of the source so far, new and known."""
        return self.written.points + self._held_points + self.written.known

    def take(self, item: Item) -> None:
        """Add one item of the source. OSError if the disk refuses it."""
        if isinstance(item, PointBatch):
            self._take_points(item)
        elif isinstance(item, Resumed):
            self._resume(item)
        elif isinstance(item, Status):
            self._status = item
        else:
            self._take_record(item)

    def _take_points(self, batch: PointBatch) -> None:
        self._latest = max(self._latest, int(batch.times[-1]))
        skipped = min(self._had[self._branch, batch.name], len(batch.values))
        self._had[self._branch, batch.name] -= skipped
        self.written.known += skipped
        if skipped == len(batch.values):
            return
        if skipped:
            batch = PointBatch(batch.name, batch.steps[skipped:], batch.values[skipped:], batch.times[skipped:])
        held = self._held.setdefault(batch.name, _Held())
        held.batches.append(batch)
        held.count += len(batch.values)
        self._held_points += len(batch.values)
        if held.count >= CHUNK_POINTS:
            self._write_points([batch.name])
        elif self._held_points >= HELD_POINTS:
            self._write_points(list(self._held))

    def _write_points(self, names: Sequence[str]) -> None:
        chunks: list[Chunk] = []
        begin = min((int(self._held[name].batches[0].times[0]) for name in names), default=0)
        for name in names:
            held = self._held.pop(name)
            self._held_points -= held.count
            steps, values, times = _joined(held.batches)
            for start in range(0, len(values), CHUNK_POINTS):
                part = slice(start, start + CHUNK_POINTS)
                chunks.append(self._chunk(name, steps[part], values[part], times[part]))
        if chunks:
            self.written.points += sum(chunk.count for chunk in chunks)
            self._append([Points(chunks=chunks)], begin)

    def _chunk(self, name: str, steps: IntArray, values: FloatArray, times: IntArray) -> Chunk:
        self._builders.setdefault(name, SummaryBuilder()).add_arrays(steps, times, values)
        return Chunk(
            name=name, count=len(values), steps=pack_integer_array(steps), times=pack_integer_array(times),
            values=pack_float_array(values),
        )  # fmt: skip

    def _take_record(self, record: Record) -> None:
        if self._records[_identity(record)] > 0:
            self._records[_identity(record)] -= 1
            return
        if isinstance(record, Params):
            self._params.update(record.values)
        elif isinstance(record, Tags):
            self._tags.update(record.values)
        self.written.records += 1
        time = getattr(record, "time", 0)
        self._latest = max(self._latest, time)
        self._append([record], time)

    def _resume(self, item: Resumed) -> None:
        """What follows goes into the journal of the next branch."""
        self._write_points(list(self._held))
        self._seal(Status(time=self._latest, status=FINISHED, reason=f"resumed at step {item.step:,}"))
        self._branch += 1
        self._take_record(Event(time=self._latest, name=RESUMED_EVENT, attributes={"step": item.step, "fit": 0}))

    def _append(self, records: list[Record], time: int) -> None:
        journal = self._journal or self._begin(time)
        journal.append([sound for record in records if (sound := sanitized(record)) is not None])

    def _begin(self, time: int) -> JournalWriter:
        """Create the journal; its first record has the time of the source's first point."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._journal, attempt = create_journal(self.folder, "rank-0", redact)
        self._started = Started(
            run=self.folder.name, name=self.source.name, project=self._project, time=time, host=socket.gethostname(),
            pid=os.getpid(), process_started=process_start(os.getpid()), attempt=attempt, branch=self._branch,
            folder=str(self.source.path.parent), version=__version__,
        )  # fmt: skip
        origin = {"format": self.source.format, "path": str(self.source.path), "key": self.source.key}
        first = [self._started, Facts(time=time, topic=TOPIC, values=origin)]
        if self.source.tags:
            first.append(Tags(time=time, values=self.source.tags))
            self._tags.update(self.source.tags)
        self._journal.append([sound for record in first if (sound := sanitized(record)) is not None])
        return self._journal

    def close(self) -> Written:
        """Everything was added: seal the run. An empty source makes an empty run."""
        self._write_points(list(self._held))
        if self._journal is None and not any(self.folder.glob("*.tlj")):
            self._begin(self._status.time if self._status else _modified(self.source.path))
        self._seal(self._status or Status(time=self._latest, status=FINISHED, reason=NO_END))
        return self.written

    def _seal(self, status: Status) -> None:
        journal, started = self._journal, self._started
        if journal is None or started is None:
            return
        status = msgspec.structs.replace(status, time=status.time or started.time)
        journal.append([status])
        journal.seal(
            Footer(
                started=started, status=status, metrics=[one.build(name) for name, one in self._builders.items()],
                params=self._params, tags=self._tags, frames=journal.number, others=journal.others,
                points=journal.index(),
            )
        )  # fmt: skip
        self.abandon()
        self._builders, self._params, self._tags = {}, {}, {}

    def abandon(self) -> None:
        """Close the journal; importing again continues after its content."""
        if self._journal is not None:
            self._journal.close()
        self._journal = self._started = None


def _joined(batches: list[PointBatch]) -> tuple[IntArray, FloatArray, IntArray]:
    import numpy as np

    if len(batches) == 1:
        return batches[0].steps, batches[0].values, batches[0].times
    return (
        np.concatenate([one.steps for one in batches]), np.concatenate([one.values for one in batches]),
        np.concatenate([one.times for one in batches]),
    )  # fmt: skip


def _counts(folder: Path) -> Counter[tuple[int, str]]:
    """The number of points of each metric in the run, by branch and name."""
    found: Counter[tuple[int, str]] = Counter()
    if folder.is_dir():
        for view in Run(folder).views:
            for name, summary in view.metrics.items():
                found[view.started.branch if view.started else 0, name] += summary.count
    return found


def _records(folder: Path) -> Counter[bytes]:
    """The run's records other than points, so that they are not imported twice."""
    found: Counter[bytes] = Counter()
    if folder.is_dir():
        for view in Run(folder).views:
            found.update(_identity(record) for record in view.records(Record))
            found.update(_identity(record) for record in view.console())
    return found


def _identity(record: Record) -> bytes:
    """Equal for records that are stored alike."""
    stored = sanitized(record) or record
    return type(record).__name__.encode() + redact(msgspec.msgpack.encode(stored))


def _modified(path: Path) -> int:
    return int(path.stat().st_mtime * 1e6)
