"""What one `log_metric` costs the thread that calls it, against a bare `deque.append` of the same tuple.

Back to back (the interpreter warm, the writer busy) and paced at one call every 2 ms (caches cold, as in a training).
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import measure

import tracelet

PACE = 0.002


def bare(count: int) -> float:
    """Seconds a call of what cannot be had for less: the tuple, the clock, the append."""
    taken: deque[tuple[str, int, float, float]] = deque()
    clock = time.time
    begin = time.perf_counter()
    for step in range(count):
        taken.append(("loss", step, 0.5, clock()))
    return (time.perf_counter() - begin) / count


def ours(experiment: tracelet.Experiment, count: int) -> float:
    """Seconds a call of `log_metric`."""
    log = experiment.log_metric
    begin = time.perf_counter()
    for step in range(count):
        log("loss", 0.5, step)
    taken = (time.perf_counter() - begin) / count
    experiment.flush()
    return taken


def paced(count: int, calls: tuple[Callable[[int], None], ...]) -> list[list[float]]:
    """Seconds of every call, one call every 2 ms, the functions by turns."""
    found: list[list[float]] = [[] for _ in calls]
    due = time.perf_counter()
    for step in range(count):
        for call, times in zip(calls, found, strict=True):
            due += PACE
            time.sleep(max(0.0, due - time.perf_counter()))
            begin = time.perf_counter()
            call(step)
            times.append(time.perf_counter() - begin)
    return found


def back_to_back(experiment: tracelet.Experiment, quick: bool) -> None:
    """Warm: call after call."""
    count, rounds = (5_000, 7) if quick else (10_000, 41)
    for _ in range(2):
        ours(experiment, count)
        bare(count)
    mine, theirs = measure.pairs(rounds, lambda: ours(experiment, count), lambda: bare(count))
    print(f"back to back, {count:,} calls a round, {rounds} pairs of rounds")
    measure.row("bare append, median", f"{statistics.median(theirs) * 1e9:.0f} ns")
    measure.row("log_metric, median", f"{statistics.median(mine) * 1e9:.0f} ns")
    measure.row("ratio, median of pairs", f"{measure.ratio(mine, theirs):.2f}", "budget 4")


def at_a_pace(experiment: tracelet.Experiment, quick: bool) -> None:
    """Cold: a call now and then."""
    taken: deque[tuple[str, int, float, float]] = deque()
    clock = time.time

    def append(step: int) -> None:
        taken.append(("loss", step, 0.5, clock()))

    def log(step: int) -> None:
        experiment.log_metric("paced", 0.5, step)

    theirs, mine = paced(1_000 if quick else 10_000, (append, log))
    print(f"one call every {PACE * 1e3:.0f} ms, {len(mine):,} calls each")
    for what, times in (("bare append", theirs), ("log_metric", mine)):
        middle, high, most = (measure.percentile(times, share) * 1e6 for share in (0.5, 0.99, 1.0))
        measure.row(f"{what}: p50 / p99 / max", f"{middle:.1f} / {high:.1f} / {most:.0f} us")
    measure.row("ratio of medians", f"{statistics.median(mine) / statistics.median(theirs):.2f}", "budget 3")
    measure.row("log_metric p99", f"{measure.percentile(mine, 0.99) * 1e6:.0f} us", "budget 300 us")
    measure.row("log_metric slowest call", f"{max(mine) * 1e3:.2f} ms", "budget 10 ms")


def main(quick: bool, store: Path) -> None:
    """Both ways of calling, in one run."""
    experiment = tracelet.start_logging("caller-cost", config={**measure.ALONE, "dir": str(store)})
    back_to_back(experiment, quick)
    at_a_pace(experiment, quick)
    tracelet.stop_logging()


if __name__ == "__main__":
    chosen = measure.options(__doc__)
    with measure.folder() as place:
        main(chosen.quick, place)
