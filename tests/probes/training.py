"""A training for tests, run as a program: logs points, prints what it logged, and ends as it is told.

    python training.py '{"folder": ..., "names": ["probe"], "count": 100, "pause": 0.01, "end": "stop", "config": {}}'

With `until` it goes on after `count` points until there is a file of this name in the folder.
`end`: stop, exit (no stop_logging), os_exit, raise, wait (until it is killed).
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import tracelet

CLASS = "tests.probes.probe_backend:ProbeBackend"


def train(order: dict[str, Any]) -> None:
    """The whole program."""
    backend = order.get("backend") or {
        name: {"class": CLASS, "folder": order["folder"], "name": name, **order.get("options", {})}
        for name in order.get("names", ["probe"])
    }
    began = time.perf_counter()
    experiment = tracelet.start_logging("trained", backend=backend, config=order.get("config", {}))
    print("run", experiment.id, flush=True)
    print("start", time.perf_counter() - began, flush=True)
    step, stop = 0, Path(order["folder"]) / order.get("until", ".")
    while step < order.get("count", 100) or not stop.exists():
        experiment.log_metric("loss", 1.0 / (step + 1), step=step)
        time.sleep(order.get("pause", 0.0))
        step += 1
    print("logged", step, flush=True)
    end(order.get("end", "stop"), order.get("timeout"))
    print("modules", json.dumps(sorted(sys.modules)), flush=True)


def end(how: str, timeout: float | None) -> None:
    """End, or go on."""
    if how == "stop":
        began = time.perf_counter()
        tracelet.stop_logging(timeout)
        print("stop", time.perf_counter() - began, flush=True)
    elif how == "os_exit":
        time.sleep(0.6)  # a flush interval: what is older than it is on disk
        os._exit(0)
    elif how == "raise":
        raise ValueError("the loss is too high")
    elif how == "wait":
        time.sleep(600)


if __name__ == "__main__":
    train(json.loads(sys.argv[1]))
