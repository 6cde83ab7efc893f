"""Reads a run's journals after cursors and makes the batches that backends get. Used by one courier, on its thread.

A batch is a stretch of one journal. Its bounds are written down before it is delivered, so that it is the very same
when it comes again. Reads only; needs no numpy, so that the agent stays small.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tracelet.agent.delivery.rank_aggregation import MACHINE, STEM, aggregates
from tracelet.agent.delivery.skipped_points import Boundaries, reached
from tracelet.backends.base import Batch, SeriesPart, Source, SpanPart
from tracelet.errors import JournalError
from tracelet.journal.chunk_merging import Columns
from tracelet.journal.columns import list_integers
from tracelet.journal.frames import Cursor, Frame
from tracelet.journal.journal_reader import JournalReader, first_record
from tracelet.journal.records import (
    KIND_OF,
    Artifact,
    Chunk,
    Event,
    Facts,
    Params,
    Points,
    Scalar,
    Span,
    Spans,
    Started,
    Tags,
)
from tracelet.journal.run_folder import SUFFIX
from tracelet.store import delivery_state
from tracelet.store.delivery_state import Pending

MOST_POINTS = 5000
"""A batch ends with the frame that brings it here: a request or two for most backends."""
MOST_FRAMES = 200
MOST_BYTES = 1024 * 1024
MICRO = 1e6
POINTS = KIND_OF[Points]

Cursors = Mapping[str, tuple[int, int]]


@dataclass
class _Parts:
    """A batch in the making."""

    source: Source
    prefix: str
    ranked: int | None = None
    """The frame from which on the process is one of several ranks: their points are gathered elsewhere."""
    follower: bool = False
    """Of a rank that does not lead: only its spans are wanted, and what happened in them."""
    floors: Mapping[tuple[str, str, int], int] = field(default_factory=dict)
    """Steps that an earlier branch of a resumed run had reached: up to there the backend has the series already."""
    columns: dict[tuple[str, str, int, bool], Columns] = field(default_factory=dict)
    params: dict[str, Scalar] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    artifacts: list[Artifact] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    spans: list[SpanPart] = field(default_factory=list)
    begun: list[SpanPart] = field(default_factory=list)
    points: int = 0
    damage: list[str] = field(default_factory=list)

    def add(self, frame: Frame, until: int) -> None:
        """Take in one frame; of points, those that stood in frames before `until`."""
        try:
            record = None if self.follower and frame.kind == POINTS else frame.record()
            if isinstance(record, Points):
                for chunk in record.chunks:
                    self._add_chunk(chunk, frame.number, until)
            elif isinstance(record, Started):
                if self.ranked is None and record.world_size > 1 and record.role == "rank":
                    self.ranked = frame.number
            elif isinstance(record, Spans):
                self.spans += _unpacked(record, self.source.rank)
            elif not self.follower or isinstance(record, Span) or (isinstance(record, Event) and record.span):
                self._add_record(record)
        except JournalError as error:
            self.damage.append(str(error))

    def _add_chunk(self, chunk: Chunk, number: int, until: int) -> None:
        machine = chunk.automatic and chunk.name.partition("/")[0] in MACHINE
        columns = Columns.of(chunk, number).before(until if self.ranked is None or machine else min(until, self.ranked))
        if columns.sources and self.floors and not machine:
            columns = columns.above(self.floors.get((chunk.name, chunk.stage, chunk.fit)))
        if not columns.sources:
            return
        if columns.epochs is None:
            columns.epochs = [-1] * len(columns.steps)
        key = (self.prefix + chunk.name, chunk.stage, chunk.fit, machine)
        self.points += len(columns.steps)
        known = self.columns.get(key)
        if known is None:
            self.columns[key] = columns
        else:
            known.extend(columns)

    def _add_record(self, record: object) -> None:
        if isinstance(record, Params):
            self.params.update(record.values)
        elif isinstance(record, Tags):
            self.tags.update(record.values)
        elif isinstance(record, Facts):
            self.facts[record.topic] = record.values
        elif isinstance(record, Artifact):
            self.artifacts.append(record)
        elif isinstance(record, Event):
            self.events.append(record)
        elif isinstance(record, Span):
            (self.spans if record.duration_ns >= 0 else self.begun).append(SpanPart(
                id=record.id, parent=record.parent, name=record.name, start_ns=record.start_ns,
                end_ns=record.start_ns + record.duration_ns, rank=self.source.rank, thread=record.thread,
                attributes=record.attributes, error=record.error,
            ))  # fmt: skip

    def empty(self) -> bool:
        """Whether there is nothing to deliver in it."""
        return not (
            self.columns
            or self.params
            or self.tags
            or self.facts
            or self.artifacts
            or self.events
            or self.spans
            or self.begun
        )

    def batch(self, name: str) -> Batch:
        """What the backend gets."""
        return Batch(
            id=name, points=[_series(key, columns) for key, columns in self.columns.items()], params=self.params,
            tags=self.tags, facts=self.facts, artifacts=self.artifacts, events=self.events, spans=self.spans,
            begun=self.begun, source=self.source,
        )  # fmt: skip


@dataclass(frozen=True)
class Portion:
    """A batch, and the stretch of a journal that it was made of. Without a batch: a stretch with nothing in it."""

    pending: Pending
    batch: Batch | None
    damage: tuple[str, ...] = ()


class Feed:
    """The stretches of a run's journals that one backend has not got yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.every_rank = False
        """Whether the spans of the ranks that do not lead are wanted too."""
        self._started: dict[str, Started] = {}
        self._exhausted: dict[str, tuple[int, int]] = {}
        self._boundaries = Boundaries()
        self._reached: dict[int, dict[tuple[str, str, int], int]] = {}

    def next(self, cursors: Cursors) -> Portion | None:
        """What comes after the cursors; None when there is nothing (yet)."""
        for path in self._delivered():
            portion = self._after(path, Cursor(*cursors.get(path.name, Cursor())))
            if portion is not None:
                return portion
        return None

    def again(self, pending: Pending) -> Portion | None:
        """The batch that was begun before; None if there is nothing of it any more."""
        path = self._path(pending.journal)
        if not path.exists() or self._first(path) is None:
            return None
        return self._after(path, Cursor(*pending.start), Cursor(*pending.stop))

    def _delivered(self) -> Iterator[Path]:
        """The journals whose content goes to backends: those of rank 0, of other ranks if wanted, of the nodes."""
        found: list[tuple[tuple[bool, int, int, int], Path]] = []
        for path in self.folder.glob("*" + SUFFIX):
            started = self._first(path)
            # Started by Lightning, the first rank of each node begins as rank 0, until the ranks have met.
            leads = started is not None and started.rank == started.node_rank == 0
            if started is not None and (started.role == "node" or leads or self.every_rank):
                found.append(((started.role == "node", started.node_rank, started.attempt, started.rank), path))
        yield from (path for _, path in sorted(found))
        for path in sorted(aggregates(self.folder)):
            if self._first(path) is not None:
                yield path

    def _path(self, name: str) -> Path:
        return self.folder / delivery_state.FOLDER / name if name.startswith(STEM) else self.folder / name

    def _first(self, path: Path) -> Started | None:
        known = self._started.get(path.name)
        if known is None and (known := first_record(path)) is not None:
            self._started[path.name] = known
        return known

    def _floors(self, started: Started) -> Mapping[tuple[str, str, int], int]:
        """What the branches before this one had reached; they have ended, so it stays what it is."""
        branch = started.branch
        if not branch or started.role != "rank":
            return {}
        if branch not in self._reached:
            paths = [(path, self._started[path.name]) for path in self._delivered()]
            earlier = [path for path, one in paths if one.branch < branch and one.role != "node" and one.rank == 0]
            self._reached[branch] = reached(earlier)
        return self._reached[branch]

    def _after(self, path: Path, start: Cursor, stop: Cursor | None = None) -> Portion | None:
        here = path.stat()
        if stop is None and self._exhausted.get(path.name) == (here.st_size, here.st_mtime_ns):
            return None
        started = self._started[path.name]
        prefix = f"node{started.node_rank}/" if started.role == "node" and started.node_rank else ""
        source = Source(started.rank, started.attempt, started.pid, started.host)
        follower = started.role == "rank" and started.rank > 0
        parts = _Parts(source, prefix, self._boundaries.before(path, start), follower, self._floors(started))
        reader = JournalReader(path)
        end = _gather(parts, reader, start, stop)
        if end is None and stop is None:
            self._exhausted[path.name] = (here.st_size, here.st_mtime_ns)
            return None
        end = stop or end
        assert end is not None  # one of the two is there
        pending = Pending(journal=path.name, start=(start.number, start.offset), stop=(end.number, end.offset))
        name = f"{path.name.removesuffix(SUFFIX)}:{start.number}-{end.number}"
        damage = (*reader.damage, *parts.damage)
        return Portion(pending, None if parts.empty() else parts.batch(name), damage)


def _gather(parts: _Parts, reader: JournalReader, start: Cursor, stop: Cursor | None) -> Cursor | None:
    """Fill the parts with one batch, up to `stop` if given; the cursor behind it, None when there is nothing."""
    size = 0
    end: Cursor | None = None
    for taken, frame in enumerate(reader.frames(start), 1):
        beyond = stop is not None and frame.number >= stop.number
        if not beyond or frame.kind == POINTS:  # compaction moves points behind frames with a lower number
            parts.add(frame, stop.number if stop else frame.number + 1)
        end = frame.after
        size += len(frame.payload)
        if stop is not None:
            if frame.kind == POINTS and frame.number + 1 >= stop.number:
                break
            continue
        full = parts.points >= MOST_POINTS or taken >= MOST_FRAMES or size >= MOST_BYTES
        if full and (frame.kind == POINTS or not _compacted(reader)):
            break
    return end


def _compacted(reader: JournalReader) -> bool:
    footer = reader.footer()
    return footer is not None and footer.compacted


def _series(key: tuple[str, str, int, bool], columns: Columns) -> SeriesPart:
    name, stage, fit, system = key
    return SeriesPart(
        name=name, steps=columns.steps, values=columns.values.tolist(), times=[time / MICRO for time in columns.times],
        epochs=columns.epochs or [], stage=stage, fit=fit, system=system,
    )  # fmt: skip


def _unpacked(record: Spans, rank: int) -> list[SpanPart]:
    names, ids, distances, starts, durations, threads = (
        list_integers(column, record.count)
        for column in (
            record.name_indexes, record.ids, record.parents, record.starts, record.durations, record.threads
        )
    )  # fmt: skip
    if any(not 0 <= index < len(record.names) for index in names):
        raise JournalError("packed spans refer to unknown names; they are skipped")
    return [
        SpanPart(
            id=ids[place], parent=ids[place] - distances[place] + 1 if distances[place] else 0,
            name=record.names[names[place]], start_ns=starts[place], end_ns=starts[place] + durations[place],
            rank=rank, thread=threads[place], attributes=record.attributes.get(place, {}),
        )
        for place in range(record.count)
    ]  # fmt: skip
