"""What the dashboard's API answers: lists, one run, series, files, changes, comparisons."""

from __future__ import annotations

import csv
import io
import math
import os
import time
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

import tracelet
from tests.unit.ui.conftest import BARE, Record
from tracelet.capture.sanitize import storable_text
from tracelet.store import delivery_state
from tracelet.store.delivery_state import Delivery
from tracelet.ui.api.application import Service, application

MARKUP = "<img src=x onerror=alert(1)>"


def test_runs_are_listed_with_the_columns_asked_for(record: Record, client: TestClient) -> None:
    """The list has every run, newest first, with last, least and greatest of the metrics asked for."""
    record("first", {"loss": [3.0, 1.0, 2.0]}, params={"lr": 0.1})
    record("second")
    answer = client.get("/api/runs", params={"metric": "loss", "param": "lr"}).json()
    assert [run["name"] for run in answer["runs"]] == ["second", "first"]
    assert answer["runs"][1]["metrics"] == {"loss": [2.0, 1.0, 3.0]}
    assert answer["runs"][1]["params"] == {"lr": 0.1}
    assert answer["total"] == 2


def test_a_store_in_a_folder_whose_name_is_no_text_is_shown(tmp_path: Path) -> None:
    """Linux names folders by bytes, which need not be UTF-8: the list and the run are answered all the same."""
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    odd.mkdir()
    store = tracelet.open_store(odd / ".tracelet")
    with tracelet.start_logging("odd", config={**BARE, "quiet": True, "dir": str(store.root)}) as experiment:
        experiment.log_metric("loss", 1.0)
    run = store.run("odd")
    delivery_state.write(run.path, Delivery(backend="jsonl", url=str(odd / "x.jsonl")))
    with TestClient(application(Service(store)), base_url="http://127.0.0.1:8765") as client:
        assert [found["name"] for found in client.get("/api/runs").json()["runs"]] == ["odd"]
        (delivery,) = client.get(f"/api/runs/{run.id}").json()["deliveries"]
    assert delivery["url"] == storable_text(str(odd / "x.jsonl"))


def test_runs_are_filtered_by_expression(record: Record, client: TestClient) -> None:
    """Only runs of which the expression is true are listed; one that cannot be meant is answered with a sentence."""
    record("small", params={"lr": 0.001})
    record("large", params={"lr": 0.5})
    answer = client.get("/api/runs", params={"filter": 'lr < 0.01 and status == "finished"'}).json()
    assert [run["name"] for run in answer["runs"]] == ["small"]
    refused = client.get("/api/runs", params={"filter": "__import__('os')"})
    assert refused.status_code == 400
    assert "a filter cannot contain" in refused.json()["error"]


def test_columns_offer_what_runs_differ_in(record: Record, client: TestClient) -> None:
    """Without a choice the columns are logged metrics and the parameters in which runs differ."""
    record("a", {"loss": [1.0]}, params={"lr": 0.1, "same": 1})
    record("b", {"loss": [1.0]}, params={"lr": 0.2, "same": 1})
    answer = client.get("/api/columns").json()
    assert answer["own_metrics"] == ["loss"]
    assert answer["own_params"] == ["lr"]


def test_one_run_has_everything(record: Record, client: TestClient) -> None:
    """A run is answered with status, parameters, tags, metrics and events."""
    run = record("one", {"loss": [1.0, 0.5]}, params={"lr": 0.1}, tags={"team": "a"})
    answer = client.get(f"/api/runs/{run.id}").json()
    assert (answer["status"], answer["params"], answer["tags"]) == ("finished", {"lr": 0.1}, {"team": "a"})
    assert answer["metrics"]["loss"]["min"] == 0.5


@pytest.mark.parametrize("run_id", ["nothing", "..", ".%2e", "%2e%2e%2fetc", "a%00b"])
def test_what_is_no_run_is_not_found(record: Record, client: TestClient, run_id: str) -> None:
    """An id that is no direct child of the store is answered with 404 and no file's content."""
    record("one")
    answer = client.get(f"/api/runs/{run_id}")
    assert answer.status_code == 404


def test_series_mark_what_is_no_number(record: Record, client: TestClient) -> None:
    """NaN and infinities are gaps in the values and stand in lists of their own."""
    run = record("one", {"loss": [1.0, math.nan, math.inf, -math.inf, 2.0]})
    (found,) = client.get("/api/series", params={"run": run.id, "name": "loss"}).json()["series"]
    assert found["y"] == [1.0, None, None, None, 2.0]
    assert (found["nan"], found["up"], found["down"]) == ([1.0], [2.0], [3.0])


def test_series_as_csv_are_exact(record: Record, client: TestClient) -> None:
    """The CSV has every point, floats to the last bit, and comes as a download."""
    values = [0.1, 1e-300, 1 / 3]
    run = record("one", {"loss": values})
    answer = client.get("/api/series", params={"run": run.id, "name": "loss", "format": "csv"})
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [float(row["value"]) for row in rows] == values
    assert answer.headers["content-disposition"].startswith("attachment")


def test_series_as_arrow(record: Record, client: TestClient) -> None:
    """The Arrow stream has the same points as columns."""
    pyarrow = pytest.importorskip("pyarrow")
    run = record("one", {"loss": [1.0, 2.0]})
    answer = client.get("/api/series", params={"run": run.id, "name": "loss", "format": "arrow"})
    assert pyarrow.ipc.open_stream(answer.content).read_all().column("value").to_pylist() == [1.0, 2.0]


def test_a_zoom_gets_finer_points(record: Record, client: TestClient) -> None:
    """The part in sight comes with as many points as were asked for, and a neighbour on either side."""
    run = record("one", {"loss": [float(step % 97) for step in range(5000)]})
    asked = {"run": run.id, "name": "loss", "points": "100"}
    (whole,) = client.get("/api/series", params=asked).json()["series"]
    (part,) = client.get("/api/series", params={**asked, "from": "1000", "to": "1050"}).json()["series"]
    assert len(whole["x"]) <= 100
    assert part["x"] == list(range(999, 1052))


def test_the_first_look_at_a_long_series_does_not_wait_for_the_whole(
    record: Record, service: Service, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has every spike and the true count; meanwhile the whole is unpacked, and a zoom has every point."""
    monkeypatch.setattr("tracelet.ui.series_preview.LONG", 1000)
    values = [float(n % 7) for n in range(5000)]
    values[1234], values[4321] = 99.0, -99.0
    run = record("long", {"m": values})
    asked: dict[str, Any] = {"run": run.id, "name": "m", "points": 100}
    assert service.series_cache.awaits(run, "m") == 5000
    (first,) = client.get("/api/series", params=asked).json()["series"]
    assert (first["count"], first["total"]) == (5000, 5000)
    assert len(first["x"]) <= 100
    assert {(1234, 99.0), (4321, -99.0), (0, 0.0), (4999, values[-1])} <= set(zip(first["steps"], first["y"]))
    deadline = time.monotonic() + 30
    while service.series_cache.awaits(run, "m") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert service.series_cache.bytes > 5000 * 8
    (zoomed,) = client.get("/api/series", params={**asked, "from": 1230, "to": 1239}).json()["series"]
    assert zoomed["y"] == values[1229:1241]
    (epochs,) = client.get("/api/series", params={**asked, "x": "epoch"}).json()["series"]
    assert epochs["total"] == 5000


def test_runs_are_renamed_and_tagged_without_touching_journals(record: Record, client: TestClient) -> None:
    """A new name and tags are seen in the list, an empty tag is taken away, and no journal changes."""
    run = record("one", tags={"team": "a"})
    before = {view.path: view.path.read_bytes() for view in run.views}
    assert client.patch(f"/api/runs/{run.id}", json={"name": MARKUP, "tags": {"team": "", "best": "yes"}}).is_success
    (listed,) = client.get("/api/runs").json()["runs"]
    assert (listed["name"], listed["tags"]) == (MARKUP, {"best": "yes"})
    assert {path: path.read_bytes() for path in before} == before


def test_pins_are_seen_by_all_readers(record: Record, client: TestClient) -> None:
    """A pin stands beside the run's name and tags, where every reader of the store sees it; no journal changes."""
    run = record("one", tags={"team": "a"})
    before = {view.path: view.path.read_bytes() for view in run.views}
    client.patch(f"/api/runs/{run.id}", json={"name": "other"})
    assert client.patch(f"/api/runs/{run.id}", json={"pinned": True}).is_success
    assert client.get("/api/runs").json()["runs"][0]["pinned"] is True
    assert (run.info.pinned, run.info.name, run.info.original_name, run.tags) == (True, "other", "one", {"team": "a"})
    client.patch(f"/api/runs/{run.id}", json={"pinned": False, "tags": {"team": ""}})
    assert client.get("/api/runs").json()["runs"][0]["pinned"] is False
    assert (run.info.pinned, run.info.name, run.tags) == (False, "other", {})
    assert {path: path.read_bytes() for path in before} == before


def test_deleting_needs_the_id_twice(record: Record, client: TestClient) -> None:
    """Without the confirmation nothing is deleted; with it the folder is gone."""
    run = record("one")
    assert client.delete(f"/api/runs/{run.id}").status_code == 400
    assert run.path.exists()
    assert client.delete(f"/api/runs/{run.id}", params={"confirm": run.id}).is_success
    assert not run.path.exists()


def test_a_link_is_not_deleted(record: Record, client: TestClient, tmp_path: Path) -> None:
    """A run's folder that is a link to somewhere else is left alone, and so is what it leads to."""
    run = record("one")
    elsewhere = tmp_path / "elsewhere"
    run.path.rename(elsewhere)
    run.path.symlink_to(elsewhere)
    assert client.delete(f"/api/runs/{run.id}", params={"confirm": run.id}).status_code == 409
    assert list(elsewhere.glob("*.tlj"))


def test_a_run_that_goes_on_is_not_deleted(client: TestClient) -> None:
    """A run that is going on is not deleted."""
    with tracelet.start_logging("live", config={**BARE, "quiet": True}) as experiment:
        answer = client.delete(f"/api/runs/{experiment.id}", params={"confirm": experiment.id})
        assert answer.status_code == 409
        assert "still running" in answer.json()["error"]


def test_read_only_changes_nothing(record: Record) -> None:
    """With read_only every change is refused."""
    run = record("one")
    client = TestClient(application(Service(tracelet.open_store(), read_only=True)))
    answers = [
        client.patch(f"/api/runs/{run.id}", json={"name": "other"}),
        client.patch(f"/api/runs/{run.id}", json={"pinned": True}),
        client.delete(f"/api/runs/{run.id}", params={"confirm": run.id}),
    ]
    assert [answer.status_code for answer in answers] == [409, 409, 409]
    assert tracelet.open_store().run(run.id).info.name == "one"


def test_artifacts_come_as_downloads(record: Record, client: TestClient, tmp_path: Path) -> None:
    """A file that is a web page is sent to be saved, never to be shown."""
    page = tmp_path / "page.html"
    page.write_text("<script>alert(1)</script>")
    run = record("one", artifact=page)
    answer = client.get(f"/api/runs/{run.id}/artifacts/0")
    assert answer.text == "<script>alert(1)</script>"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_files_outside_the_run_are_not_served(record: Record, client: TestClient, tmp_path: Path) -> None:
    """What a link in the run's folder leads to is not served."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    run = record("one", artifact=secret)
    (kept,) = [path for path in (run.path / "artifacts").rglob("*") if path.is_file()]
    kept.unlink()
    kept.symlink_to(secret)
    answer = client.get(f"/api/runs/{run.id}/artifacts/0")
    assert answer.status_code == 404
    assert "outside" in answer.json()["error"]


def test_comparing_names_what_differs(record: Record, client: TestClient) -> None:
    """Of two runs every parameter and metric stands side by side, those that differ marked."""
    ids = [record(name, {"loss": [last]}, params={"lr": last, "same": 1}).id for name, last in (("a", 0.1), ("b", 0.2))]
    answer = client.get("/api/compare", params={"run": ids}).json()
    assert {row["name"]: row["differs"] for row in answer["params"]} == {"lr": True, "same": False}
    assert [value["last"] for value in answer["metrics"][0]["values"]] == [0.1, 0.2]


def test_a_run_that_goes_on_is_read_further(client: TestClient) -> None:
    """What a running program logs later is in the series that is asked for later, nothing lost or doubled."""
    with tracelet.start_logging("live", config={**BARE, "quiet": True, "flush_interval": 0.05}) as experiment:
        for deadline in (100, 200, 300):
            for step in range(deadline - 100, deadline):
                experiment.log_metric("loss", float(step), step)
            found: list[float] = []
            while len(found) < deadline:
                series = client.get("/api/series", params={"run": experiment.id, "name": "loss"}).json()["series"]
                found = series[0]["y"] if series else []
            assert found == [float(number) for number in range(deadline)]


def test_the_page_about_the_api_lists_every_route(client: TestClient) -> None:
    """The page about the API has every route, and loads nothing from anywhere."""
    page = client.get("/api/docs").text
    paths = client.get("/api/openapi.json").json()["paths"]
    assert [path for path in paths if path not in page] == []
    assert "http" not in page.replace("http-equiv", "")


@pytest.mark.parametrize("side", ["from", "to"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_range_that_is_no_number_is_refused(record: Record, client: TestClient, side: str, value: str) -> None:
    """The answer says which parameter is wrong; nothing fails inside."""
    run = record("one", {"loss": [1.0, 2.0]})
    answer = client.get("/api/series", params={"run": run.id, "name": "loss", side: value})
    assert (answer.status_code, side in answer.text) == (422, True)


def test_a_name_that_is_no_text_can_be_given(record: Record, client: TestClient) -> None:
    """Half of a surrogate pair in a new name or tag is replaced, not an error of the server."""
    run = record("one")
    body = '{"name": "a\\ud800", "tags": {"b\\ud800": "c\\ud800"}}'
    answer = client.patch(f"/api/runs/{run.id}", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200
    assert tracelet.open_store().run(run.id).info.name.startswith("a")


def test_a_metric_that_is_requested_twice_comes_once(record: Record, client: TestClient) -> None:
    """Repeated names and runs give each point one row."""
    run = record("one", {"loss": [1.0, 2.0]})
    once = client.get("/api/series", params={"run": run.id, "name": "loss", "format": "csv"})
    twice = client.get("/api/series", params={"run": [run.id] * 2, "name": ["loss"] * 2, "format": "csv"})
    assert twice.text == once.text


def test_a_metric_is_drawn_along_the_axis_that_the_program_defined(client: TestClient) -> None:
    """Another metric's latest value at a point's step is its position; points before its first value have none."""
    with tracelet.start_logging("along", config={**BARE, "quiet": True}) as experiment:
        for step in range(6):
            experiment.log_metric("loss", 1.0 / (step + 1), step)
            if step in (2, 4):
                experiment.log_metric("samples", 100.0 * step, step)
        tracelet.define_metric("loss", x="samples")
        tracelet.define_metric("samples", x="nowhere")
    asked = {"run": experiment.id, "name": ["loss", "samples"]}
    loss, samples = client.get("/api/series", params=asked).json()["series"]
    assert (loss["axis"], loss["x"], loss["steps"]) == ("samples", [200.0, 200.0, 400.0, 400.0], [2, 3, 4, 5])
    assert (samples["axis"], samples["x"]) == ("step", [2, 4])
    part = client.get("/api/series", params={**asked, "name": "loss", "from": 300, "to": 500}).json()["series"][0]
    assert part["steps"] == [3, 4, 5]
    assert client.get("/api/series", params={**asked, "name": "loss", "x": "step"}).json()["series"][0]["x"][0] == 0


def test_an_epoch_axis_invents_no_epochs(record: Record, client: TestClient) -> None:
    """Points outside an epoch have no place on the axis of epochs."""
    run = record("plain", {"loss": [1.0, 2.0]})
    (found,) = client.get("/api/series", params={"run": run.id, "name": "loss", "x": "epoch"}).json()["series"]
    assert (found["x"], found["y"], found["total"]) == ([], [], 2)


def test_goals_are_kept_with_the_run(record: Record, client: TestClient) -> None:
    """A goal set in the dashboard marks comparisons and is what the reader says; an unknown word is refused."""
    runs = [record(name, {"wer": [value]}) for name, value in (("a", 0.3), ("b", 0.2))]
    assert client.patch(f"/api/runs/{runs[0].id}", json={"goals": {"wer": "min"}}).status_code == 200
    (row,) = client.get("/api/compare", params={"run": [run.id for run in runs]}).json()["metrics"]
    assert row["goal"] == "min"
    assert client.get(f"/api/runs/{runs[0].id}").json()["metrics"]["wer"]["goal"] == "min"
    assert tracelet.open_store().run("a").metric("wer").goal == "min"
    refused = client.patch(f"/api/runs/{runs[0].id}", json={"goals": {"wer": "lower"}})
    assert (refused.status_code, "a goal is min, max" in refused.json()["error"]) == (409, True)
