"""How many bytes a point takes on disk after the run was sealed, and after it was compacted, for several kinds of run.

The runs are written with the clock of their points, flush by flush as the writer would, so that an hour takes seconds.
"""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import measure

from tracelet.capture.packer import Packer
from tracelet.journal import compaction
from tracelet.journal.journal_writer import JournalWriter
from tracelet.journal.records import FINISHED, Footer, Started, Status
from tracelet.redaction.known_secrets import redact

FLUSH = 0.2
"""Seconds between two flushes: the writer wakes 2.5 times in the default flush interval of half a second."""
START = 1_700_000_000.0


@dataclass
class Kind:
    """One kind of run: `value(step)` is logged for each metric, every `pace` seconds with a jitter of some percent."""

    what: str
    pace: float
    value: Callable[[int], float]
    metrics: int = 5
    jitter: float = 0.1


def single(number: float) -> float:
    """The number as a float32 holds it: what Lightning logs."""
    return float(struct.unpack("<f", struct.pack("<f", number))[0])


random.seed(7)
KINDS = (
    Kind("random doubles, a step every 2 ms", 0.002, lambda _: random.random()),
    Kind("losses in float32, a step every 2 ms", 0.002, lambda n: single(math.exp(-n / 1e4) + random.gauss(0, 0.05))),
    Kind("losses in float32, a step every 50 ms", 0.05, lambda n: single(math.exp(-n / 1e4) + random.gauss(0, 0.05))),
    Kind("random doubles, a step every second", 1.0, lambda _: random.random(), jitter=0.002),
    Kind("losses in float32, a step every second", 1.0, lambda n: single(math.exp(-n / 1e4) + random.gauss(0, 0.05))),
    Kind("learning rate, a step every 50 ms", 0.05, lambda n: 1e-3 * 0.99 ** (n // 1000)),
)


def flushes(kind: Kind, steps: int) -> Iterator[list[tuple[str, int, float, float]]]:
    """What the buffer holds at each flush."""
    clock, due = START, START + FLUSH
    waiting: list[tuple[str, int, float, float]] = []
    for step in range(steps):
        clock += kind.pace * (1 + random.random() * kind.jitter)
        if clock >= due:
            if waiting:
                yield waiting
            waiting, due = [], clock + FLUSH
        waiting += [(f"train/metric_{m}", step, kind.value(step), clock + m * 5e-6) for m in range(kind.metrics)]
    yield waiting


def write(kind: Kind, steps: int, path: Path) -> int:
    """Write and seal the run; the number of its points."""
    started = Started(run="r", name="r", project="p", time=int(START * 1e6), host="h", pid=1)
    status = Status(time=int(START * 1e6), status=FINISHED)
    journal, packer = JournalWriter.create(path, redact), Packer()
    journal.append([started])
    for waiting in flushes(kind, steps):
        journal.append(packer.pack(waiting))
    journal.append([status])
    summaries = list(packer.summaries.all().values())
    journal.seal(
        Footer(
            started=started, status=status, metrics=summaries, params={}, tags={}, frames=journal.number,
            others=journal.others, points=journal.index(),
        )
    )  # fmt: skip
    journal.close()
    return steps * kind.metrics


def main(quick: bool, place: Path) -> None:
    """One row for each kind of run."""
    steps = 2_000 if quick else 20_000
    print(f"bytes a point, {steps:,} steps of 5 metrics (budget 12 after the run; sealed / compacted)")
    for number, kind in enumerate(KINDS):
        path = place / f"{number}.tlj"
        count = write(kind, steps, path)
        sealed = path.stat().st_size / count
        compaction.compact(path)
        measure.row(kind.what, f"{sealed:.1f} / {path.stat().st_size / count:.1f}", "budget 12")


if __name__ == "__main__":
    chosen = measure.options(__doc__)
    with measure.folder() as made:
        main(chosen.quick, made)
