"""The dashboard in a real browser, over a store made by real trainings: lists, charts, time, comparison, changes."""

from __future__ import annotations

import json
import urllib.parse

import pytest

from tests.e2e.ui.browser import Page
from tests.e2e.ui.trainings import MARKUP

pytestmark = pytest.mark.slow

ROWS = "[...document.querySelectorAll('.tl-name a')].map((link) => link.innerText)"


def test_all_runs_are_listed_and_filtered(page: Page) -> None:
    """The list has every run; a filter leaves those it is true of, and stands in the address."""
    page.open("/")
    assert set(page.until(f"{ROWS}.length >= 5 && {ROWS}")) == {MARKUP, "astray", "wave-0", "wave-1", "wave-2"}
    page.run(
        "const box = document.querySelector('.tl-filter');"
        "box.value = 'lr < 0.02'; box.dispatchEvent(new Event('input'))"
    )
    assert set(page.until(f"{ROWS}.length === 2 && {ROWS}")) == {"wave-0", "wave-1"}
    assert urllib.parse.parse_qs(urllib.parse.urlsplit(page.driver.current_url).query) == {"filter": ["lr < 0.02"]}
    page.open("/?filter=status+%3D%3D+%22failed%22&group=project")
    assert page.until(f"{ROWS}.length === 1 && {ROWS}") == ["astray"]
    assert "1 run" in page.text(".tl-grid")
    assert page.problems() == []


def test_a_filter_that_cannot_be_meant_is_told(page: Page) -> None:
    """A misspelt name is answered with the nearest one."""
    page.open("/?filter=statsu+%3D%3D+1")
    assert "Did you mean 'status'?" in page.until("document.querySelector('.tl-error').innerText")
    assert ["400" in problem for problem in page.problems()] == [True]


def test_metrics_are_drawn_and_zoomed(page: Page, ids: dict[str, str]) -> None:
    """Every metric has a chart with all its points; a zoom fetches the part in sight."""
    page.open(f"/run/{ids['wave-1']}?tab=metrics")
    chart = "document.querySelector('.tl-chart[aria-label=\"train/loss\"]')"
    assert page.until(f"{chart}?.dataset.points") == "96"
    page.run(f"{chart}.chart.plot.dispatchAction({{type: 'dataZoom', dataZoomIndex: 0, start: 25, end: 50}})")
    assert 20 <= int(page.until(f"Number({chart}.dataset.points) < 60 && {chart}.dataset.points")) <= 30
    page.run(f"{chart}.chart.reset()")
    page.until(f"{chart}.dataset.points === '96'")
    assert page.problems() == []


@pytest.mark.parametrize("axis", ["epoch", "relative", "time"])
def test_axes_can_be_chosen(page: Page, ids: dict[str, str], axis: str) -> None:
    """Every axis draws all points, in ascending order."""
    page.open(f"/run/{ids['wave-1']}?tab=metrics&x={axis}")
    data = page.until("document.querySelector('.tl-chart[aria-label=\"train/loss\"]')?.chart.data?.[0]")
    assert len(data["x"]) == 96
    assert data["x"] == sorted(data["x"])


def test_charts_are_saved(page: Page, ids: dict[str, str]) -> None:
    """PNG and SVG are made of a chart in the browser."""
    page.open(f"/run/{ids['wave-1']}?tab=metrics")
    chart = "document.querySelector('.tl-chart[aria-label=\"train/loss\"]')"
    page.until(f"{chart}?.dataset.points")
    for kind in ("png", "svg"):
        page.run(f"{chart}.chart.save('{kind}')")
        assert page.until(f"{chart}.dataset.saved === '{kind}'")
    assert page.problems() == []


def test_charts_out_of_view_fetch_nothing(page: Page, ids: dict[str, str]) -> None:
    """A chart that nobody sees has asked the server for nothing."""
    page.driver.set_window_size(900, 420)
    try:
        page.open(f"/run/{ids['wave-1']}?tab=metrics")
        page.until("document.querySelector('.tl-chart')?.chart.data")
        states = page.run(
            "return [...document.querySelectorAll('.tl-chart')].map((box) => Boolean(box.chart.data || box.chart.busy))"
        )
        assert states[0] is True
        assert states[-1] is False
    finally:
        page.driver.set_window_size(1400, 950)


def test_time_zooms_to_one_iteration(page: Page, ids: dict[str, str]) -> None:
    """The timeline shows the whole run, then one iteration with its phases; shares and goodput stand beside it."""
    page.open(f"/run/{ids['wave-1']}?tab=time")
    canvas = "document.querySelector('.tl-timeline')"
    page.until(f"Number({canvas}?.dataset.spans) > 50")
    page.click("One iteration")
    page.until(
        f"Number({canvas}.dataset.spans) > 3 && Number({canvas}.dataset.high) - Number({canvas}.dataset.low) < 0.5"
    )
    legend = page.text(".tl-legend")
    assert "training single iteration" in legend
    assert "model forward" in legend
    assert "goodput" in page.text(".tl-findings")
    assert page.problems() == []


def test_the_other_tabs_tell_their_part(page: Page, ids: dict[str, str]) -> None:
    """Overview, log, artifacts and deliveries show what is known, or what to type."""
    page.open(f"/run/{ids['astray']}")
    overview = page.text()
    assert "RuntimeError" in overview
    assert "the loss went astray" in overview
    assert "git checkout" in overview or "did not start in a git repository" in overview
    for tab, words in (("log", "fit finished"), ("artifacts", ".ckpt"), ("deliveries", "tracelet sync")):
        page.open(f"/run/{ids['astray']}?tab={tab}")
        assert words in page.text(), tab
    assert page.problems() == []


def test_runs_are_compared(page: Page, ids: dict[str, str]) -> None:
    """Runs side by side: what differs, the best marked, curves of all runs in one chart, and two plots."""
    waves = [ids[f"wave-{place}"] for place in range(3)]
    page.open("/compare?" + urllib.parse.urlencode({"run": waves}, doseq=True))
    text = page.text()
    assert "Parameters that differ" in text
    assert page.run("return document.querySelectorAll('.tl-best').length") >= 1
    page.run("document.querySelector('.tl-chart').scrollIntoView()")
    names = page.until("document.querySelector('.tl-chart').chart.data?.map((one) => one.run)")
    assert sorted(names) == sorted(waves)
    assert page.run("return document.querySelectorAll('.tl-tall canvas').length") == 2
    assert page.problems() == []


def test_a_click_states_the_goal_of_a_metric(page: Page, ids: dict[str, str]) -> None:
    """Nothing is marked for a metric without a goal; a click marks the lowest run, the next one the highest."""
    waves = [ids[f"wave-{place}"] for place in range(3)]
    page.open("/compare?" + urllib.parse.urlencode({"run": waves}, doseq=True))
    rows = "[...document.querySelectorAll('[aria-label=\"Best values\"] tr')]"
    row = f"{rows}.find((row) => row.innerText.includes('train/loss'))"
    assert page.until(f"{row}.querySelector('.tl-goal').dataset.goal") == "unknown"
    assert page.run(f"return {row}.querySelector('.tl-best')") is None
    for goal, best in (("min", "Math.min"), ("max", "Math.max")):
        page.run(f"{row}.querySelector('.tl-goal').click()")
        page.until(f"{row}.querySelector('.tl-goal').dataset.goal === '{goal}'")
        values = f"[...{row}.querySelectorAll('td')].map((cell) => Number(cell.innerText))"
        assert page.run(f"return Number({row}.querySelector('.tl-best').innerText) === {best}(...{values})")
    page.run(f"{row}.querySelector('.tl-goal').click()")
    page.until(f"{row}.querySelector('.tl-goal').dataset.goal === 'unknown'")
    assert page.problems() == []


def test_a_run_is_pinned_and_renamed(page: Page, ids: dict[str, str]) -> None:
    """Pin and new name are kept and shown; the run's own name comes back."""
    page.open(f"/run/{ids['wave-0']}")
    page.click("☆ Pin")
    page.until("document.querySelector('[aria-pressed=true]')")
    for name in ("renamed", ""):
        page.click("Rename")
        page.run("document.querySelector('dialog input').value = arguments[0]", name)
        page.click("Save", "dialog")
        page.until(f"document.querySelector('h1').innerText === {json.dumps(name or 'wave-0')}")
    page.click("★ Pinned")
    page.until("document.querySelector('[aria-pressed=false]')")


def test_keys(page: Page) -> None:
    """`?` shows the keys, j and Enter open a run."""
    page.open("/")
    page.until(f"{ROWS}.length")
    page.press("?")
    assert "Search or filter" in page.text("dialog")
    page.run("document.querySelector('dialog').close()")
    page.press("j")
    page.press("Enter")
    page.until("location.pathname.startsWith('/run/')")


def test_a_phone_is_wide_enough(page: Page, ids: dict[str, str]) -> None:
    """On a narrow screen no page is wider than the screen."""
    page.emulate("setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=True)
    try:
        for path in ("/", f"/run/{ids['wave-1']}", f"/run/{ids['wave-1']}?tab=metrics", "/compare"):
            page.open(path)
            assert page.run("return document.documentElement.scrollWidth") <= 390, path
    finally:
        page.emulate("clearDeviceMetricsOverride")
