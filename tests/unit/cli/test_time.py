"""`tracelet time` and `tracelet trace` on runs of a plain loop."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

import tracelet
from tracelet import telemetry
from tracelet.cli import main
from tracelet.journal.column_packing import list_integers, pack_integers
from tracelet.journal.journal_reader import JournalReader
from tracelet.journal.journal_writer import JournalWriter
from tracelet.journal.records import Record, Span, Spans
from tracelet.journal.run_folder import journal_path
from tracelet.redaction.known_secrets import redact
from tracelet.session.backend_arguments import with_span_selection

SETTINGS = {
    "track_git": False, "track_env": False, "track_lightning": False, "delivery": "off", "quiet": True,
    "metrics_interval": 0.05,
}  # fmt: skip


@pytest.fixture
def trained() -> str:
    """The id of a run of a few iterations, with machine figures."""
    with tracelet.start_logging("trained", config=SETTINGS) as experiment:
        with telemetry.training_loop():
            for _ in range(6):
                with telemetry.training_iteration():
                    with telemetry.data_loading():
                        time.sleep(0.02)
                    with telemetry.model_forward():
                        time.sleep(0.01)
        with pytest.raises(ValueError, match="no"), tracelet.span("failing", odd=float("nan")):
            raise ValueError("no")
    return experiment.id


def invoked(*arguments: str) -> str:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


def test_time(trained: str) -> None:
    """The table names the parts with seconds and shares, the slowest iterations and the goodput."""
    page = invoked("time", trained)
    for word in ("loading", "forward", "other", "goodput", "Slowest iterations", "Findings", "6 iterations"):
        assert word in page


def test_time_without_iterations() -> None:
    """A program without a training loop is told how to show one, not that it trained badly."""
    with tracelet.start_logging("untold", config=SETTINGS), tracelet.span("work"):
        pass
    page = invoked("time", "latest")
    assert "No training iterations were recorded" in page and "training_iteration()" in page
    assert "goodput" not in page and "an iteration" not in page and "third" not in page


def test_time_of_iterations_without_phases() -> None:
    """Iterations whose phases nobody timed are productive as a whole."""
    with tracelet.start_logging("bare", config=SETTINGS), telemetry.training_loop():
        for _ in range(3):
            with telemetry.training_iteration():
                time.sleep(0.001)
    page = invoked("time", "latest")
    assert "3 iterations" in page and "Slowest iterations" in page
    assert "goodput" in page and "productive" in page and "0.000 s" not in page


def test_time_as_json(trained: str) -> None:
    """JSON has the same figures for programs."""
    found = json.loads(invoked("time", "latest", "--json"))
    (process,) = found["processes"]
    assert process["iterations"] == 6 and process["rank"] == 0
    assert process["parts"]["loading"] >= 0.12 and process["parts"]["forward"] >= 0.06
    assert sum(process["parts"].values()) == pytest.approx(process["total"])
    assert process["parts"]["loading"] > process["parts"]["forward"] and 0 < process["goodput"] < 1


def test_time_of_many_ranks(trained: str) -> None:
    """Of more than two processes one table tells the mean and the ranks with the least and the most; `--rank` asks for
    one of them.
    """
    folder = tracelet.open_store().run(trained).path
    (first,) = folder.glob("rank-0.*.tlj")
    records = [frame.record() for frame in JournalReader(first).frames()]
    for rank in (1, 2, 3):
        journal = JournalWriter.create(journal_path(folder, f"rank-{rank}", 0), redact)
        others = [msgspec.structs.replace(records[0], rank=rank, world_size=4), *slower(records[1:], rank)]
        journal.append(others)
        journal.close()
    page = invoked("time", trained)
    assert "4 processes (show one of them: --rank N)" in page
    (row,) = [line.split() for line in page.splitlines() if line.startswith("loading")]
    assert row[-3] == "0" and row[-1] == "3" and float(row[-2]) > float(row[1]) > float(row[-4]) > 0.1
    (row,) = [line.split() for line in invoked("time", trained, "--rank", "0").splitlines() if line[:7] == "loading"]
    assert "4 processes" not in invoked("time", trained, "--rank", "2") and float(row[1]) > 0.1
    result = CliRunner().invoke(main, ["time", trained, "--rank", "9"])
    assert result.exit_code == 2 and "no spans of rank 9" in result.output


def slower(records: list[Record], rank: int) -> list[Record]:
    """The same spans, `rank` + 1 times as long and as far apart; the rest is left out."""
    spans = [record for record in records if isinstance(record, Span | Spans)]
    starts = [[one.start_ns] if isinstance(one, Span) else list_integers(one.starts, one.count) for one in spans]
    origin = min(map(min, starts))
    found: list[Record] = []
    for record, before in zip(spans, starts):
        moved = [origin + (start - origin) * (rank + 1) for start in before]
        if isinstance(record, Span):
            longer = max(-1, record.duration_ns * (rank + 1))  # -1 while it is open
            found.append(msgspec.structs.replace(record, start_ns=moved[0], duration_ns=longer))
        else:
            durations = [value * (rank + 1) for value in list_integers(record.durations, record.count)]
            columns = {"starts": pack_integers(moved), "durations": pack_integers(durations)}
            found.append(msgspec.structs.replace(record, **columns))
    return found


def test_a_run_without_spans() -> None:
    """A run without spans is answered with a sentence and exit code 2."""
    with tracelet.start_logging("bare", config={**SETTINGS, "track_spans": False}):
        pass
    result = CliRunner().invoke(main, ["time", "latest"])
    assert result.exit_code == 2 and "has no spans" in result.output


def events_of(path: Path) -> list[dict[str, Any]]:
    found = json.loads(path.read_text(encoding="utf-8"))
    events: list[dict[str, Any]] = found["traceEvents"]
    return events


def test_trace(trained: str, tmp_path: Path) -> None:
    """The timeline holds every span at its time, events, threads with names, and the machine's counters."""
    path = tmp_path / "trace.json"
    invoked("trace", trained, "-o", str(path))
    events = events_of(path)
    spans = {(event["name"], event["args"]["id"]): event for event in events if event["ph"] == "X"}
    table = tracelet.open_store().run(trained).spans()
    assert len(spans) == len(table)
    begun = tracelet.open_store().run(trained).info.started
    for span in table:
        event = spans[span.name, span.id]
        assert event["dur"] == pytest.approx(span.duration_ns / 1000)
        assert event["ts"] == pytest.approx(span.start_ns / 1000 - begun * 1e6, abs=1)
    (failing,) = [event for event in events if event["name"] == "failing"]
    assert failing["args"]["error"] == "ValueError: no" and failing["args"]["odd"] == "nan"
    assert {event["name"] for event in events if event["ph"] == "i"} >= {"one_logger_initialization"}
    assert any(event["ph"] == "C" and event["name"].startswith("system/") for event in events)
    named = {event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert named == {"training"}


def test_trace_to_standard_output(trained: str) -> None:
    """Without a file the timeline goes to standard output, and names choose spans."""
    found = json.loads(invoked("trace", trained, "--spans", "training_loop,application"))
    assert {event["name"] for event in found["traceEvents"] if event["ph"] == "X"} == {"application", "training_loop"}


def test_names_from_the_settings(trained: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names come from the settings where the command line says nothing, and the otlp backend gets them as options."""
    monkeypatch.setenv("TRACELET_SPANS_DENY", "data_loading, training_single_iteration")
    found = json.loads(invoked("trace", trained))
    names = {event["name"] for event in found["traceEvents"] if event["ph"] == "X"}
    assert "model_forward" in names and not names & {"data_loading", "training_single_iteration"}
    assert "data_loading" in invoked("trace", trained, "--deny", "")
    given = with_span_selection({"otlp": {"spans": "mine"}, "jsonl": {}}, "other", "x,y")
    assert given == {"otlp": {"spans": "mine", "spans_deny": "x,y"}, "jsonl": {}}
    assert with_span_selection({"jsonl": {}}, "a", "b") == {"jsonl": {}}


def test_a_file_that_cannot_be_written(trained: str, tmp_path: Path) -> None:
    """A folder that is not there is answered with a sentence."""
    result = CliRunner().invoke(main, ["trace", trained, "-o", str(tmp_path / "no" / "trace.json")])
    assert result.exit_code == 2 and "cannot be written" in result.output


def test_errors_as_lines(trained: str) -> None:
    """In nv-one-logger's lines an error is an application_error before its span's stop."""
    lines = [json.loads(line) for line in invoked("trace", trained, "-f", "onelogger").splitlines()]
    place = next(number for number, line in enumerate(lines) if line["type"] == "application_error")
    assert lines[place]["event"]["attributes"]["exception_type"] == "ValueError"
    assert lines[place + 1]["type"] == "stop" and lines[place + 1]["name"] == "failing"


def test_trace_of_spans_that_there_are_none_of(trained: str, tmp_path: Path) -> None:
    """A name that the run has no span of is an error that lists those there are, and no file is written."""
    output = tmp_path / "trace.json"
    for names, told in (("nosuch", "Available: "), ("training_iteration,failng", "'failng'. Did you mean: failing")):
        result = CliRunner().invoke(main, ["trace", trained, "--spans", names, "-o", str(output)])
        assert result.exit_code == 2
        assert told in result.stderr
    assert not output.exists()
