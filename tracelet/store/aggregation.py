"""Aggregates the series of all ranks into one, with the reduction that the program logged it with. Pure: numpy in,
numpy out.

Used by `Run.series` on the reading side. The arithmetic is Lightning's under `sync_dist=True` with gloo, in float32
where the values are float32: a mean of steps is the sum over the world size; a mean of epochs is the mean of the ranks'
sums over the mean of their batch sizes, which Lightning truncates to an integer. Gloo adds one rank at a time, from the
last rank down to the first, and so does this module: the result equals Lightning's bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from tracelet import guard
from tracelet.store.series import Segment, Series

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from tracelet.journal.column_packing import FloatArray, IntArray

    BoolArray = npt.NDArray[np.bool_]
    Column = npt.NDArray[Any]

SYNCED = "synced"


class Grid(NamedTuple):
    """The points of all ranks, one row per rank, one column per point; `there` marks the points that a rank has."""

    values: FloatArray
    weights: FloatArray
    totals: FloatArray
    there: BoolArray

    def of(self, chosen: BoolArray) -> Grid:
        """Select columns."""
        values, weights, totals, there = self
        return Grid(values[:, chosen], weights[:, chosen], totals[:, chosen], there[:, chosen])


@dataclass(frozen=True)
class Spread:
    """The spread over ranks: min and max of each point, and how many ranks have it."""

    steps: IntArray
    min: FloatArray
    max: FloatArray
    ranks: IntArray

    @property
    def least(self) -> FloatArray:
        """Deprecated name of `min`."""
        guard.renamed("spread.least", "spread.min")
        return self.min

    @property
    def greatest(self) -> FloatArray:
        """Deprecated name of `max`."""
        guard.renamed("spread.greatest", "spread.max")
        return self.max


def aggregate(parts: Sequence[Series]) -> Series:
    """The series aggregated over ranks; `parts` are the series of the ranks that have it (at least one), lowest rank
    first.
    """
    import numpy as np

    if len(parts) == 1:
        return parts[0]
    grid, lead, reductions, segments = _align(parts)
    values = np.empty(grid.values.shape[1])
    for name in sorted(set(reductions.tolist())):
        chosen = reductions == name
        values[chosen] = reduce(name, grid.of(chosen))
    synced = reductions == SYNCED
    weights = np.where(grid.there, grid.weights, 0.0).sum(axis=0)
    steps = _from_lowest_rank(lead, [part.steps for part in parts])
    times = _from_lowest_rank(lead, [part.times for part in parts])
    epochs = _from_lowest_rank(lead, [part.epochs for part in parts])
    return Series(
        parts[0].name, steps, values, times, epochs, np.where(np.isnan(weights), np.nan, weights), segments,
        next((part.reduce for part in parts if part.reduce), ""), any(part.automatic for part in parts),
        complete=bool((grid.there.all(axis=0) | synced).all()),
    )  # fmt: skip


def spread(parts: Sequence[Series]) -> Spread:
    """The spread of each point over the ranks."""
    import numpy as np

    grid, lead, _, _ = _align(parts)
    low = np.where(grid.there, grid.values, np.inf).min(axis=0)
    high = np.where(grid.there, grid.values, -np.inf).max(axis=0)
    return Spread(_from_lowest_rank(lead, [part.steps for part in parts]), low, high, grid.there.sum(axis=0))


def reduce(name: str, grid: Grid) -> FloatArray:
    """One value for each column of the grid."""
    import numpy as np

    reducers: dict[str, Callable[[Grid], FloatArray]] = {"sum": _sum, "min": _minimum, "max": _maximum, SYNCED: _first}
    result = reducers.get(name, _mean)(grid)
    return np.asarray(result, dtype=np.float64)


def _first(grid: Grid) -> FloatArray:
    import numpy as np

    found: FloatArray = grid.values[grid.there.argmax(axis=0), np.arange(grid.values.shape[1])]
    return found


def _minimum(grid: Grid) -> FloatArray:
    import numpy as np

    found: FloatArray = np.where(grid.there, grid.values, np.inf).min(axis=0)
    return found


def _maximum(grid: Grid) -> FloatArray:
    import numpy as np

    found: FloatArray = np.where(grid.there, grid.values, -np.inf).max(axis=0)
    return found


def _sum(grid: Grid) -> FloatArray:
    return _sum_over_ranks(grid.values, grid.there)


def _mean(grid: Grid) -> FloatArray:
    import numpy as np

    count = grid.there.sum(axis=0)
    summed = _sum_over_ranks(grid.values, grid.there)
    plain: FloatArray = (summed / count.astype(summed.dtype)).astype(np.float64)
    same = _minimum(grid) == _maximum(grid)  # a learning rate: 0.1 + 0.1 + 0.1 divided by three is not 0.1
    plain[same] = _first(grid)[same]
    known = grid.there & ~np.isnan(grid.weights)
    weighed = (known == grid.there).all(axis=0)
    if not weighed.any():
        return plain
    weights = np.where(grid.there, grid.weights, 0.0)
    examples = weights.sum(axis=0)
    with np.errstate(all="ignore"):
        mean = np.where(grid.there, grid.values * weights, 0.0).sum(axis=0) / examples
        totals = _sum_over_ranks(grid.totals, grid.there)
        exact = totals / count.astype(totals.dtype) / np.trunc(examples / count).astype(totals.dtype)
    usable = ~np.isnan(np.where(grid.there, grid.totals, 0.0)).any(axis=0) & (np.trunc(examples / count) > 0)
    weighted = np.where(usable, exact.astype(np.float64), mean)
    found: FloatArray = np.where(weighed & (examples > 0), weighted, plain)
    return found


def _sum_over_ranks(values: FloatArray, there: BoolArray) -> Column:
    """Sum over ranks in gloo's order; in float32 if that holds all values exactly, as Lightning's tensors do."""
    import numpy as np

    filled = np.where(there, values, 0.0)
    with np.errstate(all="ignore"):
        single = filled.astype(np.float32)
        if not bool(((single == filled) | np.isnan(filled)).all()):
            return _sum_rows_from_last(filled)
        return _sum_rows_from_last(single)


def _sum_rows_from_last(rows: Column) -> Column:
    total: Column = rows[-1].copy()
    for row in rows[-2::-1]:
        total += row
    return total


def _from_lowest_rank(lead: tuple[IntArray, IntArray], columns: Sequence[Column]) -> Column:
    """The value of each point on its lowest rank."""
    import numpy as np

    rows, places = lead
    found = np.empty(len(rows), dtype=columns[0].dtype)
    for row, column in enumerate(columns):
        mine = rows == row
        found[mine] = column[places[mine]]
    return found


def _align(parts: Sequence[Series]) -> tuple[Grid, tuple[IntArray, IntArray], Column, tuple[Segment, ...]]:
    """Align the points of the ranks: same stage, fit and step, and the same count of repetitions there.

    Returns the grid; for each point the row of its lowest rank, its place there and its reduction; and the segments.
    """
    import numpy as np

    groups: dict[tuple[str, int], int] = {}
    for part in parts:
        for segment in part.segments:
            groups.setdefault((segment.stage, segment.fit), len(groups))
    keys = [_keys(part, groups) for part in parts]
    columns = _columns(keys)
    total = int(columns.max(initial=-1)) + 1
    place = np.full((len(parts), total), -1, dtype=np.int64)
    start = 0
    for row, part in enumerate(parts):
        place[row, columns[start : start + len(part)]] = np.arange(len(part))
        start += len(part)
    there = place >= 0
    rows = there.argmax(axis=0)
    # Points keep the order of the lowest rank that has them; a point that it lacks comes where the next rank has it.
    order = np.lexsort((rows, place[rows, np.arange(total)], _group_of(keys, columns, total)))
    place, there, rows = place[:, order], there[:, order], rows[order]
    lead = rows, place[rows, np.arange(total)]
    values, weights, totals = (_to_rows(parts, place, name) for name in ("values", "weights", "totals"))
    grid = Grid(values, weights, totals, there)
    reductions = _from_lowest_rank(lead, [_reductions(part) for part in parts])
    return grid, lead, reductions.astype(np.str_), _segments(parts, lead)


def _columns(keys: Sequence[IntArray]) -> IntArray:
    """The column number of each point of each part, in order: equal where the keys are equal."""
    import numpy as np

    if all(np.array_equal(keys[0], other) for other in keys[1:]):
        return np.tile(np.arange(len(keys[0])), len(keys))  # the usual case, and many times faster than sorting
    _, columns = np.unique(np.concatenate(keys), axis=0, return_inverse=True)
    return columns.reshape(-1)


def _keys(part: Series, groups: dict[tuple[str, int], int]) -> IntArray:
    import numpy as np

    lengths = [segment.stop - segment.start for segment in part.segments]
    group = np.repeat(np.array([groups[s.stage, s.fit] for s in part.segments], dtype=np.int64), lengths)
    order = np.lexsort((np.arange(len(part)), part.steps, group))
    sorted_group, sorted_steps = group[order], part.steps[order]
    fresh = np.ones(len(part), dtype=np.bool_)
    fresh[1:] = (sorted_group[1:] != sorted_group[:-1]) | (sorted_steps[1:] != sorted_steps[:-1])
    begins = np.flatnonzero(fresh)
    occurrence = np.empty(len(part), dtype=np.int64)
    occurrence[order] = np.arange(len(part)) - np.repeat(begins, np.diff(np.append(begins, len(part))))
    return np.stack([group, part.steps, occurrence], axis=1)


def _group_of(keys: Sequence[IntArray], columns: IntArray, total: int) -> IntArray:
    import numpy as np

    found = np.empty(total, dtype=np.int64)
    found[columns] = np.concatenate(keys)[:, 0]
    return found


def _to_rows(parts: Sequence[Series], place: IntArray, name: str) -> FloatArray:
    import numpy as np

    rows = []
    for row, part in zip(place, parts):
        column = getattr(part, name)
        rows.append(np.full(len(row), np.nan) if column is None else np.where(row >= 0, column[row], np.nan))
    return np.stack(rows)


def _reductions(part: Series) -> Column:
    import numpy as np

    lengths = [segment.stop - segment.start for segment in part.segments]
    return np.repeat(np.array([segment.reduce or "mean" for segment in part.segments], dtype="U8"), lengths)


def _segments(parts: Sequence[Series], lead: tuple[IntArray, IntArray]) -> tuple[Segment, ...]:
    """The segments of the aggregate: each point takes the segment of its lowest rank."""
    import numpy as np

    rows, places = lead
    numbers = np.empty(len(rows), dtype=np.int64)
    known: list[Segment] = []
    for row, part in enumerate(parts):
        mine = rows == row
        starts = np.array([segment.start for segment in part.segments], dtype=np.int64)
        numbers[mine] = np.searchsorted(starts, places[mine], side="right") - 1 + len(known)
        known += part.segments
    cuts = np.flatnonzero(np.diff(numbers)) + 1
    bounds = [0, *cuts.tolist(), len(rows)] if len(rows) else []
    return tuple(known[int(numbers[a])]._replace(start=a, stop=b) for a, b in zip(bounds, bounds[1:]))
