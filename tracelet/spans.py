"""Finished spans as packed columns, made by the writer and read as a table.

The writing side is pure Python; the reading side imports numpy when it is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import sub
from typing import TYPE_CHECKING, Any, cast

from tracelet.errors import JournalError
from tracelet.points import INTEGER, pack_integers, pack_small, unpack_integers
from tracelet.records import Span, Spans
from tracelet.sink import ROOM, FinishedLap, FinishedSpan

if TYPE_CHECKING:
    from tracelet.points import IntArray


LAP_WIDTH = 8
"""The length of a `FinishedLap`, which tells it from a `FinishedSpan`."""


def packed(items: Iterable[FinishedSpan | FinishedLap]) -> list[Spans]:
    """What one flush found: a record of its single spans and one of its iterations."""
    singles: list[Any] = []
    laps: list[Any] = []
    for item in items:
        (laps if len(item) == LAP_WIDTH else singles).append(item)
    return [pack(found) for pack, found in ((pack_spans, singles), (pack_laps, laps)) if found]


def pack_spans(items: Sequence[FinishedSpan | FinishedLap]) -> Spans:
    """One record of all spans, ordered by their start."""
    rows: list[Any] = []
    for item in items:
        if len(item) == LAP_WIDTH:
            rows += spread(cast("FinishedLap", item))
        else:
            rows.append(item)
    ordered = sorted(rows, key=_start)
    names: dict[str, int] = {}
    indexes = [names.setdefault(item[0], len(names)) for item in ordered]
    return Spans(
        count=len(ordered), names=list(names), name_indexes=pack_integers(indexes),
        ids=pack_integers([item[1] for item in ordered]),
        parents=pack_integers([item[1] - item[2] + 1 if item[2] else 0 for item in ordered]),
        starts=pack_integers([item[3] for item in ordered]),
        durations=pack_integers([item[4] for item in ordered]),
        threads=pack_integers([item[5] for item in ordered]),
        attributes={place: item[6] for place, item in enumerate(ordered) if item[6]},
    )  # fmt: skip


def pack_laps(laps: Sequence[FinishedLap]) -> Spans:
    """The same for iterations alone, by columns: there are many, and rows cost twice the time."""
    begins = [lap[3] for lap in laps]
    if any(after < before for before, after in pairwise(begins)):
        return pack_spans(laps)  # an iteration inside another one ended first
    names: dict[str, int] = {}
    known: dict[tuple[str, ...], tuple[list[int], range]] = {}
    indexes: list[int] = []
    ids: list[int] = []
    distances: list[int] = []
    starts: list[int] = []
    durations: list[int] = []
    threads: list[int] = []
    for name, number, parent, begin, end, thread, origin, marks in laps:
        phases = (name, *marks[: 2 * ROOM - 2 : 2])
        pattern = known.get(phases)
        if pattern is None:
            pattern = [names.setdefault(phase, len(names)) for phase in phases], range(2, len(phases) + 1)
            known[phases] = pattern
        indexes += pattern[0]
        ids += range(number, number + len(phases))
        distances.append(number - parent + 1 if parent else 0)
        distances += pattern[1]
        ends = marks[1 : 2 * ROOM - 1 : 2]
        edges = [begin, *ends]
        starts.append(begin + origin)
        starts += [edge + origin for edge in edges[:-1]]
        durations.append(end - begin)
        durations += map(sub, ends, edges)
        threads += [thread] * len(phases)
    return Spans(
        count=len(ids), names=list(names), name_indexes=pack_small(indexes), ids=pack_integers(ids),
        parents=pack_small(distances), starts=pack_integers(starts), durations=pack_small(durations),
        threads=pack_small(threads),
    )  # fmt: skip


def spread(lap: FinishedLap) -> list[FinishedSpan]:
    """The spans of an iteration: its own, then one for each phase."""
    name, number, parent, begin, end, thread, origin, marks = lap
    rows: list[FinishedSpan] = [(name, number, parent, begin + origin, end - begin, thread, None)]
    for offset in range(0, min(len(marks), 2 * (ROOM - 1)), 2):
        until = marks[offset + 1]
        rows.append((marks[offset], number + offset // 2 + 1, number, begin + origin, until - begin, thread, None))
        begin = until
    return rows


def _start(item: FinishedSpan) -> int:
    return item[3]


@dataclass(frozen=True)
class SpanTable:
    """Spans of one run as columns of the same length n, ordered by their start.

    `names` list[n]; `ids`, `parents` (0: none), `starts_ns` (since the epoch), `durations_ns` (-1: still open),
    `threads`, `ranks` int64[n]; `attributes` and `errors` by place in the columns. Ids are unique within one rank and
    attempt; `processes` int64[n] numbers these.
    """

    names: list[str]
    ids: IntArray
    parents: IntArray
    starts_ns: IntArray
    durations_ns: IntArray
    threads: IntArray
    ranks: IntArray
    processes: IntArray
    attributes: dict[int, dict[str, Any]]
    errors: dict[int, str]

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Span]:
        for place, name in enumerate(self.names):
            yield Span(
                id=int(self.ids[place]), name=name, start_ns=int(self.starts_ns[place]),
                duration_ns=int(self.durations_ns[place]), parent=int(self.parents[place]),
                thread=int(self.threads[place]), attributes=self.attributes.get(place, {}),
                error=self.errors.get(place, ""),
            )  # fmt: skip


Source = tuple[int, int, Iterable[Span], Iterable[Spans]]
"""(process number, rank, single spans, packed spans) of one journal."""


@dataclass
class _Block:
    """Some spans of one process: ids, parents, starts, durations and threads as columns."""

    names: list[str]
    columns: list[IntArray]
    attributes: dict[int, dict[str, Any]]
    errors: dict[int, str]


def tabulate(sources: Iterable[Source], name: str | None = None) -> SpanTable:
    """The spans of several processes as one table; only those called `name` if given. Damaged records are left out."""
    import numpy as np

    blocks: list[tuple[int, int, _Block]] = []
    for process, rank, single, packed in sources:
        finished = [block for record in packed if (block := _from_packed(record)) is not None]
        latest = {span.id: span for span in single}  # a span that ended replaces the record of its beginning
        for block in finished:
            for span_id in latest.keys() & set(block.columns[0].tolist()):
                del latest[span_id]
        blocks += [(process, rank, block) for block in (_from_single(list(latest.values())), *finished)]
    names = [title for _, _, block in blocks for title in block.names]
    places = np.array([place for place, title in enumerate(names) if name in (None, title)], dtype=INTEGER)
    empty = [np.empty(0, dtype=INTEGER)]
    columns = [np.concatenate([block.columns[n] for _, _, block in blocks] or empty) for n in range(5)]
    for shared in (1, 0):
        columns.append(np.concatenate([np.full(len(b[2].names), b[shared], dtype=INTEGER) for b in blocks] or empty))
    order = places[np.argsort(columns[2][places], kind="stable")]
    where = {int(old): new for new, old in enumerate(order)}
    ids, parents, starts, durations, threads, ranks, processes = (column[order] for column in columns)
    return SpanTable(
        [names[place] for place in order], ids, parents, starts, durations, threads, ranks, processes,
        _moved(where, blocks, "attributes"), _moved(where, blocks, "errors"),
    )  # fmt: skip


def _moved(where: dict[int, int], blocks: list[tuple[int, int, _Block]], field: str) -> dict[int, Any]:
    """What the blocks know by place in them, by place in the table."""
    found: dict[int, Any] = {}
    base = 0
    for _, _, block in blocks:
        for place, value in getattr(block, field).items():
            if base + place in where:
                found[where[base + place]] = value
        base += len(block.names)
    return found


def _from_single(spans: list[Span]) -> _Block:
    import numpy as np

    fields = ("id", "parent", "start_ns", "duration_ns", "thread")
    columns = [np.array([getattr(span, field) for span in spans], dtype=INTEGER) for field in fields]
    return _Block(
        [span.name for span in spans], columns,
        {place: span.attributes for place, span in enumerate(spans) if span.attributes},
        {place: span.error for place, span in enumerate(spans) if span.error},
    )  # fmt: skip


def _from_packed(record: Spans) -> _Block | None:
    import numpy as np

    try:
        indexes, ids, distances, starts, durations, threads = (
            unpack_integers(column, record.count)
            for column in (record.name_indexes, record.ids, record.parents, record.starts, record.durations,
                           record.threads)
        )  # fmt: skip
        names = [record.names[index] for index in indexes]
    except (JournalError, IndexError):
        return None
    parents = np.where(distances == 0, 0, ids - distances + 1)
    return _Block(names, [ids, parents, starts, durations, threads], record.attributes, {})
