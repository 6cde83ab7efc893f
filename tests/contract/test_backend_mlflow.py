"""The mlflow backend passes the conformance suite against a real server and against a SQLite file."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.servers.mlflow_server import MlflowServer
from tracelet.backends.base import RunDescription
from tracelet.backends.mlflow.backend import MlflowBackend
from tracelet.backends.mlflow.metric_rows import MAX_VALUE
from tracelet.backends.mlflow.options import MlflowOptions
from tracelet.testing import BackendConformance, Delivered, Traits

KILLED = "KILLED"
STATUSES = {
    "finished": "FINISHED", "failed": "FAILED", "interrupted": KILLED, "preempted": KILLED, "pruned": KILLED,
    "killed": KILLED,
}  # fmt: skip
TRAITS = Traits(
    value=lambda value: math.copysign(MAX_VALUE, value) if math.isinf(value) else value + 0.0,  # -0.0 becomes 0.0
    statuses=STATUSES,
)


def reader(url: str, experiment: str) -> Callable[[RunDescription], Delivered]:
    def read(run: RunDescription) -> Delivered:
        from mlflow.tracking import MlflowClient

        client = MlflowClient(url)
        found = client.get_experiment_by_name(experiment)
        assert found is not None
        runs = client.search_runs([found.experiment_id], f"tags.`tracelet.run_id` = '{run.id}'")
        assert len(runs) == 1
        (one,) = runs
        tags = one.data.tags
        delivered = Delivered(status=one.info.status)
        for key in one.data.metrics:
            name = tags.get(f"tracelet.name.{key}", key)
            history = client.get_metric_history(one.info.run_id, key)
            delivered.series[name] = [(point.step, point.value, point.timestamp / 1000) for point in history]
        for key, value in one.data.params.items():
            delivered.params[tags.get(f"tracelet.name.{key}", key)] = value
        root = one.info.artifact_uri.replace("mlflow-artifacts:", f"{url}/api/2.0/mlflow-artifacts/artifacts")
        for path in files(client, one.info.run_id, ""):
            delivered.artifacts[path] = content(f"{root}/{path}")
        return delivered

    return read


def files(client: object, run_id: str, folder: str) -> list[str]:
    found: list[str] = []
    for entry in client.list_artifacts(run_id, folder):  # type: ignore[attr-defined]
        found += files(client, run_id, entry.path) if entry.is_dir else [entry.path]
    return found


def content(place: str) -> bytes:
    """MLflow's own way of downloading leaves threads behind."""
    return requests.get(place, timeout=30).content if place.startswith("http") else Path(place).read_bytes()


def suite(url: str, folder: Path) -> BackendConformance:
    options = MlflowOptions(url=url, experiment=folder.name)
    return BackendConformance(lambda: MlflowBackend(options), reader(url, folder.name), folder, TRAITS)


@pytest.mark.slow
@pytest.mark.parametrize("check", BackendConformance.CHECKS)
def test_conformance_http(check: str, tmp_path: Path, tracking_server: MlflowServer) -> None:
    """What every backend must do, mlflow does through a real server."""
    suite(tracking_server.url, tmp_path).run(check)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*unclosed database:ResourceWarning")  # MLflow's own
@pytest.mark.parametrize("check", BackendConformance.CHECKS)
def test_conformance_sqlite(check: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What every backend must do, mlflow does with a SQLite file and no server."""
    monkeypatch.chdir(tmp_path)  # artifacts go to ./mlruns
    suite(f"sqlite:///{tmp_path}/mlflow.db", tmp_path).run(check)
