"""What the API answers of printed lines, of events, and of how the code of two runs differs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import tracelet
from tests.unit.ui.conftest import BARE, Record

TEXT = "<script>alert(1)</script>"


@pytest.fixture
def run_id() -> str:
    """A run that printed a hundred lines and one on the other stream."""
    with tracelet.start_logging("printing", config={**BARE, "quiet": True}) as experiment:
        for number in range(100):
            print(f"line {number}")
        print(TEXT, file=sys.stderr)
        experiment.flush()
    return experiment.id


def test_the_last_lines_are_answered_and_earlier_ones_when_asked(client: TestClient, run_id: str) -> None:
    """Without a place the answer ends with the last line, with one right before it."""
    answer = client.get(f"/api/runs/{run_id}/console", params={"limit": 10}).json()
    assert (answer["start"], answer["matching"], answer["total"], answer["ranks"]) == (91, 101, 101, [0])
    assert [line["text"] for line in answer["lines"]] == [*(f"line {number}" for number in range(91, 100)), TEXT]
    earlier = client.get(f"/api/runs/{run_id}/console", params={"limit": 10, "before": 91}).json()
    assert [line["text"] for line in earlier["lines"]] == [f"line {number}" for number in range(81, 91)]


def test_lines_are_found_by_text_and_stream_and_saved_as_text(client: TestClient, run_id: str) -> None:
    """A search is for text in any case, a stream is one of two, and the whole comes as a file of text."""
    found = client.get(f"/api/runs/{run_id}/console", params={"search": "LINE 9"}).json()
    assert [line["text"] for line in found["lines"]] == ["line 9", *(f"line {number}" for number in range(90, 100))]
    (line,) = client.get(f"/api/runs/{run_id}/console", params={"stream": "stderr"}).json()["lines"]
    assert (line["text"], line["stream"]) == (TEXT, "stderr")
    saved = client.get(f"/api/runs/{run_id}/console", params={"format": "text"})
    assert saved.text.splitlines() == [*(f"line {number}" for number in range(100)), TEXT]
    assert saved.headers["content-disposition"].startswith("attachment")
    assert client.get(f"/api/runs/{run_id}/console", params={"stream": "other"}).status_code == 422


def test_events_without_bookkeeping_unless_asked(client: TestClient) -> None:
    """Of what telemetry notes for itself nothing is told, unless all events are asked for."""
    with tracelet.start_logging("telling", config={**BARE, "track_spans": True, "quiet": True}) as experiment:
        experiment.log_metric("loss", 1.0, 0)
    known = {event.name for event in tracelet.open_store().run(experiment.id).events()}
    told = {event["name"] for event in client.get(f"/api/runs/{experiment.id}").json()["events"]}
    asked = client.get(f"/api/runs/{experiment.id}", params={"events": "all"}).json()
    assert {event["name"] for event in asked["events"]} == known
    assert told < known


def test_code_of_two_runs(record: Record, client: TestClient, tmp_path: Path) -> None:
    """Runs without git are told apart from runs with the same code; an unknown run is not found."""
    first, second = record("first"), record("second")
    answer = client.get("/api/compare/code", params={"first": first.id, "second": second.id}).json()
    assert answer == {
        "description": "The code of the first run and the second run was not recorded.", "text": "", "truncated": False,
    }  # fmt: skip
    assert client.get("/api/compare/code", params={"first": first.id, "second": "none"}).status_code == 404
