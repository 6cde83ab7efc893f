"""Merges chunks of one series into one, and splits a merged one at a cursor. Used by compaction and by readers.

Pure Python, so that a training process without numpy can do it. Touches no file.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from dataclasses import dataclass

from tracelet.errors import JournalError
from tracelet.journal.column_packing import MAX_POINTS, compress, list_floats, list_integers, pack_floats, pack_integers
from tracelet.journal.records import Chunk, Packed, Points


@dataclass
class Columns:
    """The points of a chunk, unpacked; `sources` are the numbers of the frames that they stood in."""

    steps: list[int]
    times: list[int]
    values: array[float]
    epochs: list[int] | None
    weights: array[float] | None
    sources: list[int]
    totals: array[float] | None = None

    @classmethod
    def of(cls, chunk: Chunk, number: int) -> Columns:
        """The columns of a chunk in the frame `number`. JournalError when one is damaged."""
        count = chunk.count
        if not 0 < count <= MAX_POINTS:
            raise JournalError(f"a chunk of {chunk.name!r} claims {count} points; they are skipped")
        return cls(
            list_integers(chunk.steps, count), list_integers(chunk.times, count), list_floats(chunk.values, count),
            None if chunk.epochs is None else list_integers(chunk.epochs, count),
            None if chunk.weights is None else list_floats(chunk.weights, count),
            [number] * count if chunk.sources is None else list_integers(chunk.sources, count),
            None if chunk.totals is None else list_floats(chunk.totals, count),
        )  # fmt: skip

    def extend(self, more: Columns) -> None:
        """Put the points of a chunk with the same `merge_key` behind these."""
        self.steps += more.steps
        self.times += more.times
        self.values += more.values
        self.sources += more.sources
        if self.epochs is not None and more.epochs is not None:
            self.epochs += more.epochs
        if self.weights is not None and more.weights is not None:
            self.weights += more.weights
        if self.totals is not None and more.totals is not None:
            self.totals += more.totals

    def since(self, number: int) -> Columns:
        """The points that stood in the frame `number` or a later one."""
        start = bisect_left(self.sources, number)
        return Columns(
            self.steps[start:], self.times[start:], self.values[start:],
            None if self.epochs is None else self.epochs[start:],
            None if self.weights is None else self.weights[start:], self.sources[start:],
            None if self.totals is None else self.totals[start:],
        )  # fmt: skip

    def before(self, number: int) -> Columns:
        """The points that stood in a frame before the frame `number`."""
        stop = bisect_left(self.sources, number)
        return Columns(
            self.steps[:stop], self.times[:stop], self.values[:stop],
            None if self.epochs is None else self.epochs[:stop],
            None if self.weights is None else self.weights[:stop], self.sources[:stop],
            None if self.totals is None else self.totals[:stop],
        )  # fmt: skip

    def above(self, step: int | None) -> Columns:
        """The points with greater steps; all of them if there is no step to compare with."""
        if step is None or min(self.steps) > step:
            return self
        kept = [place for place, mine in enumerate(self.steps) if mine > step]
        return Columns(
            [self.steps[p] for p in kept], [self.times[p] for p in kept], array("d", [self.values[p] for p in kept]),
            None if self.epochs is None else [self.epochs[p] for p in kept],
            None if self.weights is None else array("d", [self.weights[p] for p in kept]),
            [self.sources[p] for p in kept],
            None if self.totals is None else array("d", [self.totals[p] for p in kept]),
        )  # fmt: skip

    def chunk(self, like: Chunk, number: int) -> Chunk:
        """The columns as a chunk of the frame `number`, of the series that `like` belongs to."""
        return Chunk(
            name=like.name, count=len(self.steps), stage=like.stage, fit=like.fit, reduce=like.reduce,
            automatic=like.automatic, steps=_integers(self.steps), times=_integers(self.times),
            values=compress(pack_floats(self.values)),
            epochs=None if self.epochs is None else _integers(self.epochs),
            weights=None if self.weights is None else compress(pack_floats(self.weights)),
            sources=None if self.sources[0] == number else _integers(self.sources),
            totals=None if self.totals is None else compress(pack_floats(self.totals)),
        )  # fmt: skip


def _integers(column: list[int]) -> Packed:
    return compress(pack_integers(column))


def merge_key(chunk: Chunk) -> tuple[object, ...]:
    """What two chunks must have in common to become one: everything but their points."""
    return (
        chunk.name, chunk.stage, chunk.fit, chunk.reduce, chunk.automatic, chunk.epochs is None, chunk.weights is None,
        chunk.totals is None,
    )  # fmt: skip


def points_since(points: Points, since: int, number: int) -> Points:
    """Of the frame `number`, the points that stood in frame `since` or a later one; the record itself if all did.

    JournalError when a column is damaged.
    """
    if all(chunk.sources is None or int(chunk.sources[1]) >= since for chunk in points.chunks):
        return points  # a column's start is its first value, so this costs nothing
    kept = []
    for chunk in points.chunks:
        columns = Columns.of(chunk, number).since(since)
        if columns.sources:
            kept.append(columns.chunk(chunk, number))
    return Points(chunks=kept)
