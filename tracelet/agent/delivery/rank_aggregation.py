"""Aggregates the points of a run's ranks into one journal, which backends receive instead of each rank's points.

Called by couriers on their threads, one at a time; one process of a run aggregates, and the others read its journal. A
step is written once every expected rank has written its value, or after a deadline. Later values stay in the ranks' own
journals for readers of the run. A step is never written twice, nor is one that an earlier branch of a resumed run
reached. Needs no numpy.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tracelet.agent.delivery.aggregation_state import PendingStep, RepeatCounter, SeriesId, SeriesState, StepKey
from tracelet.agent.delivery.reduction import RankValue, reduce_values
from tracelet.agent.process.locks import Lock
from tracelet.agent.process.process_watch import ProcessWatch, WatchedProcess
from tracelet.errors import JournalError
from tracelet.journal.chunk_merging import Columns
from tracelet.journal.column_packing import pack_floats, pack_integers
from tracelet.journal.frames import Cursor
from tracelet.journal.journal_reader import JournalReader
from tracelet.journal.journal_writer import JournalWriter
from tracelet.journal.records import FINISHED, KIND_OF, Chunk, Points, Record, Started, Status
from tracelet.journal.run_folder import SUFFIX, create_journal
from tracelet.redaction.known_secrets import redact
from tracelet.store import delivery_state

STEM = "aggregate"
DEADLINE = 30.0
"""Seconds to wait for a live rank that has not written its part of a step."""
MACHINE = frozenset({"system", "gpu"})
"""Prefixes of system metrics: each rank has its own, so they are not aggregated."""


@dataclass
class RankJournal:
    """The journal of one rank's process, and the position up to which it is read."""

    member: WatchedProcess
    counter: RepeatCounter = field(default_factory=RepeatCounter)
    cursor: Cursor = Cursor()
    file_version: tuple[int, int] = (0, 0)
    several_ranks_since: int | None = None
    """The number of the frame from which on the process knew that it was one of several."""


class RankAggregator:
    """The aggregation of one run. Several threads may call `aggregate`."""

    def __init__(self, folder: Path, deadline: float = DEADLINE, expects_more: Callable[[], bool] = bool) -> None:
        self.folder = folder
        self._expects_more = expects_more
        self._deadline = deadline
        self._watch = ProcessWatch(folder)
        self._mutex = threading.Lock()
        self._lock = Lock(folder / delivery_state.FOLDER / f"{STEM}.lock")
        self._held = False
        self._journal: JournalWriter | None = None
        self._series: dict[SeriesId, SeriesState] = {}
        self._sources: dict[str, RankJournal] = {}
        self._branch = 0

    def aggregate(self) -> bool:
        """Write completed steps. True if no more will come: all ranks have ended, or there is only one."""
        with self._mutex:
            self._watch.update()
            ranks = self._watch.ranks()
            if not any(member.started and member.started.world_size > 1 for member in ranks):
                return True
            if not self._held:
                self._held = self._lock.acquire()
                if not self._held:
                    return not self._lock.path.exists() or self._complete()
                self._recover()
            over = all(member.ended for member in ranks) and not self._expects_more()
            self._read(ranks)
            self._write()
            while over and not self._has_pending_steps() and not all(self._is_read(member) for member in ranks):
                self._read(ranks)  # the next branch
                self._write()
            if over and not self._has_pending_steps():
                self._finish()
                return True
            return False

    def _has_pending_steps(self) -> bool:
        return any(series.pending_steps for series in self._series.values())

    def close(self) -> None:
        """Close the journal, so that another process may aggregate."""
        with self._mutex:
            if self._journal is not None:
                self._journal.close()
                self._journal = None
            if self._held:
                self._held = False
                self._lock.release()

    def _complete(self) -> bool:
        """Whether the aggregating process has reached the end."""
        last = max(aggregates(self.folder), key=_number, default=None)
        frames = list(JournalReader(last).frames()) if last else []
        return bool(frames) and frames[-1].kind == KIND_OF[Status]

    def _recover(self) -> None:
        """Resume from the journal that an earlier aggregating process has written."""
        counter = RepeatCounter()
        for path in sorted(aggregates(self.folder), key=_number):
            for frame in JournalReader(path).frames():
                record = frame.record()
                for chunk in record.chunks if isinstance(record, Points) else ():
                    series_id = (chunk.name, chunk.stage, chunk.fit, chunk.automatic)
                    series = self._series.setdefault(series_id, SeriesState(chunk.reduce))
                    for step in Columns.of(chunk, frame.number).steps:
                        series.mark_written(counter.key(series_id, step))

    def _read(self, ranks: list[WatchedProcess]) -> None:
        """Read new data; a later branch only once the earlier one has been written."""
        waiting = [m.started.branch for m in ranks if m.started and not (m.ended and self._is_read(m))]
        branch = min(waiting, default=self._branch)
        if branch > self._branch and self._has_pending_steps():
            return
        self._branch = branch
        for member in ranks:
            if member.started is not None and member.started.branch <= branch:
                source = self._sources.setdefault(member.path.name, RankJournal(member))
                if not self._is_read(member):
                    with suppress(OSError, JournalError):  # unreadable: its reader reports it, and the others continue
                        self._read_journal(source)

    def _is_read(self, member: WatchedProcess) -> bool:
        source = self._sources.get(member.path.name)
        try:
            return source is not None and source.file_version == _file_version(member.path)
        except OSError:
            return True

    def _read_journal(self, source: RankJournal) -> None:
        source.file_version = _file_version(source.member.path)
        for frame in JournalReader(source.member.path).frames(source.cursor):
            source.cursor = frame.after
            record: Record | None = None
            with suppress(JournalError):  # damaged: as the run's reader reports
                record = frame.record()
            if isinstance(record, Started) and source.several_ranks_since is None and record.world_size > 1:
                source.several_ranks_since = frame.number
            elif isinstance(record, Points) and source.several_ranks_since is not None:
                for chunk in record.chunks:
                    if not (chunk.automatic and chunk.name.partition("/")[0] in MACHINE):
                        self._add(source, chunk, Columns.of(chunk, frame.number).since(source.several_ranks_since))

    def _add(self, source: RankJournal, chunk: Chunk, columns: Columns) -> None:
        assert source.member.started is not None  # it is a rank
        rank = source.member.started.rank
        series_id = (chunk.name, chunk.stage, chunk.fit, chunk.automatic)
        series = self._series.setdefault(series_id, SeriesState(chunk.reduce))
        series.reduce = chunk.reduce
        series.given_up_ranks.discard(rank)
        count, now = len(columns.steps), time.monotonic()
        weights, totals = columns.weights or [math.nan] * count, columns.totals or [math.nan] * count
        epochs = columns.epochs or [-1] * count
        for place, step in enumerate(columns.steps):
            key = source.counter.key(series_id, step)
            if not series.written(key):
                pending = series.pending_steps.setdefault(key, PendingStep(now))
                pending.parts[rank] = RankValue(columns.values[place], weights[place], totals[place])
                pending.stamps[rank] = columns.times[place], epochs[place]

    def _write(self) -> None:
        expected = self._expected()
        chunks = [
            chunk for series_id, series in self._series.items() if (chunk := self._ready(series_id, series, expected))
        ]
        if chunks:
            self._open().append([Points(chunks=chunks)])

    def _expected(self) -> set[int]:
        """The ranks that may still write: they are alive, have ended but are not read to the end, or have
        not started.
        """
        members = [(source.member, source.member.started) for source in self._sources.values()]
        mine = [(m, one) for m, one in members if one and one.branch == self._branch and one.world_size > 1]
        world = max((started.world_size for _, started in mine), default=0)
        seen = {started.rank for _, started in mine}
        living = {started.rank for member, started in mine if not (member.ended and self._is_read(member))}
        if self._expects_more():  # data of ranks on other nodes may be in transit, whatever their status
            home = min(((started.rank, started.node_rank) for _, started in mine), default=(0, 0))[1]
            living |= {
                started.rank for member, started in mine if started.node_rank != home and not member.has_final_status
            }
        elif mine and not living:
            return set()
        return living | (set(range(world)) - seen)

    def _ready(self, series_id: SeriesId, series: SeriesState, expected: set[int]) -> Chunk | None:
        """The completed steps of a series, in the order of arrival, which are removed here."""
        now, found = time.monotonic(), []
        for key, pending in series.pending_steps.items():
            missing = expected - pending.parts.keys() - series.given_up_ranks
            if series.reduce == "synced" and (not expected or min(pending.parts) <= min(expected)):
                missing = set()
            if missing:
                if now - pending.since < self._deadline:
                    break
                known = {rank for other in series.pending_steps.values() for rank in other.parts}
                series.given_up_ranks |= missing - known
            found.append((key, pending))
        for key, _ in found:
            del series.pending_steps[key]
            series.mark_written(key)
        return _chunk(series_id, series.reduce, found) if found else None

    def _open(self) -> JournalWriter:
        if self._journal is None:
            lead = next(s.member.started for s in self._sources.values() if s.member.started)
            self._journal, _ = create_journal(self.folder / delivery_state.FOLDER, STEM, redact)
            started = Started(
                run=lead.run, name=lead.name, project=lead.project, time=int(time.time() * 1e6), host=lead.host,
                pid=lead.pid, role=STEM,
            )  # fmt: skip
            self._journal.append([started])
        return self._journal

    def _finish(self) -> None:
        if self._journal is not None:
            self._journal.append([Status(time=int(time.time() * 1e6), status=FINISHED)])
            self._journal.close()
            self._journal = None


def aggregates(folder: Path) -> list[Path]:
    """The journals of aggregated points of this run."""
    return list((folder / delivery_state.FOLDER).glob(f"{STEM}.*{SUFFIX}"))


def _file_version(path: Path) -> tuple[int, int]:
    """The file's identity and length, because compaction replaces it with a shorter one."""
    here = path.stat()
    return here.st_ino, here.st_size


def _number(path: Path) -> int:
    return int(path.name.split(".")[1])


def _chunk(series_id: SeriesId, reduce: str, found: list[tuple[StepKey, PendingStep]]) -> Chunk:
    name, stage, fit, automatic = series_id
    leads = [min(pending.parts) for _, pending in found]
    stamps = [pending.stamps[lead] for lead, (_, pending) in zip(leads, found)]
    values = [reduce_values(reduce, [pending.parts[rank] for rank in sorted(pending.parts)]) for _, pending in found]
    return Chunk(
        name=name, count=len(found), stage=stage, fit=fit, reduce="synced", automatic=automatic,
        steps=pack_integers([key[0] for key, _ in found]), times=pack_integers([time for time, _ in stamps]),
        values=pack_floats(values), epochs=pack_integers([epoch for _, epoch in stamps]),
    )  # fmt: skip
