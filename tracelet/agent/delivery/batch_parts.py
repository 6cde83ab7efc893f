"""Builds a batch from the frames of a range of one journal, sorted by kind.

Used by the batch reader, on a courier's thread. Needs no numpy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tracelet.agent.delivery.rank_aggregation import MACHINE
from tracelet.backends.base import Batch, SeriesPart, Source, SpanPart
from tracelet.errors import JournalError
from tracelet.journal.chunk_merging import Columns
from tracelet.journal.column_packing import list_integers
from tracelet.journal.frames import Frame
from tracelet.journal.records import (
    KIND_OF,
    Artifact,
    Chunk,
    Event,
    Facts,
    Params,
    Points,
    Record,
    Scalar,
    Span,
    Spans,
    Started,
    Tags,
)
from tracelet.store import fit_params

MICRO = 1e6
POINTS = KIND_OF[Points]
FILES = frozenset(KIND_OF[kind] for kind in (Params, Facts, Artifact, Event))
"""Kinds from which backends create files."""


@dataclass
class BatchParts:
    """A batch under construction."""

    source: Source
    prefix: str
    several_ranks_since: int | None = None
    """The frame from which on the process is one of several ranks, whose points are aggregated elsewhere."""
    files: bool = False
    """Only records that can become files are needed: no points, no tags, no spans."""
    not_leading: bool = False
    """From a rank other than the leading one: only its spans and their events are needed."""
    resumed_steps: Mapping[tuple[str, str, int], int] = field(default_factory=dict)
    """The last steps of an earlier branch of a resumed run: up to there the backend has the series already."""
    columns: dict[tuple[str, str, int, bool], Columns] = field(default_factory=dict)
    params: dict[str, Scalar] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    artifacts: list[Artifact] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    spans: list[SpanPart] = field(default_factory=list)
    begun: list[SpanPart] = field(default_factory=list)
    records: list[tuple[int, Record]] = field(default_factory=list)
    points: int = 0
    damage: list[str] = field(default_factory=list)

    def add(self, frame: Frame, until: int) -> None:
        """Add one frame; of its points, those from frames before `until`."""
        if (self.not_leading and frame.kind == POINTS) or (self.files and frame.kind not in FILES):
            return
        try:
            record = frame.record()
            if isinstance(record, Points):
                for chunk in record.chunks:
                    self._add_chunk(chunk, frame.number, until)
            elif isinstance(record, Started):
                if self.several_ranks_since is None and record.world_size > 1 and record.role == "rank":
                    self.several_ranks_since = frame.number
            elif isinstance(record, Spans):
                self.spans += _unpacked(record, self.source.rank)
            elif not self.not_leading or isinstance(record, Span) or (isinstance(record, Event) and record.span):
                self._add_record(record, frame.number)
        except JournalError as error:
            self.damage.append(str(error))

    def _add_chunk(self, chunk: Chunk, number: int, until: int) -> None:
        machine = chunk.automatic and chunk.name.partition("/")[0] in MACHINE
        columns = Columns.of(chunk, number).before(
            until if self.several_ranks_since is None or machine else min(until, self.several_ranks_since)
        )
        if columns.sources and self.resumed_steps and not machine:
            columns = columns.above(self.resumed_steps.get((chunk.name, chunk.stage, chunk.fit)))
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

    def _add_record(self, record: Record, number: int) -> None:
        if isinstance(record, (Params, Tags, Facts, Artifact, Event)):
            self.records.append((number, record))
        if isinstance(record, Params):
            self.params.update(fit_params.delivered(record))
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
        """Whether it has nothing to deliver."""
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

    def batch(self, name: str, journal: str) -> Batch:
        """The batch for the backend."""
        return Batch(
            id=name, points=[_series(key, columns) for key, columns in self.columns.items()], params=self.params,
            tags=self.tags, facts=self.facts, artifacts=self.artifacts, events=self.events, spans=self.spans,
            begun=self.begun, source=self.source, journal=journal, records=self.records,
        )  # fmt: skip


def _series(key: tuple[str, str, int, bool], columns: Columns) -> SeriesPart:
    name, stage, fit, system = key
    return SeriesPart(
        name=name, steps=columns.steps, values=columns.values.tolist(), times=[time / MICRO for time in columns.times],
        epochs=columns.epochs or [], stage=stage, fit=fit, system=system, frames=columns.sources,
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
