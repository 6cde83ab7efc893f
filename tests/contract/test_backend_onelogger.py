"""The onelogger backend: the records of a run in a file while it goes on, each once, whatever happens in between."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import tracelet
from tracelet.agent.delivery.batch_reader import BatchReader
from tracelet.backends.base import Batch, Outcome, RunDescription, Source, SpanPart
from tracelet.backends.onelogger import OneloggerBackend, OneloggerOptions
from tracelet.errors import Misconfigured
from tracelet.journal.records import Event
from tracelet.telemetry import training_iteration, training_loop
from tracelet.telemetry.reading import onelogger_export

START = 1_700_000_000_000_000_000


class Run:
    """A run as a courier describes it, with what the backend remembers of it."""

    def __init__(self, folder: Path, id: str = "abc123") -> None:
        self.folder, self.id = folder, id
        self.memory: dict[str, Any] = {}
        self.urls: list[str] = []

    def described(self) -> RunDescription:
        return RunDescription(
            id=self.id, name="resnet", project="vision", started=1.7e9, command=["python"], folder=str(self.folder),
            host="node1", params={}, tags={}, git={}, environment={},
            artifacts_folder=self.folder / "store" / "runs" / "r" / "artifacts", memory=dict(self.memory),
            remember=self.memory.__setitem__, announce=self.urls.append,
        )  # fmt: skip

    def opened(self, **options: Any) -> OneloggerBackend:
        backend = OneloggerBackend(OneloggerOptions(**options))
        backend.open(self.described())
        return backend

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in Path(self.urls[-1]).read_text(encoding="utf-8").splitlines()]

    def seen(self) -> list[tuple[str, str]]:
        return [(one["type"], one.get("name") or one["event"]["name"]) for one in self.lines()]


def part(number: int, parent: int, name: str, end: int, **more: Any) -> SpanPart:
    return SpanPart(number, parent, name, START + number, START + end, **more)


def begun(number: int, parent: int, name: str) -> SpanPart:
    return SpanPart(number, parent, name, START + number, START + number - 1)


def event(span: int, name: str, time: int = 0) -> Event:
    return Event(time=START // 1000 + time, name=name, span=span)


BATCHES = (
    Batch("rank-0.0:0-1", begun=[begun(1, 0, "application"), begun(2, 1, "training_loop")], events=[event(1, "init")]),
    Batch("rank-0.0:1-2", spans=[part(3, 2, "step", 50), part(4, 3, "forward", 40)], events=[event(2, "metrics", 1)]),
    Batch("rank-0.0:2-3", spans=[part(2, 1, "training_loop", 90, error="E: no"), part(1, 0, "application", 99)]),
)  # fmt: skip
WRITTEN = [
    ("start", "application"), ("event", "init"), ("start", "training_loop"), ("start", "step"), ("complete", "forward"),
    ("stop", "step"), ("event", "metrics"), ("application_error", "error"), ("stop", "training_loop"),
    ("stop", "application"),
]  # fmt: skip


def test_order_and_shape(tmp_path: Path) -> None:
    """Begins, what is inside, ends: in the order of the tree, with parents, ranks, pids and numbers."""
    run = Run(tmp_path)
    backend = run.opened()
    for batch in BATCHES:
        backend.write(batch)
    backend.close(Outcome("failed", "no", 1.7e9))
    assert sorted(run.seen()) == sorted(WRITTEN)
    assert [what for what in run.seen() if what[0] != "event"] == [what for what in WRITTEN if what[0] != "event"]
    records = run.lines()
    assert [record["count"] for record in records] == list(range(1, 11))
    ids = {record["name"]: record["id"] for record in records if "id" in record}
    parents = {record["name"]: record.get("parent_id") for record in records if "id" in record}
    assert parents == {
        "application": None, "training_loop": ids["application"], "step": ids["training_loop"], "forward": ids["step"],
    }  # fmt: skip
    told = {record["event"]["name"]: record["span_id"] for record in records if "event" in record}
    assert told == {"init": ids["application"], "metrics": ids["training_loop"], "error": ids["training_loop"]}


@pytest.mark.parametrize("torn", [False, True])
def test_nothing_twice(tmp_path: Path, torn: bool) -> None:
    """A batch that comes again after a crash is there once; a line that was torn is there whole."""
    run = Run(tmp_path)
    for place, batch in enumerate(BATCHES):
        memory = dict(run.memory)
        run.opened().write(batch)
        if torn:
            path = Path(run.urls[-1])
            path.write_bytes(path.read_bytes()[:-25])
            run.memory = memory  # killed before it could note anything
        elif place == 1:
            run.memory = memory
        run.opened().write(Batch(**{**vars(batch), "again": True}))
    assert sorted(run.seen()) == sorted(WRITTEN)


def test_ranks_and_runs_share_a_file(tmp_path: Path) -> None:
    """Ranks of one run, and runs that were given the same file, stand side by side under ids of their own."""
    runs = [Run(tmp_path, name) for name in ("first", "second")]
    for run in runs:
        backend = run.opened(path="shared.jsonl")
        for rank in (0, 1):
            source = Source(rank=rank, pid=100 + rank)
            backend.write(Batch(f"rank-{rank}.0:0-1", spans=[part(1, 0, "application", 9)], source=source))
    records = runs[0].lines()
    assert [(record["rank"], record["pid"], record["count"]) for record in records] == [
        (0, 100, 1), (1, 101, 2), (0, 100, 3), (1, 101, 4),
    ]  # fmt: skip
    assert len({record["id"] for record in records}) == 4


def test_left_out_by_name(tmp_path: Path) -> None:
    """Names that are denied do not appear, nor do their events; children move up, batches apart."""
    run = Run(tmp_path)
    backend = run.opened(spans_deny="training_loop")
    for batch in BATCHES:
        backend.write(batch)
    ids = {record["name"]: record["id"] for record in run.lines() if "id" in record}
    (step,) = [record for record in run.lines() if record.get("name") == "step" and record["type"] == "start"]
    assert step["parent_id"] == ids["application"] and "training_loop" not in ids
    assert ("event", "metrics") not in run.seen() and ("application_error", "error") not in run.seen()


def test_same_as_the_export(tmp_path: Path) -> None:
    """What is written live has the ids, parents, times and attributes of the export of the whole run."""
    with tracelet.start_logging("run", config={"track_git": False, "delivery": "off", "quiet": True}) as experiment:
        with training_loop() as loop:
            for _ in range(3):
                with training_iteration():
                    loop.add_event("tick", value=float("nan"))
        with pytest.raises(ValueError, match="no"), tracelet.span("failing"):
            raise ValueError("no")
    run = Run(tmp_path, experiment.id)
    backend, feed = run.opened(), BatchReader(experiment.folder)
    feed.every_rank = True
    cursors: dict[str, tuple[int, int]] = {}
    while (portion := feed.next(cursors)) is not None:
        if portion.batch is not None:
            backend.write(portion.batch)
        cursors[portion.pending.journal] = portion.pending.stop
    whole = list(onelogger_export.lines(tracelet.open_store().run(experiment.id)))
    (error,) = [record for record in run.lines() if record["type"] == "application_error"]
    assert "raise ValueError" in error["event"]["attributes"]["exception_traceback"]

    def spans(records: list[dict[str, Any]]) -> dict[str, Any]:
        ended = [record for record in records if record["type"] in ("stop", "complete")]
        keys = ("name", "parent_id", "attributes", "stop_event", "duration_ns", "pid", "rank")
        return {record["id"]: [record.get(key) for key in keys] for record in ended}

    assert spans(run.lines()) == spans(whole) and len(spans(whole)) == 6


def test_a_file_that_cannot_be(tmp_path: Path) -> None:
    """A path that is a folder stops the backend with a sentence."""
    with pytest.raises(Misconfigured, match="cannot be written"):
        Run(tmp_path).opened(path=str(tmp_path))
