"""What the benchmarks share: the machine's description, interleaved pairs, medians, and one way to print them.

Every script prints ratios out of one run, so that a busy or a slow machine changes both sides. Nothing here is
asserted: time on somebody else's machine is no test.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # the benchmarks measure the tracelet that they stand beside, installed or not

PACKAGES = ("torch", "lightning", "numpy", "msgspec")
ALONE = {
    "track_lightning": False, "track_system": False, "track_git": False, "track_env": False, "track_tensorboard": False,
    "delivery": "off", "quiet": True,
}  # fmt: skip
"""Settings with which only what a program logs by name is recorded."""


def options(about: str) -> argparse.Namespace:
    """The command line of every benchmark: `--quick` for a rough answer in seconds."""
    parser = argparse.ArgumentParser(description=about.strip().splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer repetitions: a rough answer in a few seconds")
    chosen = parser.parse_args()
    print(machine())
    return chosen


def machine() -> str:
    """One line that says what the figures were measured on."""
    found = [f"python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    load = os.getloadavg()[0]
    return f"machine: {os.cpu_count()} cores, {_cpu()}, load {load:.1f}; {', '.join(found)}"


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux: what Python knows is enough
    return platform.processor() or platform.machine()


@contextmanager
def folder() -> Iterator[Path]:
    """A temporary folder that is gone afterwards."""
    made = Path(tempfile.mkdtemp(prefix="tracelet-benchmark-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


class Cost(NamedTuple):
    """Seconds a step of one training: by the clock, of the processor, and the median one by the clock."""

    wall: float
    processor: float
    median: float

    @classmethod
    def of(cls, walls: Sequence[float], processors: Sequence[float]) -> Cost:
        """From what both clocks showed at the begin of each step."""
        taken = [after - before for before, after in itertools.pairwise(walls)]
        processor = (processors[-1] - processors[0]) / len(taken)
        return cls(statistics.fmean(taken), processor, statistics.median(taken))


def pairs(times: int, one: Callable[[], float], other: Callable[[], float]) -> tuple[list[float], list[float]]:
    """Measure both by turns, changing who begins, so that drift of the machine hits both alike."""
    ones: list[float] = []
    others: list[float] = []
    for turn in range(times):
        if turn % 2:
            others.append(other())
            ones.append(one())
        else:
            ones.append(one())
            others.append(other())
    return ones, others


def ratio(ones: Sequence[float], others: Sequence[float]) -> float:
    """The median over pairs of one divided by the other."""
    return statistics.median(one / other for one, other in zip(ones, others, strict=True))


def percentile(values: Sequence[float], share: float) -> float:
    """The value that a share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def row(what: str, figure: str, budget: str = "") -> None:
    """Print one result."""
    print(f"  {what:<58} {figure:>16}   {budget}")
