"""One metric of one run as numpy columns, and how journals' chunks become one.

Read side only; imports numpy when a series is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tracelet.journal.bulk_decoding import join_floats, join_integers
from tracelet.journal.records import Chunk

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from tracelet.journal.column_packing import FloatArray, IntArray


class Segment(NamedTuple):
    """Points `start` to `stop` of a series share a stage, a fit and a process."""

    start: int
    stop: int
    stage: str
    fit: int
    rank: int
    attempt: int
    reduce: str = ""


class Origin(NamedTuple):
    """Which process a chunk comes from."""

    rank: int
    attempt: int


@dataclass(frozen=True, repr=False)
class Series:
    """The points of one metric, in the order in which they were logged.

    `steps` int64[n], `values` float64[n], `times` float64[n] in seconds since the epoch, `epochs` int64[n] (-1 where a
    point was logged outside an epoch), `weights` float64[n] (batch sizes; NaN where unknown).
    """

    name: str
    steps: IntArray
    values: FloatArray
    times: FloatArray
    epochs: IntArray
    weights: FloatArray
    segments: tuple[Segment, ...] = ()
    reduce: str = ""
    automatic: bool = False
    totals: FloatArray | None = None
    """Of means over batches on one of several ranks: the sums that the values were made of; NaN where unknown."""
    complete: bool = True
    """Whether every rank that has any of the series has all of it."""

    def __repr__(self) -> str:
        from tracelet.store.notebook_views import series_text

        return f"<tracelet.Series {series_text(self.name, self.steps, self.values)}>"

    def _repr_html_(self) -> str:
        from tracelet.store.notebook_views import series_html

        return series_html(self.name, self.steps, self.values)

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def stages(self) -> list[str]:
        """The stage of every point: train, validate, test, predict, or empty."""
        return [segment.stage for segment in self.segments for _ in range(segment.start, segment.stop)]

    @property
    def fits(self) -> IntArray:
        """The number of the fit (validate, test, ...) of every point, int64[n]; 0 outside one."""
        import numpy as np

        lengths = [segment.stop - segment.start for segment in self.segments]
        return np.repeat(np.array([segment.fit for segment in self.segments], dtype=np.int64), lengths)

    def only(self, stage: str | None = None, fit: int | None = None) -> Series:
        """The points of one stage, one fit, or both."""
        import numpy as np

        kept = [s for s in self.segments if stage in (None, s.stage) and fit in (None, s.fit)]
        empty: list[npt.NDArray[np.int64]] = [np.empty(0, dtype=np.int64)]
        return self.at(np.concatenate([np.arange(s.start, s.stop) for s in kept] or empty))

    def at(self, places: IntArray) -> Series:
        """The points at the places given, which ascend."""
        bounds = [(segment, *places.searchsorted((segment.start, segment.stop))) for segment in self.segments]
        return Series(
            self.name, self.steps[places], self.values[places], self.times[places], self.epochs[places],
            self.weights[places], tuple(s._replace(start=int(a), stop=int(b)) for s, a, b in bounds if a < b),
            self.reduce, self.automatic, None if self.totals is None else self.totals[places], self.complete,
        )  # fmt: skip


def assemble(name: str, chunks: Iterable[tuple[Origin, Chunk]]) -> Series:
    """One series out of its chunks, in the order given. JournalError when a chunk's columns are damaged."""
    pairs = list(chunks)
    parts = [chunk for _, chunk in pairs]
    steps = join_integers([(chunk.steps, chunk.count) for chunk in parts])
    times = join_integers([(chunk.times, chunk.count) for chunk in parts]) / 1e6
    values = join_floats([(chunk.values, chunk.count) for chunk in parts])
    return Series(
        name, steps, values, times, _epochs(parts, len(steps)), _weights(parts, len(steps)), _segments(pairs),
        next((chunk.reduce for chunk in reversed(parts) if chunk.reduce), ""), any(chunk.automatic for chunk in parts),
        _totals(parts),
    )  # fmt: skip


def _epochs(chunks: Sequence[Chunk], total: int) -> IntArray:
    import numpy as np

    if all(chunk.epochs is None for chunk in chunks):
        return np.broadcast_to(np.int64(-1), total)  # no memory: a long series would cost 80 MB for nothing
    return join_integers([(("=", -1, 0) if c.epochs is None else c.epochs, c.count) for c in chunks])


def _weights(chunks: Sequence[Chunk], total: int) -> FloatArray:
    import numpy as np

    if all(chunk.weights is None for chunk in chunks):
        return np.broadcast_to(np.float64(np.nan), total)
    return join_floats([(("*", math.nan, b"") if c.weights is None else c.weights, c.count) for c in chunks])


def _totals(chunks: Sequence[Chunk]) -> FloatArray | None:
    if all(chunk.totals is None for chunk in chunks):
        return None
    return join_floats([(("*", math.nan, b"") if c.totals is None else c.totals, c.count) for c in chunks])


def _segments(pairs: Iterable[tuple[Origin, Chunk]]) -> tuple[Segment, ...]:
    """What neighbours have in common is told once: of ten million points there are thousands of chunks."""
    begins: list[tuple[int, tuple[str, int, int, int, str]]] = []
    total, last = 0, None
    for (rank, attempt), chunk in pairs:
        common = (chunk.stage, chunk.fit, rank, attempt, chunk.reduce)
        if common != last:
            begins.append((total, common))
            last = common
        total += chunk.count
    ends = [*(start for start, _ in begins[1:]), total]
    return tuple(Segment(start, stop, *common) for (start, common), stop in zip(begins, ends))


def _append(segments: list[Segment], segment: Segment) -> None:
    """Add a segment that begins where the last one ends, as part of it if they are alike."""
    if segments and segments[-1][2:] == segment[2:]:
        segments[-1] = segments[-1]._replace(stop=segment.stop)
    else:
        segments.append(segment)


def join(parts: Sequence[Series]) -> Series:
    """Pieces of one series (at least one) as one, in the order given."""
    import numpy as np

    segments: list[Segment] = []
    total = 0
    for part in parts:
        for segment in part.segments:
            _append(segments, segment._replace(start=total + segment.start, stop=total + segment.stop))
        total += len(part)
    return Series(
        parts[0].name, np.concatenate([part.steps for part in parts]), np.concatenate([part.values for part in parts]),
        np.concatenate([part.times for part in parts]), np.concatenate([part.epochs for part in parts]),
        np.concatenate([part.weights for part in parts]), tuple(segments),
        next((part.reduce for part in reversed(parts) if part.reduce), ""), any(part.automatic for part in parts),
        _joined_totals(parts), all(part.complete for part in parts),
    )  # fmt: skip


def _joined_totals(parts: Sequence[Series]) -> FloatArray | None:
    import numpy as np

    if all(part.totals is None for part in parts):
        return None
    return np.concatenate([np.full(len(part), np.nan) if part.totals is None else part.totals for part in parts])
