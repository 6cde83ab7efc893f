"""What MLflow or its artifact store never takes costs nothing else: points, parameters, tags and status arrive."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tracelet
from tests.servers.mlflow_server import MlflowServer, mlflow_server
from tracelet.store.delivery_state import Delivery
from tracelet.store.run import Run
from tracelet.testing import BackendConformance, CollectingBackend, Delivered

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
QUIET = {"delivery": "off", "quiet": True, "track_system": False, "track_git": False}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """A server with a database."""
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as started:
        yield started


@pytest.fixture(scope="module")
def file_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """A server with a file store, which keeps each name as a path."""
    folder = tmp_path_factory.mktemp("mlflow-files")
    with mlflow_server(folder, str(folder / "store")) as started:
        yield started


def synced(folder: Path, *more: str, **variables: str) -> str:
    """What `tracelet sync` of the newest run says."""
    command = [str(Path(sys.executable).parent / "tracelet"), "sync", "latest", *more]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, timeout=200, check=False,
        env={**os.environ, "MLFLOW_ALLOW_FILE_STORE": "true", **variables},
    )  # fmt: skip
    return done.stdout + done.stderr


def latest(folder: Path) -> tuple[Run, Delivery]:
    run = tracelet.open_store(folder / ".tracelet").run("latest")
    return run, run.deliveries["mlflow"]


def remote(url: str, project: str) -> tuple[Any, Any]:
    """The client, and the one run of the project."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(url)
    experiment = client.get_experiment_by_name(project)
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    return client, run


def letters(run: Run) -> list[dict[str, Any]]:
    path = run.path / "delivery" / "mlflow.dead.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def points(client: Any, run: Any, name: str) -> list[tuple[int, float]]:
    """The points of one metric of ours, by the name that it has there."""
    key = {value: key for key, value in run.data.tags.items() if key.startswith("tracelet.name.")}.get(name, name)
    history = client.get_metric_history(run.info.run_id, key.removeprefix("tracelet.name."))
    return sorted((point.step, point.value) for point in history)


@pytest.mark.parametrize("way", ["folder", "server"])
def test_names_that_begin_alike_arrive_in_a_file_store(
    tmp_path: Path, file_server: MlflowServer, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file store cannot hold `val` beside `val/loss`: the second gets another name, and nothing is lost."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    url = file_server.url if way == "server" else str(tmp_path / "store")
    options = {"mlflow": {"url": url}}
    params = {"optimizer": "adam", "optimizer/0/lr": 0.1, "good": 1}
    with tracelet.start_logging("r", project=tmp_path.name, backend=options, params=params, config=QUIET) as run:
        run.set_tags({"team": "a", "team/b": "c"})
        for step in range(300):
            run.log_metrics({"val": 1.0 + step, "val/loss": 2.0 + step, "other/deep": 3.0, "other": 4.0}, step=step)
    said = synced(tmp_path)
    found, delivery = latest(tmp_path)
    client, there = remote(url, tmp_path.name)
    assert there.info.status == "FINISHED", said
    assert points(client, there, "val") == [(step, 1.0 + step) for step in range(300)]
    assert points(client, there, "val/loss") == [(step, 2.0 + step) for step in range(300)]
    assert len(points(client, there, "other")) == len(points(client, there, "other/deep")) == 300
    values = {there.data.tags.get(f"tracelet.name.{key}", key): value for key, value in there.data.params.items()}
    assert (values["optimizer"], values["optimizer/0/lr"], values["good"]) == ("adam", "0.1", "1")
    assert {"a", "c"} <= set(there.data.tags.values())
    assert (delivery.state, delivery.rejected) == ("done", 0)
    assert delivery.renamed["val/loss"].startswith("val.loss-") or delivery.renamed["val"].startswith("val-")
    assert found.deliveries["mlflow"].points == 1200


@pytest.mark.parametrize(
    ("root", "why"),
    [("/proc/nowhere", "No such file or directory"), ("s3://nobody-has-it", "Unable to locate credentials")],
)
@pytest.mark.parametrize("uploads", [True, False])
def test_an_artifact_store_that_refuses_costs_only_files(
    tmp_path: Path, server: MlflowServer, root: str, why: str, uploads: bool
) -> None:
    """Without a place for files the run has its points, parameters, tags and status; each file is a dead letter."""
    from mlflow.tracking import MlflowClient

    MlflowClient(server.url).create_experiment(tmp_path.name, artifact_location=root)
    (tmp_path / "file.txt").write_text("x")
    options = {"mlflow": {"url": server.url, "upload_artifacts": uploads}}
    params = {"lr": 0.1, "long": "x" * 3000}
    with tracelet.start_logging("r", project=tmp_path.name, backend=options, params=params, config=QUIET) as run:
        run.set_tags({"team": "a"})
        run.log_artifact(tmp_path / "file.txt")
        for step in range(10):
            run.log_metric("loss", 1.0 + step, step=step)
    credentials = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere", "HOME": "/nowhere"}
    said = synced(tmp_path, **credentials)
    found, delivery = latest(tmp_path)
    client, there = remote(server.url, tmp_path.name)
    assert (there.info.status, delivery.state) == ("FINISHED", "done"), said
    assert points(client, there, "loss") == [(step, 1.0 + step) for step in range(10)]
    assert (there.data.params["lr"], there.data.tags["team"]) == ("0.1", "a")
    dead = letters(found)
    assert all(why in letter["why"] for letter in dead)
    names = [letter["record"].get("name") for letter in dead]
    assert ("file.txt" in names) == uploads
    assert any("long" in letter["record"] for letter in dead)
    assert any("environment" in letter["record"] for letter in dead)


def test_names_that_are_no_file_names(tmp_path: Path, server: MlflowServer) -> None:
    """A parameter of 150 foreign characters and an artifact with a newline in its name arrive, under legal names."""
    (tmp_path / "file.txt").write_text("x")
    long = "ä" * 150
    with tracelet.start_logging(
        "r", project=tmp_path.name, backend={"mlflow": {"url": server.url}}, params={long: "y" * 3000}, config=QUIET
    ) as run:
        run.log_artifact(tmp_path / "file.txt", name="one\ntwo.txt")
        run.log_metric("loss", 1.0, step=0)
    said = synced(tmp_path)
    found, delivery = latest(tmp_path)
    client, there = remote(server.url, tmp_path.name)
    assert (there.info.status, delivery.state, letters(found)) == ("FINISHED", "done", []), said
    assert points(client, there, "loss") == [(0, 1.0)]
    assert len(client.list_artifacts(there.info.run_id, "tracelet/params")) == 1
    assert any(entry.path.startswith("one_two.txt-") for entry in client.list_artifacts(there.info.run_id))


def test_equal_points_all_arrive(tmp_path: Path, server: MlflowServer) -> None:
    """Twenty thousand points of one name, step and value, logged as fast as a loop can, are twenty thousand there."""
    options = {"mlflow": {"url": server.url}}
    with tracelet.start_logging("r", project=tmp_path.name, backend=options, config=QUIET) as run:
        for _ in range(20_000):
            run.log_metric("loss", 0.5, step=7)
    said = synced(tmp_path)
    _, delivery = latest(tmp_path)
    client, there = remote(server.url, tmp_path.name)
    assert (delivery.state, delivery.points) == ("done", 20_000), said
    assert points(client, there, "loss") == [(7, 0.5)] * 20_000


def test_two_copies_of_a_store_make_one_run(tmp_path: Path, server: MlflowServer) -> None:
    """Opened from two copies of its store at the same moment, a run is one run there."""
    from tracelet.backends.mlflow.backend import MlflowBackend
    from tracelet.backends.mlflow.options import MlflowOptions

    for turn in range(6):
        ready, found = threading.Barrier(2), list[str]()
        suite = BackendConformance(lambda: MlflowBackend(MlflowOptions()), lambda run: Delivered(), tmp_path)

        def deliver(suite: BackendConformance, turn: int, ready: threading.Barrier, found: list[str]) -> None:
            memory: dict[str, Any] = {}
            run = suite.description(id=f"copy-{turn}", project=tmp_path.name, remember=memory.__setitem__)
            backend = MlflowBackend(MlflowOptions(url=server.url))
            ready.wait()
            backend.open(run)
            found.append(memory["run_id"])
            backend.close(None)

        threads = [threading.Thread(target=deliver, args=(suite, turn, ready, found)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 2
        assert len(set(found)) == 1


def test_the_oldest_run_wins(tmp_path: Path, server: MlflowServer) -> None:
    """Where two runs of ours are there already, every delivery takes the older one."""
    from mlflow.tracking import MlflowClient

    from tracelet.backends.mlflow.runs import create_once, create_run, find_run

    client = MlflowClient(server.url)
    experiment = client.create_experiment(tmp_path.name)
    suite = BackendConformance(lambda: CollectingBackend([]), lambda run: Delivered(), tmp_path)
    run = suite.description(id="doubled")
    first = create_run(client, experiment, run).info.run_id
    assert create_once(client, experiment, run).info.run_id == first
    create_run(client, experiment, run)
    again = find_run(client, experiment, run)
    assert again is not None
    assert again.info.run_id == first
