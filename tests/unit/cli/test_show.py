"""`tracelet show`: what the page of a run tells."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import tracelet
from tracelet.capture.sink import SeriesKey
from tracelet.journal.journal_writer import JournalWriter
from tracelet.journal.records import Artifact, Event, Facts, Params, Started
from tracelet.redaction.known_secrets import redact
from tracelet.store.run import Run

Record = Callable[..., Run]
Call = Callable[..., Result]

BARE = {f"track_{name}": False for name in ("lightning", "tensorboard", "system", "git", "env", "spans")}
"""Nothing but what the test logs."""


def test_the_page_tells_the_run(record: Record, call: Call) -> None:
    """Name, project, parameters, tags and every metric with last, least, greatest and count are on the page."""
    run = record("small", {"loss": [2.0, 0.5, 1.0]}, project="vision", params={"lr": 0.125}, tags={"kind": "try"})
    output = call("show", run.id).output
    assert output.splitlines()[0].split() == ["small", run.id, "vision"]
    assert "lr  0.125" in output
    assert "kind=try" in output
    row = next(line for line in output.splitlines() if line.strip().startswith("loss"))
    assert row.split()[:7] == ["loss", "1", "0.5", "@1", "2", "@0", "3"]
    assert row.split()[7] == "█▁▃"


def test_parameters_of_the_user_come_first_and_are_all_shown(call: Call) -> None:
    """Groups of the user named as those of frameworks are shown, before what frameworks add."""
    given = {"model/hidden": 64, "trainer/nodes": 2}
    experiment = tracelet.start_logging("grouped", params=given, config={**BARE, "quiet": True})
    experiment._writer.emit(Params(time=1, values={"data/workers": 4, "data/batch_size": 8}, source="data"))
    experiment._writer.emit(Params(time=1, values={"args/width": 4}, source="argparse"))
    experiment.stop()
    lines = [line.split() for line in call("show", "grouped").output.splitlines() if line.startswith("  ")]
    assert [line for line in lines if "/" in line[0]] == [
        ["model/hidden", "64", "user"], ["trainer/nodes", "2", "user"], ["args/width", "4", "argparse"],
        ["data/batch_size", "8", "data"],
    ]  # fmt: skip
    sources = tracelet.open_store().run("grouped").param_sources
    assert sources == {
        **dict.fromkeys(given, "user"), "data/workers": "data", "data/batch_size": "data", "args/width": "argparse",
    }  # fmt: skip


def test_a_checkpoint_without_a_step(call: Call, tmp_path: Path) -> None:
    """A checkpoint whose step is unknown is shown with its size and path."""
    experiment = tracelet.start_logging("checkpoints", config={**BARE, "quiet": True})
    experiment._writer.emit(Artifact(time=1, name="net.pt", path="/kept/net.pt", size=2048, kind="checkpoint"))
    experiment.stop()
    (line,) = [line for line in call("show", "checkpoints").output.splitlines() if "/kept/net.pt" in line]
    assert "step" not in line


def test_a_tree_whose_diff_failed_is_unknown(call: Call) -> None:
    """Where git could not compare the working tree, the page does not say that it is clean."""
    experiment = tracelet.start_logging("unknown", config={**BARE, "quiet": True})
    experiment._writer.emit(Facts(time=1, topic="git", values={"commit": "a" * 40, "incomplete": ["diff"]}))
    experiment.stop()
    (tree,) = [line for line in call("show", "unknown").output.splitlines() if line.split()[:1] == ["tree"]]
    assert "unknown" in tree
    assert "clean" not in tree


@pytest.mark.parametrize("name", ["latest", "small"])
def test_a_run_has_several_names(record: Record, call: Call, name: str) -> None:
    """A run is found by its name and as the latest."""
    record("other")
    run = record("small")
    assert run.id in call("show", name).output


def test_a_failed_run_shows_its_traceback(record: Record, call: Call) -> None:
    """The status says why, and Python's traceback is printed."""
    record("bad", error=ZeroDivisionError("by zero"))
    output = call("show", "bad").output
    assert "failed: ZeroDivisionError: by zero" in output
    assert "Traceback" in output
    found = json.loads(call("show", "bad", "--json").output)
    assert found["traceback"].endswith("ZeroDivisionError: by zero\n")


def test_one_metric_is_drawn_wide(record: Record, call: Call) -> None:
    """--metric draws the series over the width of the terminal, gaps where it is NaN."""
    record("wave", {"x": [0.0, float("nan"), 1.0, 1.0], "y": [1.0]})
    output = call("show", "wave", "--metric", "x").output
    assert "▁ ██" in output
    assert "y" not in output.split()


def test_a_terminal_without_blocks_gets_ascii(record: Record, call: Call) -> None:
    """An encoding without block characters gets a plot that it can show."""
    record("plain", {"x": [0.0, 1.0]})
    output = call("show", "plain", "--metric", "x", charset="ascii").output
    assert output.isascii()
    assert "_#" in output


def test_an_unknown_metric_names_the_nearest(record: Record, call: Call) -> None:
    """A misspelt metric is an error with exit code 2 that names what is near."""
    record("run", {"train/loss": [1.0]})
    assert "train/loss" in call("show", "run", "--metric", "train/los", code=2).stderr


def test_an_unknown_run_says_where_to_look(call: Call) -> None:
    """One line on stderr and exit code 2, no traceback."""
    result = call("show", "nothing", code=2)
    assert result.stderr.count("\n") == 1
    assert "tracelet ls" in result.stderr


def test_files_and_events_are_listed(call: Call, tmp_path: Path) -> None:
    """Checkpoints are listed with the best marked, those replaced counted, artifacts and fits told."""
    experiment = tracelet.start_logging("files", config={"track_system": False, "track_git": False, "quiet": True})
    kept = tmp_path / "plot.txt"
    kept.write_text("12345")
    experiment.log_artifact(kept)
    for step, score in ((1, 0.5), (2, 0.25), (3, 0.75)):
        metadata = {"step": step, "monitor": "loss", "score": score, "best": score < 0.6}
        path = f"/somewhere/{step}.ckpt"
        experiment._writer.emit(
            Artifact(time=step, name=f"{step}.ckpt", path=path, kind="checkpoint", metadata=metadata)
        )
    experiment._writer.emit(Event(time=4, name="checkpoint_removed", attributes={"path": "/somewhere/1.ckpt"}))
    attributes = {"kind": "fit", "number": 1, "status": "finished", "seconds": 2.0, "epochs": 3}
    experiment._writer.emit(Event(time=5, name="fit_finished", attributes=attributes))
    experiment.stop()
    lines = call("show", "files").output.splitlines()
    assert [("best" in line) for line in lines if "/somewhere/" in line] == [True, False]
    assert any("1 replaced by later checkpoints" in line for line in lines)
    assert any("plot.txt" in line and "5 B" in line for line in lines)
    assert any("fit 1 finished after 2.0s, 3 epochs" in line for line in lines)


def test_machine_series_wait_for_all_and_bytes_have_units(call: Call) -> None:
    """The page counts what was recorded automatically; `--all` shows it."""
    experiment = tracelet.start_logging("machine", config={**BARE, "quiet": True})
    experiment.log_metric("loss", 1.0)
    experiment._writer.emit((SeriesKey("system/memory_bytes", automatic=True), 0, 76_700_000_000.0, 1.0, -1, None))
    experiment.stop()
    assert "memory_bytes" not in call("show", "machine").output
    assert "1 recorded automatically; --all" in call("show", "machine").output
    assert "76.7 GB" in call("show", "machine", "--all").output


def test_a_plot_has_lines_and_a_scale(record: Record, call: Call) -> None:
    """`--metric` draws a chart of twelve lines; the highest column reaches the top one, the lowest the bottom one."""
    record("large", {"loss": [float(value) for value in range(50)]})
    lines = call("show", "large", "--metric", "loss", env={"COLUMNS": "80"}).output.splitlines()
    top = next(place for place, line in enumerate(lines) if line.split()[:1] == ["49"])
    assert lines[top].endswith("█")
    assert lines[top + 11].split()[0] == "0"
    assert "step 0" in lines[top + 12]
    assert lines[top + 12].split()[-1] == "49"


def test_telemetry_does_not_flood_the_page(call: Call) -> None:
    """The bookkeeping of telemetry is left out and counted; of the program's own events the latest 20 are shown."""
    experiment = tracelet.start_logging("busy", config={**BARE, "quiet": True})
    for number in range(300):
        for name in ("validation_metrics_update", "save_checkpoint_success", "sync_checkpoint_metrics_update"):
            experiment._writer.emit(Event(time=number, name=name, attributes={"current_iteration": number}))
    for number in range(25):
        experiment._writer.emit(Event(time=1000 + number, name="mine", attributes={"number": number}))
    experiment._writer.emit(Event(time=2000, name="early_stopping", attributes={"reason": "no better"}))
    experiment.stop()
    page = call("show", "busy").output
    assert "_update" not in page
    assert "save_checkpoint" not in page
    assert [f"number={number}" in page for number in (5, 6, 24)] == [False, True, True]
    assert "early_stopping reason=no better" in page
    assert "906 more; --all shows them" in page
    assert call("show", "busy", "--all").output.count("validation_metrics_update") == 300


def test_json_has_everything(record: Record, call: Call) -> None:
    """--json holds the fields, summaries with exact numbers, and lists for what the run has none of."""
    third = 1 / 3
    run = record("exact", {"x": [third, float("inf")]}, params={"a": {"b": None}})
    found = json.loads(call("show", "exact", "--json").output)
    assert found["id"] == run.id
    assert found["params"] == {"a/b": None}
    assert found["metrics"]["x"]["min"] == third
    assert found["metrics"]["x"]["last"] == "Infinity"
    assert found["artifacts"] == found["problems"] == []


def test_deliveries_are_told(record: Record, call: Call) -> None:
    """How far a backend has got is on the page and in the JSON."""
    record("sent", {"x": [1.0, 2.0]}, backend="jsonl", config={**BARE, "quiet": True, "delivery": "inline"})
    found = json.loads(call("show", "sent", "--json").output)["deliveries"]["jsonl"]
    assert (found["points"], found["error"]) == (2, "")
    line = next(line for line in call("show", "sent").output.splitlines() if line.startswith("  jsonl"))
    assert f"{found['state']}, 2 points" in line


def test_problems_are_shown(record: Record, call: Call) -> None:
    """A journal that cannot be read is said on the page of its run."""
    run = record("torn", {"x": [1.0]})
    (run.path / "rank-1.tlj").write_bytes(b"this is no journal")
    damaged = tracelet.open_store().run(run.id)
    output = call("show", run.id).output.split()
    assert all("".join(sentence.split()) in "".join(output) for sentence in damaged.problems)  # long lines are folded


def test_events_of_several_ranks_say_whose_they_are(record: Record, call: Call) -> None:
    """Where a run has several ranks, each event stands after its rank; where it has one, it does not."""
    run = record("wide", {"x": [1.0]})
    started = run.views[0].started
    assert started is not None
    attributes = {"kind": "fit", "number": 1, "status": "finished", "seconds": 2.0}
    event = Event(time=started.time, name="fit_finished", attributes=attributes)
    journal = JournalWriter.create(run.path / "rank-1.tlj", redact)
    journal.append([Started(run=run.id, name="wide", project="", time=started.time, host="", pid=1, rank=1), event])
    journal.close()
    assert "  rank 1: fit 1 finished after 2.0s" in call("show", "wide").output
    assert "rank 1: fit_finished" in call("top", "wide", "--once").output
    with tracelet.start_logging("narrow", config={**BARE, "quiet": True}) as experiment:
        experiment._writer.emit(event)
    assert "  fit 1 finished" in call("show", "narrow").output
    assert "rank 0" not in call("show", "narrow").output


def test_unknown_metrics_are_answered_with_the_programs_own(call: Call) -> None:
    """Those that the program logged stand before those that tracelet recorded automatically."""
    with tracelet.start_logging("own", config={**BARE, "quiet": True, "track_system": True}) as experiment:
        experiment.log_metric("zzz", 1.0)
    assert "Available: zzz, " in call("show", "own", "--metric", "QQQQ", code=2).stderr


def test_long_names_leave_room_for_figures(record: Record, call: Call) -> None:
    """In a terminal the middle of a long name is left out, and names of two lines stand on one."""
    record("long", {"m" * 500 + "n" * 500: [7.5, 8.5], "two\nlines": [1.0]})
    lines = call("show", "long", env={"COLUMNS": "90"}).output.splitlines()
    assert any(line.split()[1:4] == ["8.5", "7.5", "@0"] for line in lines if "mmm...nnn" in line)
    assert any("two\\nlines" in line for line in lines)
    assert "mmm...nnn" in call("top", "long", "--once", env={"COLUMNS": "90"}).output
    assert "two\\nlines" in call("show", "long", "--metric", "two\nlines").output
