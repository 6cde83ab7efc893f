"""One run delivered to five backends at once arrives in each of them, point by point."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tracelet
from tests.probes.agents import ended_agents

TRAINING = """
import tracelet
backends = {
    "mlflow": {"url": "sqlite:///FOLDER/mlflow.db"}, "wandb": {"mode": "offline"}, "clearml": {"mode": "offline"},
    "tensorboard": {}, "jsonl": {},
}
config = {"stop_timeout": 200, "delivery": "agent"}
with tracelet.start_logging("five", project="all", backend=backends, params={"lr": 0.1}, config=config):
    for step in range(400):
        tracelet.log({"train/loss": 1 / (step + 1), "odd": float("nan") if step % 7 == 0 else step}, step=step // 2)
import sys
print(sorted({"mlflow", "wandb", "clearml", "tensorboard"} & set(sys.modules)))
"""


@pytest.fixture(autouse=True)
def _no_agent_left(tmp_path: Path) -> Iterator[None]:
    with ended_agents(tmp_path):
        yield


Points = list[tuple[int, str]]


@pytest.mark.slow
def test_five_backends_at_once(tmp_path: Path) -> None:
    """The series in every backend are those of the store, and the training process has imported no SDK."""
    code = TRAINING.replace("FOLDER", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
    run = tracelet.open_store(tmp_path / ".tracelet").run("latest")
    states = {name: delivery.state for name, delivery in run.deliveries.items()}
    assert set(states.values()) == {"done"}, (states, done.stderr)
    wanted = {}
    for name in ("train/loss", "odd"):
        series = run.series(name)
        wanted[name] = sorted((int(step), repr(float(value))) for step, value in zip(series.steps, series.values))
        assert len(wanted[name]) == 400
    for read in (from_wandb, from_clearml, from_jsonl, from_mlflow):
        assert read(tmp_path, run.id) == wanted, read.__name__
    assert from_tensorboard(tmp_path, run.id) == {
        name: [(step, repr(single(value))) for step, value in points] for name, points in wanted.items()
    }


def single(text: str) -> float:
    import numpy as np

    return float(np.float32(float(text)))


def found(points: list[tuple[str, int, float]]) -> dict[str, Points]:
    names = ("train/loss", "odd")
    return {name: sorted((step, repr(float(value))) for one, step, value in points if one == name) for name in names}


def from_wandb(folder: Path, run: str) -> dict[str, Points]:
    from tracelet.backends.wandb_spool import Spool

    (path,) = folder.glob(f".tracelet/wandb/offline-run-*-{run}/*.wandb")
    rows = [row for _, row in Spool(path).rows()]
    points = [(name, row.get("trainer/global_step", 0), float(row[name])) for row in rows for name in row]
    return found(points)


def from_clearml(folder: Path, run: str) -> dict[str, Points]:
    (path,) = folder.glob(".tracelet/clearml/offline/*/metrics.jsonl")
    points = []
    for event in (event for line in path.read_text().splitlines() for event in json.loads(line)):
        name = f"{event['metric']}/{event['variant']}" if event["metric"] == "train" else event["metric"]
        value = math.nan if event["variant"].endswith(" (NaN)") else event["value"]
        points.append((name, event["iter"], value))
    return found(points)


def from_jsonl(folder: Path, run: str) -> dict[str, Points]:
    lines = map(json.loads, (folder / f".tracelet/jsonl/{run}.jsonl").read_text().splitlines())
    return found([(line["name"], line["step"], float(line["value"])) for line in lines if line["kind"] == "point"])


def from_mlflow(folder: Path, run: str) -> dict[str, Points]:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        rows = database.execute("select key, step, value, is_nan from metrics").fetchall()
    return found([(name, step, math.nan if nan else value) for name, step, value, nan in rows])


def from_tensorboard(folder: Path, run: str) -> dict[str, Points]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (path,) = folder.glob(f".tracelet/tensorboard/all/*-{run}")
    events = EventAccumulator(str(path), size_guidance={"scalars": 0}).Reload()
    names = ("train/loss", "odd")
    return found([(name, point.step, point.value) for name in names for point in events.Scalars(name)])
