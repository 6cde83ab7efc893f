"""What only a real run shows: ranks, the machine, deliveries, a chart that moves; and what people do to runs."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_core_python.selenium import Axe  # type: ignore[import-untyped]
from selenium.webdriver.remote.webdriver import WebDriver

import tracelet
from tests.e2e.ui.browser import Page, left_in_peace, served, wait
from tests.e2e.ui.latency import CHART, WATCH
from tests.environments import lightning_python
from tests.probes.agents import ended_agents
from tests.unit.ui import hostile

pytestmark = pytest.mark.slow

DDP = Path(__file__).parents[1] / "ddp_training.py"
LIVING = Path(__file__).with_name("living.py")
ROWS = "[...document.querySelectorAll('.tl-name a')].map((link) => link.innerText)"
METRICS = 40
"""More charts than the window holds."""


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of all processes of this module: one store, pins of their own."""
    root = tmp_path_factory.mktemp("living")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TRACELET_")}
    return {
        **clean, "TRACELET_DIR": str(root / ".tracelet"), "TRACELET_QUIET": "1",
        "XDG_CONFIG_HOME": str(root / "config"), "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(tracelet.__file__).parents[1]),
    }  # fmt: skip


@pytest.fixture(scope="module")
def living_store(surroundings: dict[str, str]) -> Iterator[Path]:
    """A training on two ranks, watched and delivered by an agent, and four runs that nobody needs."""
    store = Path(surroundings["TRACELET_DIR"])
    agent = {"TRACELET_BACKEND": "jsonl,tensorboard", "TRACELET_METRICS_INTERVAL": "0.2"}
    with ended_agents(store.parent):
        subprocess.run(
            [lightning_python("tensorboard"), "-W", "ignore", str(DDP), "ddp_fork", "2"], env={**surroundings, **agent},
            cwd=store.parent, check=True, timeout=240, capture_output=True,
        )  # fmt: skip
        (run,) = tracelet.open_store(store).runs()
        wait(lambda: [found for found in run.deliveries.values() if found.state == "done"][1:], 120)
        for number in range(4):
            record = hostile.replaced(hostile.STARTED, ["name"], f"spare-{number}")
            hostile.write(run.path.with_name(f"spare{number}"), hostile.journal({**hostile.RECORDS, "started": record}))
        yield store


@pytest.fixture(scope="module")
def address(driver: WebDriver, living_store: Path, surroundings: dict[str, str]) -> Iterator[str]:
    """The dashboard over them."""
    with served(living_store, surroundings) as found:
        yield found
        left_in_peace(driver)


@pytest.fixture(scope="module")
def ddp(living_store: Path) -> str:
    """The id of the training on two ranks."""
    return tracelet.open_store(living_store).run("ddp").id


def test_ranks_are_a_band_or_lines(page: Page, ddp: str) -> None:
    """A metric of two ranks is a band around the aggregate, or a line for each of them."""
    chart = "document.querySelector('.tl-chart[aria-label=\"loss_step\"]').chart"
    page.open(f"/run/{ddp}?tab=metrics")
    page.run("document.querySelector('.tl-chart[aria-label=\"loss_step\"]').scrollIntoView()")
    band = page.until(f"{chart}.data?.[0].band")
    assert len(band["x"]) > 3
    assert all(low <= mean <= high for low, mean, high in zip(band["min"], band["mean"], band["max"]))
    assert any(low < high for low, high in zip(band["min"], band["max"]))
    page.open(f"/run/{ddp}?tab=metrics&ranks=lines")
    page.run("document.querySelector('.tl-chart[aria-label=\"loss_step\"]').scrollIntoView()")
    assert page.until(f"{chart}.data?.map((one) => one.rank)") == [0, 1]
    assert page.problems() == []


def test_the_machine_stands_under_the_training(page: Page, ddp: str) -> None:
    """The System tab draws what the agent has sampled, and the training's own curves above on the same axis of time."""
    page.open(f"/run/{ddp}?tab=system")
    titles = page.run("return [...document.querySelectorAll('.tl-chart')].map((box) => box.getAttribute('aria-label'))")
    assert "loss_step" in titles
    assert {"system/cpu_percent", "system/memory_percent"} <= set(titles)
    memory = "document.querySelector('.tl-chart[aria-label=\"system/memory_percent\"]')"
    page.run(f"{memory}.scrollIntoView()")
    (found,) = page.until(f"{memory}.chart.data")
    assert all(0 < value <= 100 for value in found["y"])
    assert found["x"] == sorted(found["x"])
    assert -5 < found["x"][0] < 600, "seconds since the start"
    assert page.problems() == []


def test_deliveries_tell_what_arrived(page: Page, ddp: str) -> None:
    """Both backends stand there with their state and the points that they have taken, which are all."""
    page.open(f"/run/{ddp}?tab=deliveries")
    text = page.text()
    for name in ("jsonl", "tensorboard"):
        assert name in text
    assert text.count("done") >= 2
    assert len(re.findall(r"Delivered\s+([\d,]+) of \1 points", text)) == 2
    assert "Pending" not in text
    assert page.problems() == []


def test_columns_are_chosen_and_shared(page: Page) -> None:
    """What is ticked becomes the columns, stands in the address, and is there again where the address is opened."""
    page.open("/")
    page.until(f"{ROWS}.length === 5")
    page.click("Columns")
    page.run(
        "for (const box of document.querySelectorAll('dialog input'))"
        " box.checked = ['m:loss', 'p:lr', 'git'].includes(box.value)"
    )
    page.click("Apply", "dialog")
    heads = "[...document.querySelectorAll('.ag-header-cell-text')].map((head) => head.innerText)"
    page.until(f"['loss', 'lr', 'Commit'].every((name) => {heads}.includes(name))")
    assert page.driver.current_url.count("col=") == 3
    page.driver.refresh()
    page.until(f"['loss', 'lr', 'Commit'].every((name) => {heads}.includes(name))")
    assert page.problems() == []


def test_keys_mark_select_and_compare(page: Page) -> None:
    """j and k move the mark, x selects, c compares what is selected, / goes to the filter."""
    page.open("/")
    page.until(f"{ROWS}.length === 5")
    marked = "document.querySelector('.ag-cell-focus')?.closest('[row-index]')?.getAttribute('row-index')"
    for key, row in (("j", "0"), ("j", "1"), ("j", "2"), ("k", "1"), ("k", "0"), ("k", "0")):
        page.press(key)
        assert page.until(f"{marked} === '{row}'"), key
    page.press("/")
    page.until("document.activeElement.matches('.tl-filter')")
    page.run("document.activeElement.blur()")
    for key in ("x", "j", "x"):
        page.press(key)
    page.until("document.querySelector('.tl-selection').innerText.includes('Compare 2')")
    page.press("c")
    page.until("location.pathname === '/compare' && location.search.split('run=').length === 3")
    assert page.problems() == []


def test_a_run_is_tagged_then_deleted_once_that_is_confirmed(page: Page, living_store: Path) -> None:
    """A tag is kept and shown; a run is deleted only after the question, and Cancel leaves it."""
    doomed = living_store / "runs" / "spare3"
    page.open("/?filter=spare-3&col=m%3Aloss")  # few columns: the grid makes only those in sight
    page.until(f"{ROWS}.length === 1")
    select = "const box = document.querySelector('.ag-row input[type=checkbox]'); if (!box.checked) box.click()"
    page.run(select)
    page.click("Tags")
    page.run(
        "const [name, text] = document.querySelectorAll('dialog .tl-pair input');"
        "name.value = 'verdict'; text.value = '<b>bad</b>'"
    )
    page.click("Save", "dialog")
    page.until("document.querySelector('.ag-row .tl-tags')?.innerText.includes('verdict: <b>bad</b>')")
    for answer, remains in (("Cancel", True), ("Delete", False)):
        page.run(select)
        page.until("[...document.querySelectorAll('.tl-selection button')].some((one) => one.innerText === 'Delete')")
        page.click("Delete", ".tl-selection")
        assert "spare-3" in page.text("dialog")
        page.click(answer, "dialog")
        page.until(f"!document.querySelector('dialog') && {ROWS}.length === {int(remains)}")
        assert doomed.exists() is remains
    assert page.problems() == []


def test_the_pages_of_real_runs_serve_everybody(page: Page, ddp: str) -> None:
    """Light, dark and on a phone, no page with ranks, machine and deliveries has a serious fault or is too wide."""
    paths = [f"/run/{ddp}?tab={tab}" for tab in ("metrics", "system", "time", "log", "deliveries")]
    for scheme in ("light", "dark"):
        page.emulate("setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        for path in paths:
            page.open(path)
            assert serious(page) == [], (scheme, path)
    page.open("/")
    page.until(f"{ROWS}.length")
    page.click("Columns")
    assert serious(page) == []
    page.emulate("setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=True)
    try:
        for path in paths:
            page.open(path)
            assert page.run("return document.documentElement.scrollWidth") <= 390, path
    finally:
        page.emulate("clearDeviceMetricsOverride")


def serious(page: Page) -> list[tuple[str, str]]:
    """What axe finds on the page: rule, and the first place."""
    result = Axe().run(page.driver, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]})
    return [
        (found["id"], found["nodes"][0]["html"][:200])
        for found in result["violations"] if found["impact"] in ("serious", "critical")
    ]  # fmt: skip


def test_a_chart_in_sight_moves_and_the_others_rest(
    page: Page, living_store: Path, surroundings: dict[str, str], ddp: str
) -> None:
    """Points of a running training come onto the chart in sight soon after the log call; no other one asks anything.
    The best values of a comparison move too.
    """
    process = subprocess.Popen(
        [sys.executable, str(LIVING), str(METRICS)], env={**surroundings, "TRACELET_DELIVERY": "off"},
        cwd=living_store.parent,
    )  # fmt: skip
    page.driver.set_window_size(900, 420)
    try:
        store = tracelet.open_store(living_store)
        (run_id,) = wait(lambda: [run.id for run in store.runs(status="running") if len(run.metrics()) >= METRICS])
        page.open(f"/run/{run_id}?tab=metrics&x=time&ranks=lowest")
        page.run(f"{CHART}.scrollIntoView()")
        page.until(f"{CHART}.chart.data?.[0].x.length")
        page.run(WATCH + "performance.clearResourceTimings()")
        page.until("window.delays.length >= 40")
        delays = page.run("return window.delays")
        print(f"a point is on the chart after {statistics.median(delays):.2f} s (median), {max(delays):.2f} s at most")
        assert statistics.median(delays) < 10
        assert "layer/00" not in asked_for(page)
        hidden = page.run("Object.defineProperty(document, 'hidden', {get: () => true, configurable: true}); return 1")
        page.until(f"!{CHART}.chart.busy")
        before = int(page.run(f"return {CHART}.dataset.points"))
        wait(lambda: tracelet.open_store(living_store).run(run_id).summaries()["loss"].count > before + 40)
        assert hidden
        assert int(page.run(f"return {CHART}.dataset.points")) <= before + 20  # what was on its way
        page.run("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
        page.until(f"Number({CHART}.dataset.points) > {before + 40}")
        page.run("document.querySelector('.tl-chart[aria-label=\"layer/00\"]').scrollIntoView()")
        page.until("document.querySelector('.tl-chart[aria-label=\"layer/00\"]').chart.data")
        wait(lambda: "layer/00" in asked_for(page))  # the browser notes a request when all of it has come
        page.open(f"/compare?run={run_id}&run={ddp}")
        rows = "[...document.querySelectorAll('[aria-label=\"Best values\"] tr')]"
        best = f"{rows}.find((row) => row.innerText.startsWith('loss')).innerText"
        first = page.run(f"return {best}")
        page.until(f"{best} !== {json.dumps(first)}")
        assert page.problems() == []
    finally:
        page.driver.set_window_size(1400, 950)
        process.terminate()
        process.wait(30)


def asked_for(page: Page) -> set[str]:
    """The metrics whose points the page has asked for since the timings were cleared."""
    return set(
        page.run(
            "return performance.getEntriesByType('resource').map((entry) => new URL(entry.name))"
            ".filter((url) => url.pathname === '/api/series').flatMap((url) => url.searchParams.getAll('name'))"
        )
    )
