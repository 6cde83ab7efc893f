"""Pictures of the dashboard for the documentation: python -m tests.e2e.ui.screenshots docs/assets STORE"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import tracelet
from tests.e2e.ui.browser import Page, browser, served

PICTURES = {
    "runs": ("/", "light"), "metrics": ("/compare?{waves}", "light"), "time": ("/run/{digits}?tab=time", "light"),
    "compare": ("/compare?{waves}", "dark"), "log": ("/run/{digits}?tab=log", "light"),
}  # fmt: skip
"""Name to page and colours. The store has the runs of trainings.py and `tracelet demo`; no test makes pictures anew."""


def main(target: Path, store: Path) -> None:
    """Open each page and keep a picture of it."""
    runs = {run.info.name: run.id for run in tracelet.open_store(store).runs()}
    waves = "&".join(f"run={runs[f'wave-{place}']}" for place in range(3))
    target.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as profile,
        served(store, dict(os.environ)) as address,
        browser(Path(profile)) as driver,
    ):
        page = Page(driver, address)
        for name, (path, scheme) in PICTURES.items():
            page.emulate("setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            page.open(path.format(waves=waves, digits=runs["digits"]))
            page.run("document.querySelector('.tl-store').textContent = '.tracelet'")
            if name == "metrics":
                page.run("document.querySelector('.tl-heading').scrollIntoView({block: 'start'}); scrollBy(0, -70)")
            time.sleep(1.5)  # charts fetch and draw
            driver.save_screenshot(str(target / f"dashboard-{name}.png"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
