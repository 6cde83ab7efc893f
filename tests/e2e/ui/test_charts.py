"""What can be done to charts and to the list: settings, marks for what a curve cannot show, search, groups, order."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.remote.webdriver import WebDriver

import tracelet
from tests.e2e.ui.browser import Page, left_in_peace, served

pytestmark = pytest.mark.slow

ROWS = (
    "[...document.querySelectorAll('.tl-name a')].sort((one, other) => "
    "one.closest('[row-index]').getAttribute('row-index') - other.closest('[row-index]').getAttribute('row-index'))"
    ".map((link) => link.innerText)"
)
HEADS = "[...document.querySelectorAll('.tl-group')].map((head) => head.innerText.replace(/\\s+/g, ' '))"
STEPS = 200


def chart(name: str) -> str:
    """The chart of a metric, in JavaScript."""
    return f"document.querySelector('.tl-chart[aria-label=\"{name}\"]')"


def option(name: str, what: str) -> str:
    """A part of what ECharts draws there."""
    return f"{chart(name)}.chart.plot.getOption().{what}"


@pytest.fixture(scope="module")
def charts_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs of a sweep in two projects; the first has curves that charts have trouble with."""
    store = tmp_path_factory.mktemp("charts") / ".tracelet"
    config: dict[str, Any] = {
        "dir": str(store), "delivery": "off", "quiet": True, "track_system": False, "track_git": False,
        "track_env": False, "track_console": False,
    }  # fmt: skip
    for name, project, lr in (("one", "first", 0.5), ("two", "first", 0.1), ("three", "second", 0.1)):
        with tracelet.start_logging(
            name, project=project, params={"lr": lr}, tags={"sweep": f"of {lr}"}, config=config
        ) as run:
            for step in range(STEPS):
                run.log_metric("loss", lr * (1 if step % 2 else 2) / (1 + step) + (1000 if step == 7 else 0), step)
                run.log_metric("odd/values", [1.0, math.nan, math.inf, 2.0, -math.inf][step % 5], step)
                run.log_metric("odd/signed", float(step - 50), step)
    return store


@pytest.fixture(scope="module")
def address(driver: WebDriver, charts_store: Path, environment: dict[str, str]) -> Iterator[str]:
    """The dashboard over them."""
    with served(charts_store, environment) as found:
        yield found
        left_in_peace(driver)


@pytest.fixture(scope="module")
def one(charts_store: Path) -> str:
    """The id of the first run."""
    return tracelet.open_store(charts_store).run("one").id


def tick(page: Page, label: str) -> None:
    """Click a box by what stands beside it."""
    page.run(
        "[...document.querySelectorAll('.tl-bar .tl-check')].find((one) => one.innerText.trim() === arguments[0])"
        ".querySelector('input').click()", label
    )  # fmt: skip


def test_settings_change_every_chart_and_stand_in_the_address(page: Page, one: str) -> None:
    """Smoothing lays a calmer curve over the points, the scale becomes logarithmic; both are there when reopened."""
    page.open(f"/run/{one}?tab=metrics")
    page.until(f"{chart('loss')}?.dataset.points === '{STEPS}'")
    assert page.run(f"return {option('loss', 'series.length')}") == 1
    page.run(
        "const box = document.querySelector('input[aria-label=Smoothing]');"
        "box.value = '0.9'; box.dispatchEvent(new Event('input'))"
    )
    tick(page, "Log scale")
    for _ in range(2):
        page.until(f"{chart('loss')}?.dataset.points === '{STEPS}' && {option('loss', 'series.length')} === 2")
        raw, smooth = page.run(f"return {option('loss', 'series')}.map((line) => line.data.map((at) => at[1]))")
        assert len(raw) == len(smooth) == STEPS
        assert smooth[0] == raw[0] == 0  # the logarithm of 1
        assert sum(abs(b - a) for a, b in zip(smooth, smooth[1:])) < sum(abs(b - a) for a, b in zip(raw, raw[1:])) / 2
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(page.driver.current_url).query)
        assert (query["smooth"], query["log"]) == (["0.9"], ["1"])
        page.open(urllib.parse.urlsplit(page.driver.current_url)._replace(scheme="", netloc="").geturl())
    assert page.problems() == []


def test_what_a_curve_cannot_show_is_marked(page: Page, one: str) -> None:
    """NaN and the infinities have marks of their own at their steps, and the chart says how many there are."""
    page.open(f"/run/{one}?tab=metrics")
    page.run(f"{chart('odd/values')}.scrollIntoView()")
    page.until(f"{chart('odd/values')}.dataset.points === '{STEPS}'")
    marks = page.run(
        f"return {option('odd/values', 'series')}.filter((line) => line.type === 'scatter')"
        ".map((line) => [line.name, line.data.map((at) => at[0])])"
    )
    expected = {"NaN": 1, "+inf": 2, "-inf": 4}
    assert {name.split(": ")[1]: steps for name, steps in marks} == {
        name: list(range(first, STEPS, 5)) for name, first in expected.items()
    }
    assert f"{STEPS * 3 // 5} NaN or inf" in page.text(".tl-chart[aria-label='odd/values'] .tl-chart-status")


@pytest.mark.parametrize("log", [False, True])
def test_points_off_the_scale_are_counted(page: Page, one: str, log: bool) -> None:
    """Without outliers the axis fits the others, whatever its scale; how many points are outside is said."""
    page.open(f"/run/{one}?tab=metrics&outliers=1" + ("&log=1" if log else ""))
    page.until(f"{chart('loss')}?.dataset.points === '{STEPS}'")
    low, high = page.run(f"const axis = {option('loss', 'yAxis[0]')}; return [axis.min, axis.max]")
    values = page.run(f"return {option('loss', 'series[0].data')}.map((at) => at[1])")
    assert 10**high < 100 if log else high < 100
    assert 10**low > 1e-4 if log else low < 1 / STEPS
    outside = sum(not low <= value <= high for value in values)
    assert 0 < outside < 5
    assert f"{outside} off scale" in page.text(".tl-chart[aria-label='loss'] .tl-chart-status")
    assert page.problems() == []


def test_a_logarithm_leaves_out_what_has_none_and_says_so(page: Page, one: str) -> None:
    """Zero and below are gaps on a logarithmic axis, counted as off scale; the marks stay in sight."""
    page.open(f"/run/{one}?tab=metrics&log=1")
    for name in ("odd/signed", "odd/values"):
        page.run(f"{chart(name)}.scrollIntoView()")
        page.until(f"{chart(name)}.dataset.points === '{STEPS}'")
    drawn = page.run(f"return {option('odd/signed', 'series[0].data')}.map((at) => at[1])")
    assert [value for value in drawn if value is not None] == [math.log10(value) for value in range(1, STEPS - 50)]
    assert "51 off scale" in page.text(".tl-chart[aria-label='odd/signed'] .tl-chart-status")
    assert page.problems() == []


def test_charts_point_at_the_same_place(page: Page, one: str) -> None:
    """The pointer over one chart shows the values of all charts in sight at the same step."""
    page.open(f"/run/{one}?tab=metrics")
    names = ("loss", "odd/values", "odd/signed")
    for name in names:
        page.run(f"{chart(name)}.scrollIntoView({{block: 'center'}})")
        page.until(f"{chart(name)}.dataset.points === '{STEPS}'")
    page.run(f"{chart('loss')}.chart.plot.dispatchAction({{type: 'showTip', seriesIndex: 0, dataIndex: 100}})")
    titles = "[...document.querySelectorAll('.tl-tip-title')].map((title) => title.innerText)"
    assert page.until(f"{titles}.length === 3 && {titles}") == ["step 100"] * 3


def test_metrics_are_searched_for(page: Page, one: str) -> None:
    """A part of the name leaves those charts, groups by prefix among them; none at all is said."""
    shown = (
        "[...document.querySelectorAll('.tl-chart')].filter((box) => box.offsetParent)"
        ".map((box) => box.getAttribute('aria-label'))"
    )
    groups = (
        "[...document.querySelectorAll('.tl-section')].filter((box) => box.offsetParent)"
        ".map((box) => box.querySelector('h2').innerText)"
    )
    page.open(f"/run/{one}?tab=metrics")
    assert page.until(f"{shown}.length === 3 && {groups}") == ["odd", "metrics"]
    type_in = (
        "const box = document.querySelector('[data-search]');"
        "box.value = arguments[0]; box.dispatchEvent(new Event('input'))"
    )
    page.run(type_in, "SIGN")
    assert page.until(f"{shown}.length === 1 && {shown}") == ["odd/signed"]
    assert page.run(f"return {groups}") == ["odd"]
    page.run(type_in, "nothing like it")
    page.until(f"{shown}.length === 0")
    assert "No metrics match" in page.text()


def test_a_chart_is_saved_as_csv(page: Page, one: str) -> None:
    """The menu's CSV is a download of every point."""
    page.open(f"/run/{one}?tab=metrics")
    page.until(f"{chart('loss')}?.dataset.points === '{STEPS}'")
    page.run(
        "window.asked = [];"
        "document.addEventListener('click', (event) => {"
        "  const link = event.target.closest?.('a[download]');"
        "  if (link) { event.preventDefault(); window.asked.push(link.getAttribute('href')); }"
        "}, true);"
        f"{chart('loss')}.querySelector('summary').click()"
    )
    page.click("Save as CSV", ".tl-chart[aria-label='loss']")
    (address,) = page.until("window.asked")
    lines = page.run("return fetch(arguments[0]).then((answer) => answer.text())", address).splitlines()
    assert len(lines) == STEPS + 1


@pytest.mark.parametrize(
    ("group", "heads"),
    [
        ("project", {"first 2 runs", "second 1 run"}),
        ("p:lr", {"lr = 0.5 1 run", "lr = 0.1 2 runs"}),
        ("t:sweep", {"sweep: of 0.5 1 run", "sweep: of 0.1 2 runs"}),
    ],
)
@pytest.mark.parametrize("columns", ["", "&col=m%3Aloss"])
def test_runs_are_grouped(page: Page, group: str, heads: set[str], columns: str) -> None:
    """By project, parameter or the tag of a sweep, whatever columns are shown."""
    page.open("/?" + urllib.parse.urlencode({"group": group}) + columns)
    assert set(page.until(f"{ROWS}.length === 3 && {HEADS}")) == heads
    assert page.problems() == []


def test_the_order_of_runs_is_chosen_and_shared(page: Page) -> None:
    """A click on a column's head sorts by it; the order stands in the address, and is there when that is opened."""
    page.open("/")
    assert page.until(f"{ROWS}.length === 3 && {ROWS}") == ["three", "two", "one"]
    page.run("document.querySelector('.ag-header-cell[col-id=\"name\"] .ag-header-cell-label').click()")
    page.until(f"{ROWS}.join() === 'one,three,two'")
    assert "sort=name" in page.driver.current_url
    page.driver.refresh()
    page.until(f"{ROWS}.join() === 'one,three,two'")


def test_parameters_are_drawn_against_a_metric(page: Page, charts_store: Path) -> None:
    """Each run is a point of the one plot and a line of the other, at its parameter and best value."""
    runs = {run.info.name: run for run in tracelet.open_store(charts_store).runs()}
    chosen = [runs[name] for name in ("one", "two", "three")]
    query = {"run": [run.id for run in chosen], "param": "lr", "metric": "loss"}
    page.open("/compare?" + urllib.parse.urlencode(query, doseq=True))
    expected = [[run.params["lr"], run.summaries()["loss"].min] for run in chosen]
    assert expected[0][1] == min(0.5 / 200, 0.5 * 2 / 199)
    drawn = (
        "const { echarts } = await import('nicegui-echart');"
        "return [...document.querySelectorAll('.tl-tall')].map((box) =>"
        " echarts.getInstanceByDom(box).getOption().series[0].data.map((one) => one.value))"
    )
    scatter, parallel = page.run(f"return (async () => {{ {drawn} }})()")
    assert scatter == expected
    assert parallel == expected


SLEEPER = """
import os, sys, time, tracelet
run = tracelet.start_logging("sleeper", config={"dir": sys.argv[1], "delivery": "off", "quiet": True})
run.log_metric("loss", 1.0, 0)
time.sleep(1)
print(run.id, flush=True)
time.sleep(300)
"""


def test_a_running_run_without_a_heartbeat_is_shown_as_not_responding(
    driver: WebDriver, environment: dict[str, str], tmp_path: Path
) -> None:
    """The list tells it by itself, without being loaded again, and tells when the run is back."""
    store = tmp_path / ".tracelet"
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPER, str(store)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    state = "document.querySelector('.tl-status')?.innerText"
    try:
        run_id = process.stdout.readline().strip()
        with served(store, environment) as address:
            page = Page(driver, address)
            page.open("/")
            page.until(f"{state} === 'running'")
            process.send_signal(signal.SIGSTOP)
            (journal,) = (store / "runs" / run_id).glob("rank-0.*.tlj")
            os.utime(journal, (time.time() - 120,) * 2)
            page.until(f"{state} === 'not responding'")
            process.send_signal(signal.SIGCONT)
            page.until(f"{state} === 'running'")
            left_in_peace(driver)
    finally:
        process.kill()
        process.communicate()
