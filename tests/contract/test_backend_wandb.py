"""The wandb backend passes the conformance suite offline, read from the folder that `wandb sync` takes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tracelet.backends.base import Batch, RunDescription, SeriesPart
from tracelet.backends.wandb.backend import WandbBackend
from tracelet.backends.wandb.offline_file import OfflineFile, message
from tracelet.backends.wandb.options import WandbOptions
from tracelet.journal.records import Artifact
from tracelet.store.artifacts import store_artifact
from tracelet.testing import FINISHED, START, BackendConformance, Delivered, Traits

FAILED = "1"
STATUSES = {
    "finished": "0",
    "failed": FAILED,
    "interrupted": FAILED,
    "preempted": FAILED,
    "pruned": FAILED,
    "killed": FAILED,
}
AXIS = WandbOptions().step_axis


def read(run: RunDescription) -> Delivered:
    found = Delivered()
    config: dict[str, object] = {}
    steps: set[int] = set()
    paths = sorted(run.store.glob(f"wandb/offline-run-*-{run.id}/*.wandb"), key=lambda path: path.stat().st_mtime_ns)
    rows = []
    for path in paths:
        for step, row in OfflineFile(path).rows():
            assert step not in steps, f"row {step} is there twice"
            steps.add(step)
            rows.append(row)
        for data in OfflineFile(path)._records():
            record = message().FromString(data)
            for update in (*record.config.update, *record.run.config.update):
                config[update.key or ".".join(update.nested_key)] = json.loads(update.value_json)
            if record.HasField("artifact"):
                found.artifacts.update(artifact_paths(record.artifact))
            if record.HasField("exit"):
                found.status = str(record.exit.exit_code)
    names = config.get("tracelet/names", {})
    assert isinstance(names, dict)
    for row in rows:
        for name in row.keys() - {"_step", "_timestamp", "_runtime", AXIS}:
            step = row[AXIS] if AXIS in row else round((row["_timestamp"] - run.started) * 4)
            found.series.setdefault(names.get(name, name), []).append((step, float(row[name]), row["_timestamp"]))
    found.params = {name: str(value) for name, value in config.items()}
    return found


def artifact_paths(artifact: Any) -> Iterator[tuple[str, bytes]]:
    """What `wandb sync` would upload; of a reference, where it leads."""
    folder = json.loads(artifact.metadata).get("folder")
    for entry in artifact.manifest.contents:
        path = f"{artifact.name}/{entry.path}" if folder else entry.path
        yield path, entry.ref.encode() if entry.ref else Path(entry.local_path).read_bytes()


@pytest.fixture(autouse=True)
def _service() -> Iterator[None]:
    """The SDK's own process ends with the test instead of with Python."""
    yield
    import wandb

    wandb.teardown()


def suite(folder: Path) -> BackendConformance:
    traits = Traits(value=lambda value: value + 0.0, time_precision=1e-6, statuses=STATUSES)
    return BackendConformance(lambda: WandbBackend(WandbOptions(mode="offline")), read, folder, traits)


@pytest.mark.slow
@pytest.mark.parametrize("check", BackendConformance.CHECKS)
def test_conformance(check: str, tmp_path: Path) -> None:
    """What every backend must do, wandb does offline."""
    suite(tmp_path).run(check)


@pytest.mark.slow
def test_artifacts_that_come_again(tmp_path: Path) -> None:
    """An artifact whose batch comes again after a crash is in the folders once; a reference says where its file is."""
    (tmp_path / "notes.txt").write_bytes(b"hello")
    conformance = suite(tmp_path)
    run = conformance.description()
    kept = store_artifact(run.artifacts_folder.parent, tmp_path / "notes.txt", "deep/notes.txt", None, 1)
    reference = Artifact(time=2, name="last.ckpt", path="/nowhere/last.ckpt", kind="checkpoint")
    batch = Batch(id="b:0-1", artifacts=[kept, reference])
    conformance.deliver(batch)
    conformance.deliver(batch, outcome=FINISHED)
    delivered = read(run).artifacts
    assert delivered == {"deep/notes.txt": b"hello", "last.ckpt": b"file:///nowhere/last.ckpt"}
    records = [
        message().FromString(data)
        for path in run.store.glob("wandb/*/*.wandb")
        for data in OfflineFile(path)._records()
    ]
    logged = sorted(record.artifact.name for record in records if record.HasField("artifact"))
    assert logged == ["checkpoint-conformance-run", "deep-notes.txt-" + logged[1][-6:]]


@pytest.mark.slow
def test_axes_and_what_the_sdk_leaves_alone(tmp_path: Path) -> None:
    """Each metric has its axis, the machine's one of time; console, code and machine are ours, not the SDK's."""
    options = WandbOptions(mode="offline", group="a group", job_type="train", notes="a note")
    conformance = BackendConformance(lambda: WandbBackend(options), read, tmp_path)
    parts = [
        SeriesPart("loss", [0, 5], [1.0, 0.5], [START, START + 1], [-1, -1]),
        SeriesPart("late", [2], [3.0], [START + 2], [-1]),
        SeriesPart("system/memory", [0], [4.0], [START + 3], [-1], system=True),
    ]
    batch = Batch(id="b:0-1", points=parts, params={"lr": 0.1}, tags={"stage": "first"})
    conformance.deliver(batch, outcome=FINISHED)
    (path,) = conformance.description().store.glob("wandb/offline-run-*/*.wandb")
    records = [message().FromString(data) for data in OfflineFile(path)._records()]
    axes = {one.metric.name: one.metric.step_metric for one in records if one.HasField("metric")}
    assert axes == {"loss": AXIS, "late": AXIS, "system/memory": "_timestamp"}
    run = [one.run for one in records if one.HasField("run")][-1]
    assert (run.run_group, run.job_type, run.notes, list(run.tags)) == ("a group", "train", "a note", ["stage: first"])
    summary = {
        update.key or ".".join(update.nested_key): update.value_json
        for one in records if one.HasField("summary") for update in one.summary.update
    }  # fmt: skip
    assert (float(summary["loss"]), float(summary["late"])) == (0.5, 3.0)
    assert not run.HasField("git")
    kinds = {one.WhichOneof("record_type") for one in records}
    assert not kinds & {"stats", "output", "output_raw", "environment"}
    assert [file for file in (path.parent / "files").rglob("*") if file.is_file()] == []
