"""The jsonl backend passes the conformance suite and survives torn lines."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

import tracelet
from tracelet.agent.delivery import batch_reader
from tracelet.backends.base import RunDescription
from tracelet.backends.jsonl.backend import JsonlBackend, JsonlOptions
from tracelet.cli import main
from tracelet.testing import BackendConformance, Delivered, Traits

STATUSES = {name: name for name in ("finished", "failed", "interrupted", "preempted", "pruned", "killed")}


def lines(run: RunDescription) -> list[dict[str, object]]:
    path = run.store / "jsonl" / f"{run.id}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def read(run: RunDescription) -> Delivered:
    found = Delivered()
    for line in lines(run):
        if line["kind"] == "point":
            point = int(str(line["step"])), float(str(line["value"])), float(str(line["time"]))
            found.series.setdefault(str(line["name"]), []).append(point)
        elif line["kind"] == "params":
            values = line["values"]
            assert isinstance(values, dict)
            found.params.update({name: str(value) for name, value in values.items()})
        elif line["kind"] == "end":
            found.status = str(line["status"])
    return found


def suite(folder: Path) -> BackendConformance:
    traits = Traits(time_precision=0.0, artifacts=False, statuses=STATUSES)
    return BackendConformance(lambda: JsonlBackend(JsonlOptions()), read, folder, traits)


@pytest.mark.parametrize("check", BackendConformance.CHECKS)
def test_conformance(check: str, tmp_path: Path) -> None:
    """What every backend must do, jsonl does."""
    suite(tmp_path).run(check)


def written(root: Path) -> list[str]:
    """The ids of all lines about the one run of the store."""
    (path,) = (root / "jsonl").glob("*.jsonl")
    return [json.loads(line)["id"] for line in path.read_text(encoding="utf-8").splitlines()]


def recorded(name: str = "r") -> Path:
    """A run of 3,000 points, parameters and events; its folder."""
    config = {"delivery": "off", "quiet": True, "track_system": False, "track_git": False, "track_env": False}
    with tracelet.start_logging(name, backend="jsonl", params={"lr": 1}, config=config) as run:
        for step in range(1000):
            run.log_metrics({"loss": 0.5, "a/b": 1.0, "a": 2.0}, step=step)
            if step % 250 == 0:
                run.flush()
        run.log_params({"lr": 2})
    return run.folder


def sync(*arguments: str) -> None:
    result = CliRunner().invoke(main, ["sync", *arguments])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("loss", ["state", "folder", "interrupted"])
def test_nothing_is_doubled_when_the_state_is_lost(tmp_path: Path, loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However batches were cut before, and whatever became of our notes, every line is there once."""
    folder = recorded()
    if loss == "interrupted":  # another cut: the first delivery in small batches, the second in large ones
        monkeypatch.setattr(batch_reader, "MAX_FRAMES", 1)
    sync("latest")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    first = written(tmp_path / ".tracelet")
    assert sum(":loss#" in one for one in first) == 1000
    shutil.rmtree(folder / "delivery")
    if loss == "folder":
        shutil.copytree(folder, tmp_path / "kept")
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "kept", folder)
    sync("latest")
    assert written(tmp_path / ".tracelet") == first
    assert len(set(first)) == len(first)


def test_two_copies_of_a_store_write_one_file_once(tmp_path: Path) -> None:
    """Synced from two copies of its store into one file, a run is there once."""
    recorded()
    target = tmp_path / "shared.jsonl"
    (tmp_path / "pyproject.toml").write_text(f'[tool.tracelet.jsonl]\npath = "{target}"\n')
    shutil.copytree(tmp_path / ".tracelet", tmp_path / "copy")
    sync("latest")
    sync("latest", "--dir", str(tmp_path / "copy"))
    ids = [json.loads(line)["id"] for line in target.read_text().splitlines()]
    assert len(ids) == len(set(ids))
    assert sum(":loss#" in one for one in ids) == 1000
