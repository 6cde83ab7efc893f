"""Points a second from the call to the sealed journal, against a bare sqlite3 `executemany` of the same points.

Once with a call of `log_metrics` for the ten metrics of each step, which is how trainings log, once with a call of
`log_metric` for each point. All begin with the points in Python lists and end when they are synced to the disk: the
journal is fsynced every five seconds and at the end, sqlite3 commits every 10,000 points in WAL mode with
`synchronous=NORMAL`, and checkpoints at the end.
"""

from __future__ import annotations

import itertools
import sqlite3
import statistics
import time
from pathlib import Path

import measure

import tracelet

Row = tuple[str, int, float, float]
METRICS = [f"metric/{number}" for number in range(10)]
COMMIT = 10_000
"""Points a transaction: what ten metrics log in half a second at a step of 0.5 ms."""


def points(count: int) -> list[Row]:
    """Ten metrics with values that no packing profits from, a step every 0.5 ms."""
    begin = time.time()
    return [
        (METRICS[n % 10], n // 10, (n * 0.6180339887498949) % 1.0, begin + (n // 10) * 0.0005) for n in range(count)
    ]


def one_by_one(rows: list[Row], store: Path) -> float:
    """Points a second through `log_metric`."""
    log = tracelet.start_logging("throughput", config={**measure.ALONE, "dir": str(store)}).log_metric
    begin = time.perf_counter()
    for name, step, value, _ in rows:
        log(name, value, step)
    tracelet.stop_logging()
    return len(rows) / (time.perf_counter() - begin)


def by_step(steps: list[dict[str, float]], store: Path) -> float:
    """Points a second through `log_metrics`."""
    log = tracelet.start_logging("throughput", config={**measure.ALONE, "dir": str(store)}).log_metrics
    begin = time.perf_counter()
    for step, metrics in enumerate(steps):
        log(metrics, step)
    tracelet.stop_logging()
    return len(steps) * len(METRICS) / (time.perf_counter() - begin)


def sqlite(rows: list[Row], place: Path, names: itertools.count[int]) -> float:
    """Points a second into one table."""
    path = place / f"points-{next(names)}.db"
    begin = time.perf_counter()
    connection = sqlite3.connect(path)
    connection.execute("pragma journal_mode=wal")
    connection.execute("pragma synchronous=normal")
    connection.execute("create table points (name text, step integer, value real, time real)")
    for first in range(0, len(rows), COMMIT):
        with connection:
            connection.executemany("insert into points values (?, ?, ?, ?)", rows[first : first + COMMIT])
    connection.execute("pragma wal_checkpoint(truncate)")
    connection.close()
    taken = time.perf_counter() - begin
    path.unlink()
    return len(rows) / taken


def main(quick: bool, place: Path) -> None:
    """Pairs of the same points."""
    rows = points(200_000 if quick else 1_000_000)
    rounds = 3 if quick else 7
    names = itertools.count()
    steps = [{name: value for name, _, value, _ in rows[at : at + 10]} for at in range(0, len(rows), 10)]
    print(f"{len(rows):,} points of {len(METRICS)} metrics, {rounds} pairs")
    ways = (
        ("log_metrics, a call a step", lambda: by_step(steps, place / "store")),
        ("log_metric, a call a point", lambda: one_by_one(rows, place / "store")),
    )
    for name, way in ways:
        ours, theirs = measure.pairs(rounds, way, lambda: sqlite(rows, place, names))
        measure.row(name, f"{statistics.median(ours):,.0f} points/s")
        measure.row("  sqlite3 executemany", f"{statistics.median(theirs):,.0f} points/s")
        measure.row("  ratio, median of pairs", f"{measure.ratio(ours, theirs):.2f}", "budget at least 1")


if __name__ == "__main__":
    chosen = measure.options(__doc__)
    with measure.folder() as made:
        main(chosen.quick, made)
