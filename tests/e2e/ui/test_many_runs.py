"""Fifteen runs at once: tables that stay readable, colours that stay the same, and the best run marked by its goal."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.remote.webdriver import WebDriver

import tracelet
from tests.e2e.ui.browser import Page, left_in_peace, served

pytestmark = pytest.mark.slow

BEST = "[...document.querySelectorAll('[aria-label=\"Best values\"] tr')]"


@pytest.fixture(scope="module")
def many_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five learning rates with three seeds each; long values, and an error rate whose name does not say so."""
    store = tmp_path_factory.mktemp("many") / ".tracelet"
    config: dict[str, Any] = {
        "dir": str(store), "delivery": "off", "quiet": True, "track_system": False, "track_git": False,
        "track_env": False, "track_console": False,
    }  # fmt: skip
    for number, lr in enumerate((1e-3, 3.1622776601683795e-3, 1e-2, 3.1622776601683795e-2, 1e-1)):
        for seed in range(3):
            params = {"lr": lr, "seed": seed}
            with tracelet.start_logging(f"speech-{number}-{seed}", project="asr", params=params, config=config) as run:
                tracelet.define_metric("val/wer", goal="min")
                for step in range(20):
                    run.log_metric("val/wer", 0.1234567 * (number + 1) + 0.01 * seed + 1 / (step + 1), step)
                    run.log_metric("memory_bytes", 76_700_000_000.0 + 1e6 * step, step)
    return store


@pytest.fixture(scope="module")
def runs(many_store: Path) -> list[str]:
    """The ids, the first run first."""
    return [run.id for run in tracelet.open_store(many_store).runs()][::-1]


@pytest.fixture(scope="module")
def address(driver: WebDriver, many_store: Path, environment: dict[str, str]) -> Iterator[str]:
    """The dashboard over them."""
    with served(many_store, environment) as found:
        yield found
        left_in_peace(driver)


def compare(page: Page, ids: list[str]) -> None:
    """Open the comparison of these runs."""
    page.open("/compare?" + urllib.parse.urlencode({"run": ids}, doseq=True))


def test_no_cell_breaks_a_number_and_the_page_stays_as_wide_as_the_screen(page: Page, runs: list[str]) -> None:
    """With fifteen columns a table scrolls sideways in its card: each row is one line high, on a phone too."""
    heights = (
        'Math.max(...[...document.querySelectorAll(\'[aria-label="Best values"] tr, [aria-label="Parameters that'
        " differ\"] tr')].map((row) => row.getBoundingClientRect().height))"
    )
    for width in (1440, 390):
        page.emulate("setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500)
        try:
            compare(page, runs)
            assert page.until(heights) < 40, width
            assert page.run("return document.documentElement.scrollWidth") <= width
        finally:
            page.emulate("clearDeviceMetricsOverride")
    assert page.problems() == []


def test_the_lowest_error_rate_is_the_best(page: Page, runs: list[str]) -> None:
    """One run is marked, the one with the lowest WER; a metric without a goal has no mark."""
    compare(page, runs)
    row = f"{BEST}.find((row) => row.innerText.includes('val/wer'))"
    marked = f"[...{row}.querySelectorAll('td')].map((cell) => Boolean(cell.querySelector('.tl-best')))"
    assert page.until(marked) == [True] + [False] * 14
    other = f"{BEST}.find((row) => row.innerText.includes('memory'))"
    assert page.run(f"return {other}.querySelectorAll('.tl-best').length") == 0


def test_a_run_has_the_same_colour_in_each_comparison(page: Page, runs: list[str]) -> None:
    """The colour depends on the run alone; two runs of one colour have different lines."""
    drawn = "document.querySelector('.tl-chart').chart.plot.getOption().series"
    looks: list[dict[str, tuple[str, str]]] = []
    for chosen in (runs, runs[7:3:-1]):
        compare(page, chosen)
        page.run("document.querySelector('.tl-chart').scrollIntoView()")
        page.until("document.querySelector('.tl-chart').chart.plot?.getOption().series.length")
        found = page.run(
            f"return {drawn}.map((one) => [one.name, one.itemStyle.color, JSON.stringify(one.lineStyle.type)])"
        )
        assert len(found) == len(chosen)
        looks.append({name: (tint, line) for name, tint, line in found})
        assert len(set(looks[-1].values())) == len(chosen)
    assert {name: looks[0][name][0] for name in looks[1]} == {name: tint for name, (tint, _) in looks[1].items()}


def test_the_marks_of_an_axis_differ(page: Page, runs: list[str]) -> None:
    """Gigabytes that differ by megabytes, and steps, which are whole numbers."""
    compare(page, runs[:2])
    chart = "document.querySelector('.tl-chart[aria-label=\"memory_bytes\"]')"
    page.run(f"{chart}.scrollIntoView()")
    page.until(f"{chart}.chart.plot?.getOption().series.length")
    y, x = (
        page.run(
            f"const {{chart}} = {chart}; return chart.plot.getModel().getComponent('{axis}Axis').axis"
            ".getViewLabels().map((label) => label.formattedLabel)"
        )
        for axis in "yx"
    )
    assert len(set(y)) == len(y) > 2
    assert [label for label in x if "." in label] == []


def test_a_smoothed_value_is_computed_over_all_points(page: Page, runs: list[str]) -> None:
    """The number beside the slider takes a value; the curve is the server's, and stays after a zoom."""
    page.open(f"/run/{runs[0]}?tab=metrics&smooth=0.6")
    chart = "document.querySelector('.tl-chart[aria-label=\"val/wer\"]')"
    whole = page.until(f"{chart}?.chart.data?.[0].smooth")
    assert page.run("return document.querySelector('[aria-label=\"Amount of smoothing\"]').value") == "0.6"
    page.run(f"{chart}.chart.plot.dispatchAction({{type: 'dataZoom', dataZoomIndex: 0, start: 50, end: 100}})")
    part = page.until(f"{chart}.chart.data[0].x.length < 15 && {chart}.chart.data[0]")
    assert part["smooth"] == [whole[step] for step in part["steps"]]
    assert json.loads(page.run("return JSON.stringify(new URLSearchParams(location.search).get('smooth'))")) == "0.6"


def test_a_report_opens_without_a_network(page: Page, runs: list[str], tmp_path: Path) -> None:
    """The file of fifteen runs is small, asks for nothing, and its lines have the colours of the dashboard."""
    with urllib.request.urlopen(
        f"{page.address}/api/report?{urllib.parse.urlencode({'run': runs}, doseq=True)}"
    ) as found:
        text = found.read()
    assert len(text) < 3_000_000
    target = tmp_path / "report.html"
    target.write_bytes(text)
    compare(page, runs)
    page.run("document.querySelector('.tl-chart').scrollIntoView()")
    page.until("document.querySelector('.tl-chart').chart.plot?.getOption().series.length")
    colours = page.run(
        "const {chart} = document.querySelector('.tl-chart'); return Object.fromEntries(chart.plot.getOption().series"
        ".map((one) => [one.name, one.itemStyle.color]))"
    )
    page.problems()
    page.log("performance")
    page.driver.get(target.as_uri())
    assert page.run("return document.querySelector('h1').innerText") == "15 runs"
    drawn = page.run(
        "return [...document.querySelectorAll('figure:last-of-type path[class]')].map((path) => "
        "[path.querySelector('title').textContent, path.getAttribute('stroke'), path.getBoundingClientRect().width])"
    )
    assert {name: stroke for name, stroke, _ in drawn} == colours
    assert min(width for *_, width in drawn) > 100
    assert page.run("return document.querySelectorAll('.best').length") == 1
    assert page.run("return document.documentElement.scrollWidth <= innerWidth")
    sent = [json.loads(entry["message"])["message"] for entry in page.log("performance")]
    urls = [event["params"]["request"]["url"] for event in sent if event["method"] == "Network.requestWillBeSent"]
    assert [url for url in urls if url != target.as_uri()] == []
    assert page.problems() == []
