"""What comes from runs stays text, nothing is loaded from elsewhere, everybody can use it, and live is live."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_core_python.selenium import Axe  # type: ignore[import-untyped]

import tracelet
from tests.e2e.ui.browser import Page, served, wait
from tests.e2e.ui.trainings import MARKUP

pytestmark = pytest.mark.slow

EVERYTHING = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
"""What axe looks at: the rules of all these levels."""
ENDLESS = Path(__file__).with_name("endless.py")
TABS = ("overview", "metrics", "system", "time", "log", "artifacts", "deliveries")


def pages(ids: dict[str, str]) -> Iterator[str]:
    """Every page there is, of the run with hostile texts and of a common one."""
    yield "/"
    yield "/?group=project"
    for name in (MARKUP, "wave-1"):
        yield from (f"/run/{ids[name]}?tab={tab}" for tab in TABS)
    yield f"/compare?run={ids[MARKUP]}&run={ids['wave-1']}"
    yield "/compare"
    yield "/run/nothing"


def test_markup_is_text_and_nothing_comes_from_elsewhere(page: Page, ids: dict[str, str]) -> None:
    """On every page markup from runs does nothing, no error is thrown, and every request goes to the dashboard."""
    page.log("performance")
    for path in pages(ids):
        page.open(path)
        assert page.run("return window.hacked") is None, path
        assert page.run("return document.querySelector('img[src=x]')") is None, path
    assert [problem for problem in page.problems() if "404" not in problem] == []
    sent = [json.loads(entry["message"])["message"] for entry in page.log("performance")]
    urls = [event["params"]["request"]["url"] for event in sent if event["method"] == "Network.requestWillBeSent"]
    assert len(urls) > 50
    assert [url for url in urls if not url.startswith((page.address + "/", "data:", "blob:"))] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(page: Page, ids: dict[str, str], scheme: str) -> None:
    """No page has a serious or critical violation of WCAG A and AA, in the light and in the dark."""
    page.emulate("setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    found = []
    for path in pages(ids):
        page.open(path)
        assert page.run("return document.documentElement.dataset.theme") == scheme
        result = Axe().run(page.driver, options={"runOnly": EVERYTHING})
        found += [
            (path, violation["id"], violation["nodes"][0]["html"][:200])
            for violation in result["violations"]
            if violation["impact"] in ("serious", "critical")
        ]
    assert found == []


def test_a_running_training_moves_its_chart(page: Page, environment: dict[str, str], store: Path) -> None:
    """Points of a running training come onto the chart by push; afterwards the page says that it ended."""
    process = subprocess.Popen([sys.executable, str(ENDLESS)], env=environment, cwd=store.parent)
    try:
        runs = tracelet.open_store(store)
        (run_id,) = wait(lambda: [run.id for run in runs.runs(status="running") if run.metrics()])
        page.open(f"/run/{run_id}?tab=metrics")
        chart = "document.querySelector('.tl-chart[aria-label=\"train/loss\"]')"
        first = int(page.until(f"{chart}?.dataset.points"))
        requests = page.run("return performance.getEntriesByType('navigation').length")
        later = int(page.until(f"Number({chart}.dataset.points) > {first + 20} && {chart}.dataset.points"))
        assert later > first
        assert page.run("return performance.getEntriesByType('navigation').length") == requests  # never reloaded
    finally:
        process.terminate()
        process.wait(30)
    page.until("!document.querySelector('.tl-under .tl-status').innerText.includes('running')")


def test_an_empty_store_says_what_to_type(page: Page, environment: dict[str, str], tmp_path: Path) -> None:
    """Without runs the page says how to record one."""
    with served(tmp_path / "none", environment) as address:
        Page(page.driver, address).open("/")
        assert "tracelet demo" in page.text()


def test_a_token_opens_the_page(page: Page, environment: dict[str, str], store: Path) -> None:
    """With a token the page opens by its address, which then has none any more; read-only hides changes."""
    with served(store, environment, "--token", "right", "--read-only") as address:
        page.driver.get(address.split("?")[0])
        assert "A token is required" in page.text("body")
        page.driver.get(address if "token=" in address else address + "?token=right")
        page.until("document.querySelectorAll('.tl-name a').length >= 5")
        assert "token" not in page.driver.current_url
        assert "Read-only" in page.text("header")
        assert page.run("return document.querySelector('.tl-pin')") is None
