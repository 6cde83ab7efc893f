"""Compares a run's points in the store with those of one backend. For `tracelet verify`.

Reads the journals in the same batches as couriers, so that ranks, resumed branches and system metrics are compared as
they are delivered. Times are not compared.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tracelet.agent.delivery.batch_reader import BatchReader
from tracelet.backends.remote_points import Point, RemotePoints

Places = dict[str, Counter[Point]]


@dataclass
class SeriesDifference:
    """One metric that differs. Counts of points, and the steps of the first ones."""

    name: str
    missing: int = 0
    doubled: int = 0
    different: int = 0
    steps: list[int] = field(default_factory=list)


@dataclass
class Comparison:
    """The result for one backend."""

    points: int = 0
    """The number of points in the store."""
    there: int = 0
    differences: list[SeriesDifference] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Whether nothing is missing, doubled or different."""
        return not self.differences

    def total(self, kind: str) -> int:
        """The number of points with one kind of difference."""
        return sum(getattr(one, kind) for one in self.differences)


def expected_points(folder: Path, remote: RemotePoints) -> Places:
    """Every point that a backend should have, under its name there."""
    reader, cursors, found = BatchReader(folder), dict[str, tuple[int, int]](), Places()
    while (journal_slice := reader.next(cursors)) is not None:
        cursors[journal_slice.pending.journal] = journal_slice.pending.stop
        for part in journal_slice.batch.points if journal_slice.batch is not None else ():
            for step, value in zip(part.steps, part.values):
                name, point = remote.place(part, step, value)
                found.setdefault(name, Counter())[point] += 1
    return found


def compare(expected: Places, remote: RemotePoints) -> Comparison:
    """The missing, doubled and different points. A point that the store does not have counts as different."""
    result = Comparison(sum(map(Counter.total, expected.values())), sum(map(Counter.total, remote.series.values())))
    for name in sorted({*expected, *remote.series}):
        wanted, there = expected.get(name, Counter()), remote.series.get(name, Counter())
        if wanted != there:
            result.differences.append(_difference(name, wanted, there))
    return result


def _difference(name: str, wanted: Counter[Point], there: Counter[Point]) -> SeriesDifference:
    lacking, surplus = wanted - there, there - wanted
    doubled = {point: count for point, count in surplus.items() if point in wanted}
    foreign = Counter(step for (step, _), count in surplus.items() if (step, _) not in wanted for _ in range(count))
    absent = Counter(step for (step, _), count in lacking.items() for _ in range(count))
    replaced = foreign & absent
    steps = sorted({step for step, _ in (*lacking, *surplus)})
    return SeriesDifference(name, (absent - replaced).total(), sum(doubled.values()), foreign.total(), steps)
