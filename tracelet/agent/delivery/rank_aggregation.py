"""Gathers what the ranks of a run wrote into one journal, which is what backends get of their points.

Used by couriers, on their threads, one at a time; one process of a run gathers, the others read what it writes. A step
is written when every rank that can be expected to has written its part, or when a deadline has passed. What comes after
that is in the ranks' own journals, for the reader of the run; here nothing is ever written twice, and neither is a step
that an earlier branch of a resumed run had reached. Needs no numpy.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tracelet.agent.delivery.aggregation_state import Counter, Key, Line, Slot, Track
from tracelet.agent.delivery.reduction import Part, reduced
from tracelet.agent.process.locks import Lock
from tracelet.agent.process.process_watch import Member, Watch
from tracelet.errors import JournalError
from tracelet.journal.chunk_merging import Columns
from tracelet.journal.columns import pack_floats, pack_integers
from tracelet.journal.frames import Cursor
from tracelet.journal.journal_reader import JournalReader
from tracelet.journal.journal_writer import JournalWriter
from tracelet.journal.records import FINISHED, KIND_OF, Chunk, Points, Record, Started, Status
from tracelet.journal.run_folder import SUFFIX, create_journal
from tracelet.redaction.known_secrets import redact
from tracelet.store import delivery_state

STEM = "aggregate"
DEADLINE = 30.0
"""Seconds to wait for a rank that lives and has not written its part of a step."""
MACHINE = frozenset({"system", "gpu"})
"""First parts of the names of metrics that are read from the machine: rank 0's are not those of the other ranks."""


@dataclass
class Source:
    """The journal of one rank's process, as far as it has been read."""

    member: Member
    counter: Counter = field(default_factory=Counter)
    cursor: Cursor = Cursor()
    seen: tuple[int, int] = (0, 0)
    ranked: int | None = None
    """The number of the frame from which on the process knew that it was one of several."""


class Gatherer:
    """The gathering of one run. `gather` may be called by several threads."""

    def __init__(self, folder: Path, deadline: float = DEADLINE, awaits: Callable[[], bool] = bool) -> None:
        self.folder = folder
        self._awaits = awaits
        self._deadline = deadline
        self._watch = Watch(folder)
        self._mutex = threading.Lock()
        self._lock = Lock(folder / delivery_state.FOLDER / f"{STEM}.lock")
        self._held = False
        self._journal: JournalWriter | None = None
        self._tracks: dict[Line, Track] = {}
        self._sources: dict[str, Source] = {}
        self._branch = 0

    def gather(self) -> bool:
        """Write what is ready. True when nothing more is to be expected: all ranks have ended, or there is but one."""
        with self._mutex:
            self._watch.look()
            ranks = self._watch.ranks()
            if not any(member.started and member.started.world_size > 1 for member in ranks):
                return True
            if not self._held:
                self._held = self._lock.acquire()
                if not self._held:
                    return not self._lock.path.exists() or self._complete()
                self._recover()
            over = all(member.ended for member in ranks) and not self._awaits()
            self._read(ranks)
            self._write()
            while over and not self._waits() and not all(self._drained(member) for member in ranks):
                self._read(ranks)  # the next branch
                self._write()
            if over and not self._waits():
                self._finish()
                return True
            return False

    def _waits(self) -> bool:
        return any(track.slots for track in self._tracks.values())

    def close(self) -> None:
        """Let go, so that another process may gather."""
        with self._mutex:
            if self._journal is not None:
                self._journal.close()
                self._journal = None
            if self._held:
                self._held = False
                self._lock.release()

    def _complete(self) -> bool:
        """Whether the process that gathers has come to the end."""
        last = max(aggregates(self.folder), key=_number, default=None)
        frames = list(JournalReader(last).frames()) if last else []
        return bool(frames) and frames[-1].kind == KIND_OF[Status]

    def _recover(self) -> None:
        """Take up what an earlier gatherer has written."""
        counter = Counter()
        for path in sorted(aggregates(self.folder), key=_number):
            for frame in JournalReader(path).frames():
                record = frame.record()
                for chunk in record.chunks if isinstance(record, Points) else ():
                    line = (chunk.name, chunk.stage, chunk.fit, chunk.automatic)
                    track = self._tracks.setdefault(line, Track(chunk.reduce))
                    for step in Columns.of(chunk, frame.number).steps:
                        track.mark(counter.key(line, step))

    def _read(self, ranks: list[Member]) -> None:
        """Take in what is new; a later branch only once the earlier one has been written."""
        waiting = [m.started.branch for m in ranks if m.started and not (m.ended and self._drained(m))]
        branch = min(waiting, default=self._branch)
        if branch > self._branch and self._waits():
            return
        self._branch = branch
        for member in ranks:
            if member.started is not None and member.started.branch <= branch:
                source = self._sources.setdefault(member.path.name, Source(member))
                if not self._drained(member):
                    with suppress(OSError, JournalError):  # unreadable: its reader says so, and the others go on
                        self._take(source)

    def _drained(self, member: Member) -> bool:
        source = self._sources.get(member.path.name)
        try:
            return source is not None and source.seen == _seen(member.path)
        except OSError:
            return True

    def _take(self, source: Source) -> None:
        source.seen = _seen(source.member.path)
        for frame in JournalReader(source.member.path).frames(source.cursor):
            source.cursor = frame.after
            record: Record | None = None
            with suppress(JournalError):  # damaged: as the run's reader says
                record = frame.record()
            if isinstance(record, Started) and source.ranked is None and record.world_size > 1:
                source.ranked = frame.number
            elif isinstance(record, Points) and source.ranked is not None:
                for chunk in record.chunks:
                    if not (chunk.automatic and chunk.name.partition("/")[0] in MACHINE):
                        self._add(source, chunk, Columns.of(chunk, frame.number).since(source.ranked))

    def _add(self, source: Source, chunk: Chunk, columns: Columns) -> None:
        assert source.member.started is not None  # it is a rank
        rank = source.member.started.rank
        line = (chunk.name, chunk.stage, chunk.fit, chunk.automatic)
        track = self._tracks.setdefault(line, Track(chunk.reduce))
        track.reduce = chunk.reduce
        track.absent.discard(rank)
        count, now = len(columns.steps), time.monotonic()
        weights, totals = columns.weights or [math.nan] * count, columns.totals or [math.nan] * count
        epochs = columns.epochs or [-1] * count
        for place, step in enumerate(columns.steps):
            key = source.counter.key(line, step)
            if not track.written(key):
                slot = track.slots.setdefault(key, Slot(now))
                slot.parts[rank] = Part(columns.values[place], weights[place], totals[place])
                slot.stamps[rank] = columns.times[place], epochs[place]

    def _write(self) -> None:
        expected = self._expected()
        chunks = [chunk for line, track in self._tracks.items() if (chunk := self._ready(line, track, expected))]
        if chunks:
            self._open().append([Points(chunks=chunks)])

    def _expected(self) -> set[int]:
        """The ranks that may still write: those that live, have been seen to end and not been read, or never came."""
        members = [(source.member, source.member.started) for source in self._sources.values()]
        mine = [(m, one) for m, one in members if one and one.branch == self._branch and one.world_size > 1]
        world = max((started.world_size for _, started in mine), default=0)
        seen = {started.rank for _, started in mine}
        living = {started.rank for member, started in mine if not (member.ended and self._drained(member))}
        if self._awaits():  # what ranks of other nodes wrote may be on its way, whatever has become of them
            home = min(((started.rank, started.node_rank) for _, started in mine), default=(0, 0))[1]
            living |= {started.rank for member, started in mine if started.node_rank != home and not member.said}
        elif mine and not living:
            return set()
        return living | (set(range(world)) - seen)

    def _ready(self, line: Line, track: Track, expected: set[int]) -> Chunk | None:
        """What can be written of a line, in the order in which it came; it is forgotten here."""
        now, found = time.monotonic(), []
        for key, slot in track.slots.items():
            missing = expected - slot.parts.keys() - track.absent
            if track.reduce == "synced" and (not expected or min(slot.parts) <= min(expected)):
                missing = set()
            if missing:
                if now - slot.since < self._deadline:
                    break
                known = {rank for other in track.slots.values() for rank in other.parts}
                track.absent |= missing - known
            found.append((key, slot))
        for key, _ in found:
            del track.slots[key]
            track.mark(key)
        return _chunk(line, track.reduce, found) if found else None

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
    """The journals that gatherers of this run have written."""
    return list((folder / delivery_state.FOLDER).glob(f"{STEM}.*{SUFFIX}"))


def _seen(path: Path) -> tuple[int, int]:
    """Which file it is, for compaction puts a shorter one in its place, and how long."""
    here = path.stat()
    return here.st_ino, here.st_size


def _number(path: Path) -> int:
    return int(path.name.split(".")[1])


def _chunk(line: Line, reduce: str, found: list[tuple[Key, Slot]]) -> Chunk:
    name, stage, fit, automatic = line
    leads = [min(slot.parts) for _, slot in found]
    stamps = [slot.stamps[lead] for lead, (_, slot) in zip(leads, found)]
    values = [reduced(reduce, [slot.parts[rank] for rank in sorted(slot.parts)]) for _, slot in found]
    return Chunk(
        name=name, count=len(found), stage=stage, fit=fit, reduce="synced", automatic=automatic,
        steps=pack_integers([key[0] for key, _ in found]), times=pack_integers([time for time, _ in stamps]),
        values=pack_floats(values), epochs=pack_integers([epoch for _, epoch in stamps]),
    )  # fmt: skip
