"""How long `import tracelet` and `start_logging()` take, each time in a fresh interpreter."""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

import measure

IMPORT = "import time; t = time.perf_counter(); import tracelet; print(time.perf_counter() - t)"
BARE = "import time; t = time.perf_counter(); import json, logging, pathlib, threading; print(time.perf_counter() - t)"
START = """
import time, tracelet
t = time.perf_counter()
tracelet.start_logging("start", config={"dir": %r, "delivery": "off", "quiet": True})
print(time.perf_counter() - t)
t = time.perf_counter()
tracelet.stop_logging()
print(time.perf_counter() - t)
"""


def run(code: str, place: Path) -> list[float]:
    """The seconds that the code prints."""
    environment = {"PYTHONPATH": str(measure.ROOT), "PATH": "/usr/bin:/bin", "HOME": str(place)}
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=place, env=environment, capture_output=True, text=True, check=True
    )
    return [float(line) for line in finished.stdout.split()]


def main(quick: bool, place: Path) -> None:
    """Fresh interpreters by turns."""
    rounds = 5 if quick else 21
    start = START % str(place / "store")
    for code in (IMPORT, BARE, start):
        run(code, place)  # the first time compiles and fills the disk cache
    imports, bares, starts, stops = [], [], [], []
    for _ in range(rounds):
        imports.append(run(IMPORT, place)[0])
        bares.append(run(BARE, place)[0])
        started, stopped = run(start, place)
        starts.append(started)
        stops.append(stopped)
    print(f"medians of {rounds} fresh interpreters")
    measure.row("import tracelet", f"{statistics.median(imports) * 1e3:.0f} ms", "budget 80 ms")
    measure.row("import json, logging, pathlib, threading", f"{statistics.median(bares) * 1e3:.0f} ms")
    measure.row("start_logging(), all defaults", f"{statistics.median(starts) * 1e3:.0f} ms", "budget 150 ms")
    measure.row("stop_logging() of an empty run", f"{statistics.median(stops) * 1e3:.0f} ms")


if __name__ == "__main__":
    chosen = measure.options(__doc__)
    with measure.folder() as made:
        main(chosen.quick, made)
