"""The report file: what is in it, how large it is, and that texts of runs are texts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient

import tracelet
from tests.unit.ui.conftest import BARE, Record
from tracelet.cli import main
from tracelet.store.run_colours import DARK, LIGHT, dashes, place
from tracelet.ui.report import Report

MARKUP = "<img src=x onerror=alert(1)>"
LIB = Path(tracelet.__file__).parent / "ui" / "web" / "lib"


def test_a_report_has_what_differs_and_marks_the_best(record: Record, tmp_path: Path) -> None:
    """Parameters that differ, the lowest error rate marked, one line per run in each chart."""
    for name, lr, wer in (("a", 0.1, [0.9, 0.3]), ("b", 0.2, [0.8, 0.2])):
        with tracelet.start_logging(name, params={"lr": lr, "same": 1}, config={**BARE, "quiet": True}):
            tracelet.define_metric("wer", goal="min")
            for step, value in enumerate(wer):
                tracelet.log({"wer": value, "x": float("nan")}, step=step)
    target = tmp_path / "out.html"
    result = CliRunner().invoke(main, ["report", "a", "b", "-o", str(target), "--title", "Two"])
    assert (result.exit_code, "out.html" in result.output) == (0, True), result.output
    text = target.read_text(encoding="utf-8")
    assert "<title>Two</title>" in text
    assert re.findall(r"class=best>([^<]+)<", text) == ["0.2"]
    assert "1 parameter is the same" in text
    chart = text[text.index("<h3>wer</h3>") :].partition("</figure>")[0]
    assert re.findall(r"<title>([^<]+)</title>", chart) == ["a", "b"]
    assert "script" not in text


def test_fifteen_runs_take_less_than_three_megabytes(record: Record) -> None:
    """Thirty metrics of a thousand points each: the points of a curve are fewer where there are many curves."""
    metrics = {f"group/metric{number}": [1.0 / (step + number + 1) for step in range(1000)] for number in range(30)}
    runs = [record(f"run{number}", metrics, params={"lr": number}) for number in range(15)]
    text = Report(runs).html()
    assert len(text.encode()) < 3_000_000
    assert text.count("<figure>") == 30


def test_texts_of_runs_are_texts(record: Record, client: TestClient) -> None:
    """Markup in names, values and tags is escaped, also in what the dashboard sends; nothing else can be loaded."""
    run = record(MARKUP, {MARKUP: [1.0]}, project=MARKUP, params={MARKUP: MARKUP}, tags={MARKUP: MARKUP})
    answer = client.get("/api/report", params={"run": run.id})
    assert answer.headers["content-disposition"].startswith("attachment")
    assert MARKUP not in answer.text
    assert "&lt;img src=x" in answer.text
    assert "default-src 'none'" in answer.text
    for shown in (run._repr_html_(), run.series(MARKUP)._repr_html_(), run.plot(MARKUP)._repr_html_()):
        assert "<img" not in shown


def test_a_run_has_the_dashboards_colour() -> None:
    """The palettes here and in the dashboard are the same, and so is the place of a run in them."""
    theme = (LIB / "theme.js").read_text(encoding="utf-8")
    for name, colours in (("LIGHT", LIGHT), ("DARK", DARK)):
        listed = theme.partition(f"const {name} = [")[2].partition("]")[0]
        assert tuple(re.findall(r"#[0-9a-f]{6}", listed)) == colours
    assert len(set(LIGHT)) == len(set(DARK)) == 20
    twins = [f"run{number}" for number in range(200) if place(f"run{number}") == 3][:3]
    assert len(set(dashes(twins).values())) == 3


def test_notebooks_show_runs_series_and_stores(record: Record) -> None:
    """HTML with small plots, one line of text elsewhere, and curves by name."""
    run = record("shown", {"loss": [3.0, 1.0, 2.0], "never": [float("nan")]}, params={"lr": 0.1})
    assert repr(run) == f"<tracelet.Run 'shown' {run.id} finished, 2 metrics>"
    assert repr(run.series("loss")) == "<tracelet.Series loss: 3 points, steps 0 to 2, last 2>"
    html = run._repr_html_()
    assert "lr=0.1" in html
    assert html.count("<polyline") == 1
    assert "<path" in run.series("loss")._repr_html_()
    assert "shown" in tracelet.open_store()._repr_html_()
    assert str(run.plot("loss", "never")).startswith("<svg")
    with pytest.raises(KeyError):
        run.plot("nothing")
