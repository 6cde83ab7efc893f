"""Finished spans as packed columns, made by the writer and read as a table.

The writing side is pure Python; the reading side imports numpy when it is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tracelet.errors import JournalError
from tracelet.journal.column_packing import INTEGER, unpack_integers
from tracelet.journal.records import Span, Spans

if TYPE_CHECKING:
    from tracelet.journal.column_packing import IntArray


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
        _shift_places(where, blocks, "attributes"), _shift_places(where, blocks, "errors"),
    )  # fmt: skip


def _shift_places(where: dict[int, int], blocks: list[tuple[int, int, _Block]], field: str) -> dict[int, Any]:
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
