"""The dashboard over a large store: time to the first answers, zooms into ten million points, memory of the server.

The store is that of `reading.py`: many runs, and one series of ten million points. The server runs in a process of its
own and is asked over HTTP; where Chromium and Selenium are installed the first paint of the list is measured too.
"""

from __future__ import annotations

import random
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import measure
import psutil
from reading import write_long, write_many

from tracelet.journal import compaction

ZOOMS = 30


def ask(address: str) -> float:
    """Seconds for one answer, read to its end."""
    begin = time.perf_counter()
    with urllib.request.urlopen(address, timeout=120) as answer:
        answer.read()
    return time.perf_counter() - begin


def zooms(address: str, count: int) -> list[float]:
    """Zooms of all widths, at places of chance."""
    chance = random.Random(1)
    found = []
    for _ in range(ZOOMS):
        width = count // 2 ** chance.randint(1, 16)
        low = chance.randint(0, count - width)
        found.append(ask(f"{address}api/series?run=long&name=loss&points=2000&from={low}&to={low + width}"))
    return found


def first_paint(address: str, profile: Path) -> float | None:
    """Seconds from the navigation to the first contentful paint of the grid's rows; None without a browser."""
    if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
        return None
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(shutil.which("chromedriver"))))
    try:
        driver.get(address)
        script = "return document.querySelector('.ag-row') && performance.now()"
        while (found := driver.execute_script(script)) is None:
            time.sleep(0.02)
        return float(found) / 1000
    finally:
        driver.quit()


def main(quick: bool, place: Path) -> None:
    """Write the store, serve it, ask."""
    count, runs = (1_000_000, 300) if quick else (10_000_000, 1_000)
    write_many(place, runs)
    compaction.compact(write_long(place, count))
    command = [sys.executable, "-m", "tracelet", "ui", "--port", "0", "--dir", str(place)]
    begin = time.perf_counter()
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=measure.ROOT)
    assert server.stdout is not None
    try:
        address = server.stdout.readline().split()[-1]
        process = psutil.Process(server.pid)
        measure.row("start of the server", f"{time.perf_counter() - begin:.2f} s")
        measure.row(f"list of {runs:,} runs, cold", f"{ask(address + 'api/runs'):.2f} s")
        measure.row("the same again", f"{statistics.median(ask(address + 'api/runs') for _ in range(5)):.3f} s")
        paint = first_paint(address, place / "profile")
        measure.row("rows in the browser after", "no browser" if paint is None else f"{paint:.2f} s", "budget 2 s")
        whole = ask(f"{address}api/series?run=long&name=loss&points=2000")
        measure.row(f"chart of {count:,} points, cold", f"{whole:.2f} s", "budget 1 s")
        early = ask(f"{address}api/series?run=long&name=loss&points=2000&from=0&to={count // 2}")
        measure.row("a zoom at once, which waits for the columns", f"{early:.2f} s")
        found = sorted(zooms(address, count))
        measure.row(f"a zoom (median of {ZOOMS})", f"{statistics.median(found) * 1000:.0f} ms", "budget 300 ms")
        measure.row("the slowest zoom", f"{found[-1] * 1000:.0f} ms", "budget 300 ms")
        measure.row("memory of the server", f"{process.memory_info().rss / 2**20:.0f} MB")
    finally:
        server.terminate()
        server.wait(30)
        server.stdout.close()


if __name__ == "__main__":
    chosen = measure.options(__doc__)
    with measure.folder() as made:
        main(chosen.quick, made)
