"""Whether a long run gets dearer: what a step costs, and the memory, after a thousand and after a million steps.

A step logs five metrics through the writer, as fast as it can, with nothing else in between.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import measure
import psutil

import tracelet

METRICS = ("train/loss", "train/accuracy", "train/grad_norm", "lr", "throughput")
WINDOW = 1_000
"""Steps that are timed together; the median window counts, so that a pause of the machine does not."""
BREATH = 0.05
"""Seconds between windows, as a training would leave them: the writer keeps up, and no window measures its backlog."""


def window(experiment: tracelet.Experiment, first: int) -> float:
    """Seconds a step over one window."""
    begin = time.perf_counter()
    for step in range(first, first + WINDOW):
        value = 1.0 / (step + 1)
        for name in METRICS:
            experiment.log_metric(name, value, step)
    return (time.perf_counter() - begin) / WINDOW


def main(quick: bool, store: Path) -> None:
    """One long run, timed window by window."""
    steps = 100_000 if quick else 1_000_000
    process = psutil.Process()
    experiment = tracelet.start_logging("growth", config={**measure.ALONE, "dir": str(store)})
    costs, memory = [], []
    for first in range(0, steps, WINDOW):
        costs.append(window(experiment, first))
        memory.append(process.memory_info().rss / 2**20)
        time.sleep(BREATH)
    tracelet.stop_logging()
    early, late = costs[1:21], costs[-20:]
    print(f"{steps:,} steps of {len(METRICS)} metrics")
    measure.row("a step at 1,000 (median of 20 windows)", f"{statistics.median(early) * 1e6:.1f} us")
    measure.row(f"a step at {steps:,} (median of 20 windows)", f"{statistics.median(late) * 1e6:.1f} us")
    ratio = statistics.median(late) / statistics.median(early)
    measure.row("ratio", f"{ratio:.2f}", "budget 1.1")
    measure.row("memory after 20,000 steps", f"{memory[19]:.1f} MB")
    measure.row(f"memory after {steps:,} steps", f"{memory[-1]:.1f} MB")
    measure.row("growth between them", f"{memory[-1] - memory[19]:.1f} MB", "budget 64 MB")


if __name__ == "__main__":
    chosen = measure.options(__doc__)
    with measure.folder() as made:
        main(chosen.quick, made)
