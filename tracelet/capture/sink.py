"""The types of captured items, and the sink that takes them: the interface between capturing code and the writer.

Items are made on the training thread, so they are tuples: cheap to make, distinguished by their length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Union

from tracelet.capture.running_fits import FitChange, RunningFits
from tracelet.journal.records import Record


class SeriesKey:
    """The identity of a series while it is being recorded; made once per (name, stage, fit) and reused for every point.

    Compared by identity, so that grouping points by it costs a pointer hash.
    """

    __slots__ = ("automatic", "fit", "name", "reduce", "stage")

    def __init__(
        self, name: str, stage: str = "", fit: int | None = 0, reduce: str = "", automatic: bool = False
    ) -> None:
        self.name = name
        self.stage = stage
        self.fit = fit
        """None: the fit that runs when the point is logged."""
        self.reduce = reduce
        self.automatic = automatic


PlainPoint = tuple[str, Union[int, None], object, float]
"""(name, step or None for "the next one", value, seconds since the epoch)"""

PLAIN_WIDTH = 4
"""The length of a `PlainPoint`; a `KeyedPoint` and a `Row` are longer."""

KeyedPoint = tuple[SeriesKey, object, object, float, int, object]
"""(key, step, value, seconds since the epoch, epoch or -1, weight or None)

On other devices than the CPU, step, value and weight may be one-element tensors, which the writer thread reads. With
several ranks the weight of a mean may be a pair: the batch sizes' sum, and the sum of values times batch sizes.
"""


class SeriesGroup:
    """Series that get a value together: by key, or all of them by name. Compared by identity, as keys are."""

    __slots__ = ("keys",)

    def __init__(self, keys: Sequence[SeriesKey | str]) -> None:
        self.keys = tuple(keys)


Row = tuple[SeriesGroup, int, list[Any], float, Union[int, None]]
"""(group, step, a value for each of the group's series, seconds since the epoch, epoch or -1; None for series by name)

What a training step logs, in one piece: one tuple to make, to keep and to collect instead of one for each metric.
"""


def row_points(row: Row) -> list[Any]:
    """The same as points, plain or keyed."""
    group, step, values, time, epoch = row
    rest = () if epoch is None else (epoch, None)
    return [(key, step, value, time, *rest) for key, value in zip(group.keys, values)]


def point_count(item: Item) -> int:
    """How many points are lost with an item; what is no point counts as one."""
    return len(item[2]) if type(item) is tuple and type(item[0]) is SeriesGroup else 1


class OpenSpan:
    """An open span. Emitted when it begins: if it is still open when the writer runs, its beginning is
    written, so that a killed run shows what it was doing; a span that ended by then costs nothing more.
    """

    __slots__ = ("attributes", "ended", "id", "name", "parent", "start_ns", "thread")

    def __init__(self, id: int, name: str, parent: int, start_ns: int, thread: int) -> None:
        self.id = id
        self.name = name
        self.parent = parent
        self.start_ns = start_ns
        self.thread = thread
        self.attributes: dict[str, object] = {}
        self.ended = False


FinishedSpan = tuple[str, int, int, int, int, int, Union[dict[str, object], None]]
"""(name, id, parent id or 0, start in ns since the epoch, duration in ns, thread id, attributes or None)

Packed like points; a span that an exception ended is a `records.Span` of its own.
"""

IDS_PER_ITERATION = 256
"""Distance between the ids that a recorder gives out: the phases of an iteration have theirs from in between. One byte
holds the distance, and an optimizer that evaluates its closure 25 times makes 80 phases."""

FinishedIteration = tuple[str, int, int, int, int, int, int, list[Any]]
"""(name, id, parent id or 0, start, end, thread id, origin, marks): an iteration and its phases, in one piece.

Times are those of `time.perf_counter_ns`; `origin` added to them gives nanoseconds since the epoch. `marks` is flat:
the name and the end of each phase in turn. A phase begins where the one before it ended, the first one with the
iteration; the nth phase has the iteration's id plus n; phases beyond `IDS_PER_ITERATION` are dropped.
"""


class DeferredRecords:
    """Something that makes its records later, on the writer's thread."""

    def records(self) -> list[Record]:
        """What there is to record now."""
        raise NotImplementedError


Item = Union[PlainPoint, KeyedPoint, Row, FinishedSpan, FinishedIteration, OpenSpan, FitChange, DeferredRecords, Record]
"""What may be put into a sink. A value may be any number or one-element tensor that does not change any more."""


class Sink(Protocol):
    """Where captured things go: `tracelet.capture.writer.Writer` in a run, a list in a test."""

    @property
    def fits(self) -> RunningFits:
        """The fits of this process."""

    def emit(self, item: Item) -> None:
        """Take one item; returns at once and never raises."""

    def flush(self, timeout: float | None = None) -> bool:
        """Have everything emitted so far written, and wait for it at most `timeout` seconds. False: not in time."""

    def expect(self, status: str, reason: str) -> None:
        """The status to assume if the process ends without recording one; empty: none."""
