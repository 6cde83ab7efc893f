"""A store that the build before the rooms wrote, with the names that it gave to fields and files."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import tracelet
from tracelet import guard
from tracelet.store.annotations import write_annotations
from tracelet.store.filtering import Filter, namespace
from tracelet.store.run import Run
from tracelet.store.series import Series
from tracelet.store.store import Store

FIXTURE = Path(__file__).parents[2] / "fixtures" / "store_before_rooms"
"""Its README says how it was recorded; `reader.json` is what that build's own reader said of each run."""
WRITTEN = 1_700_000_000
"""When the files were last touched: long ago, so that a run of another host that was killed counts as killed."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    folder = tmp_path / "store"
    shutil.copytree(FIXTURE / "store", folder)
    for path in folder.rglob("*"):
        os.utime(path, (WRITTEN, WRITTEN))
    return tracelet.open_store(folder)


def points(series: Series) -> dict[str, Any]:
    """All columns that a user reads."""
    columns = {name: getattr(series, name).tolist() for name in ("steps", "values", "times", "epochs", "weights")}
    return {**columns, "stages": series.stages, "fits": series.fits.tolist()}


def spans(run: Run) -> dict[str, Any]:
    """The span table without its attributes."""
    table = run.spans()
    columns = ("ids", "parents", "starts_ns", "durations_ns", "ranks")
    return {"names": table.names, **{name: getattr(table, name).tolist() for name in columns}}


def described(run: Run) -> dict[str, Any]:
    """What the reader says of a run, in the form of `reader.json`."""
    names = run.metrics()
    held = {(view.started.rank, name) for view in run.views if view.started for name in view.metrics}
    several = len({rank for rank, _ in held}) > 1
    return {
        "info": {name: found for name, found in dataclasses.asdict(run.info).items() if name != "archived"},  # newer
        "params": run.params, "tags": run.tags,
        "annotations": msgspec.to_builtins(run.annotations),
        "summaries": {name: msgspec.to_builtins(one) for name, one in run.summaries().items()},
        "summary": {name: msgspec.to_builtins(run.summary(name)) for name in names},
        "series": {name: points(run.series(name)) for name in names},
        "by_rank": {f"{rank} {name}": points(run.series(name, rank=rank)) for rank, name in held if several},
        "branches": {name: points(run.series(name, branch=0)) for name in names if run.id == "resumed"},
        "spans": spans(run), "span_attributes": {str(n): found for n, found in run.spans().attributes.items()},
        "events": msgspec.to_builtins(run.events()), "artifacts": msgspec.to_builtins(run.artifacts),
        "console": run.console(), "deliveries": msgspec.to_builtins(run.deliveries),
        "status": msgspec.to_builtins(run.status_record), "problems": run.problems,
    }  # fmt: skip


REWORDED = {"no sign of life from demo-host": "no heartbeat from demo-host"}
"""Reasons that the reader works out itself, and words otherwise than the build before."""


def as_text(value: Any) -> str:
    """Equal for equal values; NaN, which equals nothing, included."""
    return json.dumps(value, sort_keys=True, indent=1)


def test_an_old_store_reads_as_it_did(store: Store) -> None:
    """Runs, series, parameters, spans, summaries, annotations and the rest are what the old reader said."""
    recorded = (FIXTURE / "reader.json").read_text(encoding="utf-8")
    for before, now in REWORDED.items():
        recorded = recorded.replace(before, now)
    expected = json.loads(recorded)
    runs = {run.id: run for run in store.runs()}
    assert sorted(runs) == sorted(expected)
    for name, run in runs.items():
        found = described(run)
        if run.info.status == "killed":  # the sentence about it is the reader's own
            for status in (found["info"], found["status"], expected[name]["info"], expected[name]["status"]):
                assert status.pop("reason")
        assert as_text(found) == as_text(expected[name])


def test_the_fixture_has_all_that_it_should(store: Store) -> None:
    """A fit with spans, two ranks, a resumed run, a killed one, and the files of old names."""
    runs = {run.info.name: run for run in store.runs()}
    assert runs["fit"].spans("training_single_iteration") and runs["ranks"].info.world_size == 2
    assert runs["killed"].info.status == "killed" and runs["resumed"].series("loss", branch=0).steps[-1] == 9
    assert (runs["renamed"].path / "dashboard.json").is_file() and runs["renamed"].deliveries["jsonl"].points == 80
    assert all((runs[name].path / "figures.msgpack").is_file() for name in ("ranks", "resumed"))
    assert runs["ranks"].summaries()["loss"] == runs["ranks"].summary("loss")


def test_annotations_move_to_the_new_file(store: Store) -> None:
    """What is changed now is in the new file, and the old one no longer says otherwise."""
    run = store.run("plain")
    write_annotations(run.path, msgspec.structs.replace(run.annotations, name="again"))
    assert (run.info.name, run.info.pinned) == ("again", True)
    assert sorted(path.name for path in run.path.glob("*.json")) == ["annotations.json"]


OLD_NAMES: dict[str, Callable[[Run], bool]] = {
    "summary.least": lambda run: run.summary("loss").least == run.summary("loss").min,
    "summary.least_step": lambda run: run.summary("loss").least_step == run.summary("loss").min_step,
    "summary.greatest": lambda run: run.summary("loss").greatest == run.summary("loss").max,
    "summary.greatest_step": lambda run: run.summary("loss").greatest_step == run.summary("loss").max_step,
    "spread.least": lambda run: run.spread("loss").least.tolist() == run.spread("loss").min.tolist(),
    "spread.greatest": lambda run: run.spread("loss").greatest.tolist() == run.spread("loss").max.tolist(),
    "info.own_name": lambda run: run.info.own_name == run.info.original_name,
    "run.remark": lambda run: run.remark == run.annotations,
    "least[...]": lambda run: Filter("least['loss'] <= min['loss']").matches(namespace(run)),
    "greatest[...]": lambda run: Filter("greatest['loss'] >= max['loss']").matches(namespace(run)),
}


@pytest.mark.parametrize("old", OLD_NAMES)
def test_old_names_work_and_say_the_new_one(store: Store, caplog: pytest.LogCaptureFixture, old: str) -> None:
    """A program that uses a name of the version before gets the same, and one line for the whole process."""
    guard.reset()
    run = store.run("ranks")
    assert OLD_NAMES[old](run) and OLD_NAMES[old](run)
    (line,) = [record.getMessage() for record in caplog.records]
    assert f"{old} is now " in line and "removed in the next version" in line
