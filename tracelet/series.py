"""One metric of one run as numpy columns, and how journals' chunks become one.

Read side only; imports numpy when a series is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tracelet.points import FLOAT, INTEGER, unpack_floats, unpack_integers
from tracelet.records import Chunk

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from tracelet.points import FloatArray, IntArray


class Segment(NamedTuple):
    """Points `start` to `stop` of a series share a stage, a fit and a process."""

    start: int
    stop: int
    stage: str
    fit: int
    rank: int
    attempt: int


class Origin(NamedTuple):
    """Which process a chunk comes from."""

    rank: int
    attempt: int


@dataclass(frozen=True)
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
        kept = [s for s in self.segments if stage in (None, s.stage) and fit in (None, s.fit)]
        return self._take(kept)

    def _take(self, kept: Sequence[Segment]) -> Series:
        import numpy as np

        empty: list[npt.NDArray[np.int64]] = [np.empty(0, dtype=np.int64)]
        index = np.concatenate([np.arange(s.start, s.stop) for s in kept] or empty)
        return Series(
            self.name, self.steps[index], self.values[index], self.times[index], self.epochs[index],
            self.weights[index], tuple(_renumbered(kept)), self.reduce, self.automatic,
        )  # fmt: skip


def _renumbered(segments: Iterable[Segment]) -> Iterable[Segment]:
    start = 0
    for segment in segments:
        stop = start + segment.stop - segment.start
        yield segment._replace(start=start, stop=stop)
        start = stop


def assemble(name: str, chunks: Iterable[tuple[Origin, Chunk]]) -> Series:
    """One series out of its chunks, in the order given. JournalError when a chunk's columns are damaged."""
    import numpy as np

    columns: list[tuple[IntArray, FloatArray, IntArray, IntArray, FloatArray]] = []
    segments: list[Segment] = []
    reduce, automatic, total = "", False, 0
    for origin, chunk in chunks:
        columns.append(_columns(chunk))
        segment = Segment(total, total + chunk.count, chunk.stage, chunk.fit, origin.rank, origin.attempt)
        total += chunk.count
        if segments and segments[-1][2:] == segment[2:]:
            segments[-1] = segments[-1]._replace(stop=segment.stop)
        else:
            segments.append(segment)
        reduce, automatic = chunk.reduce or reduce, chunk.automatic or automatic
    if not columns:
        columns.append((np.empty(0, INTEGER), np.empty(0, FLOAT), *(np.empty(0, INTEGER),) * 2, np.empty(0, FLOAT)))
    steps, values, times, epochs, weights = (np.concatenate(column) for column in zip(*columns))
    return Series(name, steps, values, times / 1e6, epochs, weights, tuple(segments), reduce, automatic)


def _columns(chunk: Chunk) -> tuple[IntArray, FloatArray, IntArray, IntArray, FloatArray]:
    import numpy as np

    count = chunk.count
    epochs = np.full(count, -1, INTEGER) if chunk.epochs is None else unpack_integers(chunk.epochs, count)
    weights = np.full(count, np.nan, FLOAT) if chunk.weights is None else unpack_floats(chunk.weights, count)
    steps, times = unpack_integers(chunk.steps, count), unpack_integers(chunk.times, count)
    return steps, unpack_floats(chunk.values, count), times, epochs, weights
