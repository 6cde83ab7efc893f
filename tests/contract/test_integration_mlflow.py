"""What a program gives to MLflow itself is recorded as MLflow's own store has it, which holds what it held before."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

import tracelet
from tests.programs import logged, recorded_run, with_and_without

PROGRAM = """
os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true")
import mlflow
mlflow.set_tracking_uri("sqlite:///ml.db")
mlflow.set_experiment("e")
with mlflow.start_run(run_name="first") as run:
    mlflow.log_param("lr", 0.1)
    mlflow.log_params({"batch": 8})
    mlflow.set_tag("stage", "pilot")
    for step in range(20):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
    mlflow.log_metric("stepless", 2.5)
    mlflow.log_metrics({"a": 1.5, "b": numpy.float64(2.5)}, step=2**40)
    open("notes.txt", "w").write("hello")
    mlflow.log_artifact("notes.txt")
mlflow.MlflowClient().log_metric(run.info.run_id, "late", 3.0, timestamp=1700000000123, step=4)
"""


def _stored(place: Path) -> dict[str, list[tuple[int, float, int]]]:
    """Step, value and timestamp of every point of the one run, by MLflow's own client."""
    client = importlib.import_module("mlflow").MlflowClient(f"sqlite:///{place}/ml.db")
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments() if e.name == "e"])
    return {
        name: [
            (metric.step, metric.value, metric.timestamp) for metric in client.get_metric_history(run.info.run_id, name)
        ]
        for name in run.data.metrics
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_program_is_the_same_with_us_and_recorded_as_mlflow_stores_it(tmp_path: Path) -> None:
    """Steps, values and given timestamps are MLflow's own; parameters, tags and files are there, too."""
    bare, recorded = with_and_without(PROGRAM, tmp_path)
    assert recorded == bare
    stored, without = _stored(tmp_path / "recorded"), _stored(tmp_path / "bare")
    assert {name: [point[:2] for point in points] for name, points in stored.items()} == {
        name: [point[:2] for point in points] for name, points in without.items()
    }
    run = recorded_run(tmp_path)
    assert logged(run) == {name: [point[:2] for point in points] for name, points in stored.items()}
    assert run.series("late").times.tolist() == [1700000000.123]
    assert (run.params["lr"], run.params["batch"], run.tags["stage"]) == (0.1, "8", "pilot")
    assert [artifact.name for artifact in run.artifacts] == ["notes.txt"]


@pytest.mark.filterwarnings("ignore")
def test_nested_runs_are_kept_apart_and_the_client_is_left_as_it_was(tmp_path: Path) -> None:
    """A child run's names are recorded under its own name; a setting turns everything off."""
    mlflow: Any = importlib.import_module("mlflow")
    client = importlib.import_module("mlflow.tracking.client").MlflowClient
    before = dict(vars(client))
    uri = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/ml.db")
    config = {"dir": str(tmp_path / "store"), "quiet": True, "track_system": False}
    try:
        with tracelet.start_logging("nested", config=config), mlflow.start_run(run_name="parent"):
            mlflow.log_metric("loss", 1.0)
            with mlflow.start_run(run_name="child", nested=True):
                mlflow.log_metric("loss", 2.0, step=3)
        assert dict(vars(client)) == before
        with tracelet.start_logging("off", config={**config, "track_mlflow": False}), mlflow.start_run():
            mlflow.log_metric("loss", 1.0)
    finally:
        mlflow.set_tracking_uri(uri)
    assert logged(tracelet.open_store(tmp_path / "store").run("nested")) == {
        "loss": [(0, 1.0)], "child/loss": [(3, 2.0)],
    }  # fmt: skip
    assert tracelet.open_store(tmp_path / "store").run("off").metrics() == []
