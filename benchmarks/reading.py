"""How fast a store is read: the chart of a series of ten million points, and the list of a thousand runs.

Read cold as far as tracelet is concerned (new objects, nothing cached); the file's pages are in the operating system's
cache. The long series stands in chunks of 300 points, as a run with a step of about half a millisecond leaves them, and
is read again after compaction.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import measure

import tracelet
from tracelet.capture.packer import Packer
from tracelet.journal import compaction
from tracelet.journal.journal_writer import JournalWriter
from tracelet.journal.records import FINISHED, Footer, Params, Started, Status
from tracelet.redaction.known_secrets import redact

CHUNK = 300
CHART = 2_000
START = 1_700_000_000.0
METRICS = 30
"""Metrics of each of the many runs: what a Lightning training with a validation and the machine's figures has."""


def finish(journal: JournalWriter, packer: Packer, started: Started) -> None:
    """Seal the journal as the writer does."""
    status = Status(time=started.time, status=FINISHED)
    journal.append([status])
    journal.seal(
        Footer(
            started=started, status=status, metrics=list(packer.summaries.all().values()),
            params={"lr": 0.1, "model/width": 512}, tags={}, frames=journal.number, others=journal.others,
            points=journal.index(),
        )
    )  # fmt: skip
    journal.close()


def begin(store: Path, run: str, at: float) -> tuple[JournalWriter, Started]:
    """A new run's journal in the store."""
    folder = store / "runs" / run
    folder.mkdir(parents=True)
    started = Started(run=run, name=run, project="reading", time=int(at * 1e6), host="benchmark", pid=1)
    journal = JournalWriter.create(folder / "rank-0.0.tlj", redact)
    journal.append([started])
    return journal, started


def write_long(store: Path, count: int) -> Path:
    """A run with one long series."""
    journal, started = begin(store, "long", START)
    packer = Packer()
    for first in range(0, count, CHUNK):
        steps = range(first, min(count, first + CHUNK))
        values = [math.sin(n * 0.001) + (n * 0.618) % 0.1 for n in steps]
        times = [START + n * 0.0005 + n % 7 * 1e-6 for n in steps]
        journal.append(packer.pack([("loss", *point) for point in zip(steps, values, times, strict=True)]))
    finish(journal, packer, started)
    return journal.path


def write_many(store: Path, count: int) -> None:
    """Many small runs."""
    for number in range(count):
        journal, started = begin(store, f"run-{number:05}", START + number)
        packer = Packer()
        journal.append([Params(time=started.time, values={"lr": 0.1})])
        journal.append(packer.pack([(f"metric/{m}", n, 0.5, START + n) for n in range(20) for m in range(METRICS)]))
        finish(journal, packer, started)


def timed(rounds: int, action: Callable[[], object]) -> float:
    """The median of the seconds that the action takes."""
    found = []
    for _ in range(rounds):
        begin_at = time.perf_counter()
        action()
        found.append(time.perf_counter() - begin_at)
    return statistics.median(found)


def read_long(store: Path, count: int, rounds: int) -> None:
    """Chart and whole series, before and after compaction."""
    path = write_long(store, count)
    opened = tracelet.open_store(store)
    print(f"a series of {count:,} points")
    for state in ("as sealed", "compacted"):
        size = path.stat().st_size / 2**20
        chart = timed(rounds, lambda: opened.run("long").chart("loss", CHART))
        whole = timed(rounds, lambda: opened.run("long").series("loss"))
        measure.row(f"{state} ({size:.0f} MB): chart of {CHART:,} points", f"{chart:.2f} s", "budget 1 s")
        measure.row(f"{state}: the whole series", f"{whole:.2f} s")
        begin_at = time.perf_counter()
        if compaction.compact(path):
            measure.row("compacting it, in the background", f"{time.perf_counter() - begin_at:.1f} s")


def main(quick: bool, place: Path) -> None:
    """The long series, then the many runs."""
    rounds = 3 if quick else 7
    read_long(place / "long", 1_000_000 if quick else 10_000_000, rounds)
    for count in (300,) if quick else (1_000, 10_000):
        store = place / f"many-{count}"
        write_many(store, count)
        listing = timed(rounds, tracelet.open_store(store).runs)
        budget = "budget 0.5 s" if count == 1_000 else ""
        measure.row(f"listing {count:,} runs of {METRICS} metrics", f"{listing:.2f} s", budget)


if __name__ == "__main__":
    chosen = measure.options(__doc__)
    with measure.folder() as made:
        main(chosen.quick, made)
