"""What a sweep costs: its time beside that of the trials alone, and an idle controller's processor time.

Prints the wall time of a sweep of one worker over the sum of its trials' own times (start-up of Python and recording
aside: the same command is timed alone), and the share of a core that a controller uses while its trial sleeps.

    python benchmarks/sweep.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tracelet.capture.autostart_environment import FIRST_PROGRAM, autostart_environment

TRIALS = 8
PROGRAM = """
import argparse, time
import tracelet
parser = argparse.ArgumentParser()
parser.add_argument("--x", type=float)
parser.add_argument("--seconds", type=float)
options = parser.parse_args()
end = time.monotonic() + options.seconds
step = 0
while time.monotonic() < end:
    tracelet.log({"loss": options.x + 1 / (step + 1)}, step)
    step += 1
    time.sleep(0.01)
"""
CONFIG = """
program: train.py
method: bayes
metric: {{name: loss}}
early_terminate: {{type: hyperband, min_iter: 1000000}}
parameters:
  x: {{min: 0.0, max: 1.0}}
  seconds: {{value: {seconds}}}
"""
ENVIRONMENT = {**os.environ, **{f"TRACELET_TRACK_{what}": "false" for what in ("GIT", "ENV", "SYSTEM")}}


def sweep(folder: Path, seconds: float, trials: int) -> subprocess.Popen[bytes]:
    """Start a sweep in this folder."""
    (folder / "train.py").write_text(PROGRAM, encoding="utf-8")
    (folder / "sweep.yaml").write_text(CONFIG.format(seconds=seconds), encoding="utf-8")
    command = [sys.executable, "-m", "tracelet", "sweep", "sweep.yaml", "--count", str(trials)]
    return subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE)


def alone(folder: Path, seconds: float) -> float:
    """The time of one trial's program, recorded in the same way."""
    command = [sys.executable, "train.py", "--x", "0.5", "--seconds", str(seconds)]
    options = {"given": {"quiet": "true"}, "name": "alone", "tags": {}}
    began = time.monotonic()
    environment = autostart_environment(options, FIRST_PROGRAM, ENVIRONMENT)
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return time.monotonic() - began


def overhead(folder: Path, seconds: float) -> float:
    """Wall time from the first trial's start to the end, over that of as many programs."""
    process = sweep(folder, seconds, TRIALS)
    assert process.stdout is not None
    while b"started" not in process.stdout.readline():
        pass
    began = time.monotonic()
    process.communicate()
    took = time.monotonic() - began
    return took / (TRIALS * min(alone(folder, seconds) for _ in range(3)))


def idle(folder: Path, seconds: float) -> float:
    """Share of a core that the controller uses while its only trial runs."""
    process = sweep(folder, seconds + 6, 1)
    time.sleep(5)
    controller = psutil.Process(process.pid)
    before, began = sum(controller.cpu_times()[:2]), time.monotonic()
    time.sleep(seconds)
    used = (sum(controller.cpu_times()[:2]) - before) / (time.monotonic() - began)
    process.communicate()
    return used


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        print(f"sweep of {TRIALS} trials of 3 s / the trials alone: {overhead(path, 3):.3f} (at most 1.05)")
        print(f"share of a core of a controller with one running trial: {idle(path, 10):.4f} (below 0.01)")


if __name__ == "__main__":
    main()
