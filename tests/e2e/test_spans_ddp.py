"""The spans of a training on two ranks, delivered while it goes on: of every rank, each once, under its parent."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import tracelet
from tests.environments import lightning_python
from tests.servers.collector import collecting, plain
from tracelet.cli import main
from tracelet.store.run import Run
from tracelet.telemetry.reading import onelogger_export, perfetto_export

OTLP = "opentelemetry-exporter-otlp-proto-http"
TRAINING = Path(__file__).with_name("ddp_training.py")
SETTINGS = {
    "TRACELET_QUIET": "1", "TRACELET_DELIVERY": "agent", "TRACELET_TRACK_SYSTEM": "0", "TRACELET_TRACK_GIT": "0",
    "TRACELET_TRACK_ENV": "0", "OMP_NUM_THREADS": "1", "TRACELET_BACKEND": "otlp,onelogger",
}  # fmt: skip


def in_store(run: Run) -> Counter[tuple[int, str, str]]:
    """(rank, name, parent's name) of every span."""
    table = run.spans()
    spans = list(zip(table.ranks.tolist(), table))
    names = {(rank, span.id): span.name for rank, span in spans}
    return Counter((rank, span.name, names.get((rank, span.parent), "")) for rank, span in spans)


def at_collector(received: list[tuple[dict[str, Any], Any]]) -> Counter[tuple[int, str, str]]:
    """The same of what arrived, where each span id may come once."""
    names = {span.span_id: span.name for _, span in received}
    assert len(names) == len(received)
    for resource, span in received:
        assert plain(span.attributes)["tracelet.rank"] == resource["tracelet.rank"]
    return Counter(
        (resource["tracelet.rank"], span.name, names[span.parent_span_id] if span.parent_span_id else "")
        for resource, span in received
    )


def spans_of(records: list[dict[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """What the lines say of each span."""
    found: dict[str, dict[str, Any]] = {}
    for record in records:
        if "id" in record:
            known = found.setdefault(record["id"], {})
            assert not known.keys() & record.keys() - {"type", "id", "name", "parent_id", "attributes", "pid", "rank",
                                                       "count"}  # fmt: skip
            known.update(record)
    return {
        number: tuple(one.get(key) for key in ("name", "parent_id", "rank", "pid", "start_ns", "duration_ns"))
        for number, one in found.items()
    }  # fmt: skip


def events_of(records: list[dict[str, Any]]) -> Counter[str]:
    """Events and errors with their spans and attributes."""
    return Counter(json.dumps([one["span_id"], one["event"]], sort_keys=True) for one in records if "event" in one)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "ddp_fork"])
def test_every_rank_is_delivered(strategy: str) -> None:
    """A collector and a file of JSON lines have the spans and events of both ranks, each once, as in the store."""
    with collecting() as collector:
        done = subprocess.run(
            [lightning_python(OTLP), str(TRAINING), strategy, "2"],
            capture_output=True, text=True, timeout=280, check=False,
            env={**os.environ, **SETTINGS, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        (run,) = tracelet.open_store().runs()
        assert {name: delivery.state for name, delivery in run.deliveries.items()} == {
            "otlp": "done", "onelogger": "done",
        }  # fmt: skip
        received = collector.with_resources()
    expected = in_store(run)
    assert {rank for rank, _, _ in expected} == {0, 1}
    assert at_collector(received) == expected
    events = Counter(event.name for _, span in received for event in span.events if event.name != "exception")
    assert events == Counter(event.name for event in run.events() if event.span)
    (path,) = (run.path.parents[1] / "onelogger").glob("*.jsonl")
    live = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    whole = list(onelogger_export.lines(run))
    assert spans_of(live) == spans_of(whole) and events_of(live) == events_of(whole)
    assert [record["count"] for record in live] == list(range(1, len(live) + 1))
    look_at(run, launched=strategy == "ddp_fork")


def look_at(run: Run, launched: bool) -> None:
    """`tracelet time` shows the ranks that train, and not who launched them; the timeline keeps all processes apart."""
    page = CliRunner().invoke(main, ["time", run.id]).output
    assert "Rank 0\n" in page and "Rank 1\n" in page and ("not shown: 1 of 3 processes" in page) == launched
    events = list(perfetto_export.trace_events(run))
    named = [event for event in events if event["name"] == "process_name"]
    assert len({event["pid"] for event in named}) == len({event["args"]["name"] for event in named}) == 2 + launched
