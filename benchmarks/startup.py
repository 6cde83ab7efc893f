"""How long `import tracelet` and `start_logging()`, without backends and with all, take in a fresh interpreter."""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

import measure

TIMED = """
import time
wall, processor = time.perf_counter(), time.process_time()
import %s
print(time.perf_counter() - wall, time.process_time() - processor)
"""
IMPORT, BARE = TIMED % "tracelet", TIMED % "json, logging, pathlib, threading"
START = """
import time, tracelet
t = time.perf_counter()
tracelet.start_logging("start", config={"dir": %r, "delivery": "off", "quiet": True})
print(time.perf_counter() - t)
t = time.perf_counter()
tracelet.stop_logging()
print(time.perf_counter() - t)
"""
ALL = """
import time, tracelet
backends = {"mlflow": {"url": "http://127.0.0.1:9"}, "wandb": {"mode": "offline"}, "clearml": {"mode": "offline"},
            "tensorboard": {}, "aim": {}, "jsonl": {}}
t = time.perf_counter()
tracelet.start_logging("start", backend=%s, config={"dir": %r, "delivery": "agent", "quiet": True, "agent_linger": 0.1})
print(time.perf_counter() - t)
tracelet.stop_logging(0.1)
"""
"""With an agent either way. What the backends then do happens in the agent's process."""


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
    imports, processors, bares, starts, stops = [], [], [], [], []
    everything, nothing = [ALL % (backends, str(place / "store")) for backends in ("backends", "None")]
    run(everything, place)
    more = []
    for _ in range(rounds):
        wall, processor = run(IMPORT, place)
        imports.append(wall)
        processors.append(processor)
        bares.append(run(BARE, place)[0])
        started, stopped = run(start, place)
        starts.append(started)
        stops.append(stopped)
        more.append(run(everything, place)[0] - run(nothing, place)[0])
    print(f"medians of {rounds} fresh interpreters")
    measure.row("import tracelet", f"{statistics.median(imports) * 1e3:.0f} ms", "budget 80 ms")
    measure.row("import tracelet, processor time", f"{statistics.median(processors) * 1e3:.0f} ms", "budget 80 ms")
    measure.row("import json, logging, pathlib, threading", f"{statistics.median(bares) * 1e3:.0f} ms")
    measure.row("start_logging(), all defaults", f"{statistics.median(starts) * 1e3:.0f} ms", "budget 150 ms")
    measure.row("the same with six backends: so much more", f"{statistics.median(more) * 1e3:.0f} ms", "budget 150 ms")
    measure.row("stop_logging() of an empty run", f"{statistics.median(stops) * 1e3:.0f} ms")


if __name__ == "__main__":
    chosen = measure.options(__doc__)
    with measure.folder() as made:
        main(chosen.quick, made)
