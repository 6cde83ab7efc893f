"""Files of the real one-logger's FileExporter as runs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.environments import trackers_python
from tests.importing import imported, values
from tracelet.importers.onelogger import OneloggerImporter
from tracelet.testing import ImporterConformance

PROGRAM = """
from pathlib import Path
from nv_one_logger.core.attributes import Attributes
from nv_one_logger.core.event import Event
from nv_one_logger.core.span import Span
from nv_one_logger.exporter.file_exporter import FileExporter

exporter = FileExporter(Path("telemetry.jsonl"))
exporter.initialize()

def attributes(**values):
    found = Attributes()
    for name, value in values.items():
        found.add(name, value)
    return found

def begin(name):
    span = Span.create(name=name)
    exporter.export_start(span)
    return span

def end(span):
    span.stop()
    exporter.export_stop(span)

outer = begin("application")
inner = begin("training_loop")
for step in (9, 19, 19):
    event = Event.create("training_metrics_update", attributes(current_iteration=step, loss=step / 10, label="x"))
    inner.add_event(event)
    exporter.export_event(event, inner)
alone = begin("checkpoint")
end(alone)
end(inner)
end(outer)
left = begin("never stopped")
exporter.export_event(Event.create("last"), left)
exporter.close()
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of one program."""
    folder = tmp_path_factory.mktemp("onelogger")
    subprocess.run([trackers_python(), "-c", PROGRAM], cwd=folder, check=True, timeout=120)
    return folder / "telemetry.jsonl"


def records(source: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]


def test_spans_and_their_order(source: Path, tmp_path: Path) -> None:
    """Names, milliseconds and parents by nesting; the span that never stopped is open, and the run killed."""
    run = imported(source, OneloggerImporter(), tmp_path)["telemetry"]
    spans = {span.name: span for span in run.spans()}
    assert set(spans) == {"application", "training_loop", "checkpoint", "never stopped"}
    assert spans["training_loop"].parent == spans["application"].id
    assert spans["checkpoint"].parent == spans["training_loop"].id
    started = {one["name"]: one["start_event"]["attributes"]["timestamp_msec"] for one in records(source)
               if "start_event" in one}  # fmt: skip
    assert {name: span.start_ns // 1_000_000 for name, span in spans.items()} == started
    assert run.info.status == "killed"


def test_events_and_metrics(source: Path, tmp_path: Path) -> None:
    """Every event with its span; numbers of an event that names an iteration are points at that iteration."""
    run = imported(source, OneloggerImporter(), tmp_path)["telemetry"]
    assert values(run, "loss") == [(9, "0.9"), (19, "1.9"), (19, "1.9")]
    assert [event.name for event in run.events()] == ["training_metrics_update"] * 3 + ["last"]


def test_damaged_lines(source: Path, tmp_path: Path) -> None:
    """A line that is no record is counted, the others are read; half a last line waits for the next import."""
    lines = source.read_text(encoding="utf-8").splitlines(keepends=True)
    path = tmp_path / "damaged.jsonl"
    path.write_text("".join([*lines[:2], "{\n", '{"type": "stop"}\n', *lines[2:-1], lines[-1][:-5]]), encoding="utf-8")
    run = imported(path, OneloggerImporter(), tmp_path / "store")["damaged"]
    assert any("2 lines are no records" in problem for problem in run.problems)
    assert len(run.series("loss")) == 3


@pytest.mark.parametrize("check", ImporterConformance.CHECKS)
def test_it_does_what_every_importer_must(check: str, source: Path, tmp_path: Path) -> None:
    """Each check of the suite for importers passes."""
    ImporterConformance(OneloggerImporter(), source, tmp_path).run(check)
