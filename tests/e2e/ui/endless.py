"""A run for the dashboard's tests that logs a step each 50 ms until it is stopped: python tests/e2e/ui/endless.py"""

from __future__ import annotations

import time

import tracelet


def log() -> None:
    """Log until somebody stops it."""
    with tracelet.start_logging("live", project="waves") as experiment:
        step = 0
        while True:
            experiment.log_metric("train/loss", 1 / (1 + step), step)
            step += 1
            time.sleep(0.05)


if __name__ == "__main__":
    log()
