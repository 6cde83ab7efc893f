"""How long after the log call a point of a running training stands on the chart, and what that costs the machine.

A training logs 40 metrics each 50 ms, the dashboard runs in a process of its own, and headless Chromium shows the page
of the run with one chart in sight. Every point is taken from its own time to the moment at which the chart has drawn
it: the flush of the writer (half a second), the follower's look, the push, the answer and the drawing are all in it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import measure
import psutil

import tracelet
from tests.e2e.ui.browser import CHROMIUM, DRIVER, Page, browser, served, wait
from tests.e2e.ui.latency import CHART, WATCH

METRICS = 40


def delays(page: Page, seconds: float) -> list[float]:
    """The delays of all points that come within so many seconds."""
    page.until(f"{CHART}?.chart.data?.[0].x.length")
    page.run(WATCH)
    time.sleep(seconds)
    return sorted(page.run("return window.delays"))


def main(quick: bool, place: Path) -> None:
    """Train, serve, show, and measure."""
    if CHROMIUM is None or DRIVER is None:
        sys.exit("no chromium and chromedriver here: apt-get install chromium chromium-driver")
    environment = {
        **os.environ, "PYTHONPATH": str(measure.ROOT), "XDG_CONFIG_HOME": str(place / "config"), "TRACELET_QUIET": "1",
        "TRACELET_DIR": str(place / "store"), "TRACELET_DELIVERY": "off",
    }  # fmt: skip
    training = subprocess.Popen(
        [sys.executable, str(measure.ROOT / "tests/e2e/ui/living.py"), str(METRICS)], env=environment, cwd=place
    )
    try:
        store = tracelet.open_store(place / "store")
        (run,) = wait(lambda: [run for run in store.runs() if len(run.metrics()) >= METRICS])
        with served(place / "store", environment) as address, browser(place / "profile") as driver:
            driver.set_window_size(900, 420)
            page = Page(driver, address)
            page.open(f"/run/{run.id}?tab=metrics&x=time&q=loss")
            (server,) = [child for child in psutil.Process().children() if "ui" in child.cmdline()]
            began, spent = time.monotonic(), sum(server.cpu_times()[:2])
            found = delays(page, 10 if quick else 60)
            share = (sum(server.cpu_times()[:2]) - spent) / (time.monotonic() - began)
    finally:
        training.terminate()
        training.wait(30)
    measure.row("points seen", f"{len(found)}")
    measure.row("from the log call to the chart, median", f"{statistics.median(found):.2f} s", "budget 2 s")
    measure.row("95 of 100 points within", f"{measure.percentile(found, 0.95):.2f} s", "budget 2 s")
    measure.row("the slowest", f"{found[-1]:.2f} s")
    measure.row("the dashboard meanwhile", f"{share:.0%} of a core")


if __name__ == "__main__":
    chosen = measure.options(__doc__)
    with measure.folder() as made:
        main(chosen.quick, made)
