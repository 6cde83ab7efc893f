"""A training that goes on, with many metrics: python tests/e2e/ui/living.py METRICS

Logs `loss` and METRICS - 1 others, a step each 50 ms, until it is stopped.
"""

from __future__ import annotations

import sys
import time

import tracelet

PAUSE = 0.05
"""Seconds between steps, as of a small model."""


def main(metrics: int) -> None:
    """Until somebody stops it."""
    with tracelet.start_logging("living", project="live") as experiment:
        step = 0
        while True:
            others = {f"layer/{number:02}": step / (1 + number) for number in range(metrics - 1)}
            experiment.log_metrics({"loss": 1 / (1 + step), **others}, step)
            step += 1
            time.sleep(PAUSE)


if __name__ == "__main__":
    main(int(sys.argv[1]))
