"""The clearml backend passes the conformance suite offline, read from the session's folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest

from tracelet.backends.base import Batch, RunDescription
from tracelet.backends.clearml.backend import TAG, ClearmlBackend, ClearmlOptions
from tracelet.backends.clearml.scalar_events import NOT_FINITE, SYSTEM
from tracelet.journal.records import Artifact
from tracelet.store.artifacts import store_artifact
from tracelet.testing import FINISHED, BackendConformance, Delivered, Traits

STATUSES = {name: name for name in ("finished", "failed", "interrupted", "preempted", "pruned", "killed")}


def read(run: RunDescription) -> Delivered:
    found = Delivered()
    sessions = []
    for path in (run.store / "clearml" / "offline").glob("*/task.json"):
        task = json.loads(path.read_text(encoding="utf-8"))
        if TAG + run.id in task["tags"]:
            sessions.append((path.parent, task))
    ((folder, task),) = sessions
    for artifact in task.get("execution", {}).get("artifacts", ()):
        found.artifacts.update(artifact_paths(artifact["key"], artifact["uri"]))
    for section, entries in task.get("hyperparams", {}).items():
        for name, entry in entries.items():
            found.params[name if section == "General" else f"{section}/{name}"] = str(entry["value"])
    found.status = found.params.get("tracelet/status", "")
    lines = (folder / "metrics.jsonl").read_text().splitlines() if (folder / "metrics.jsonl").exists() else []
    for event in (event for line in lines for event in json.loads(line)):
        name, value = event["variant"], event["value"]
        for kind, suffix in NOT_FINITE.items():
            if name.endswith(suffix):
                name, value = name.removesuffix(suffix), float(kind)
        title = event["metric"]
        whole = name if title in (SYSTEM, name) else f"{title}/{name}"
        found.series.setdefault(whole, []).append((event["iter"], value, event["timestamp"] / 1000))
    return found


def artifact_paths(key: str, uri: str) -> Iterator[tuple[str, bytes]]:
    """A file, the files of an archive, or where a reference leads."""
    if uri.startswith("file:"):
        yield key, uri.encode()
    elif uri.endswith(".zip"):
        with ZipFile(uri) as archive:
            for name in archive.namelist():
                yield f"{key}/{name}", archive.read(name)
    else:
        yield key, Path(uri).read_bytes()


def suite(folder: Path) -> BackendConformance:
    traits = Traits(statuses=STATUSES)
    return BackendConformance(lambda: ClearmlBackend(ClearmlOptions(mode="offline")), read, folder, traits)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the SDK's own
@pytest.mark.parametrize("check", BackendConformance.CHECKS)
def test_conformance(check: str, tmp_path: Path) -> None:
    """What every backend must do, clearml does offline."""
    suite(tmp_path).run(check)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_artifacts_of_two_couriers(tmp_path: Path) -> None:
    """A session that goes on has the artifacts of before and of now, each once; a reference says where its file is."""
    conformance = suite(tmp_path)
    run = conformance.description()
    batches = []
    for number, name in enumerate(("one.txt", "two.txt")):
        (tmp_path / name).write_text(name)
        kept = store_artifact(run.artifacts_folder.parent, tmp_path / name, f"deep/{name}", None, 1)
        reference = Artifact(time=2, name=f"{number}.ckpt", path=f"/nowhere/{number}.ckpt", kind="checkpoint")
        batches.append(Batch(id=f"b:{number}", artifacts=[kept, reference]))
    conformance.deliver(batches[0])
    conformance.deliver(*batches, outcome=FINISHED)
    assert read(run).artifacts == {
        "deep/one.txt": b"one.txt", "deep/two.txt": b"two.txt",
        "0.ckpt": b"file:///nowhere/0.ckpt", "1.ckpt": b"file:///nowhere/1.ckpt",
    }  # fmt: skip
