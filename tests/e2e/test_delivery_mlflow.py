"""Delivery to a real MLflow server that is slow, wrong, dead or gone for a while: every point arrives, and once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

import tracelet
from tests.probes.agents import agents, ended_agents, environment, printed, run_folder, train, until
from tests.servers.mlflow_server import MlflowServer, mlflow_server
from tests.servers.proxy import FaultyProxy
from tracelet.store import delivery_state

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
PATIENCE = 180.0
FAULTS = ("500", "429", "garbage", "slow", "refuse", "lost", "hang")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """One server for all tests here: it takes long to start."""
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as started:
        yield started


@pytest.fixture(autouse=True)
def _no_agent_left(tmp_path: Path) -> Iterator[None]:
    with ended_agents(tmp_path):
        yield


def mlflow(server: MlflowServer, path: str, **query: Any) -> Any:
    """One question to the server's REST API."""
    answer = requests.get(f"{server.url}/api/2.0/mlflow/{path}", params=query, timeout=30)
    answer.raise_for_status()
    return answer.json()


def remote_run(server: MlflowServer, run: str) -> dict[str, Any]:
    """The one remote run of ours."""
    found = requests.post(
        f"{server.url}/api/2.0/mlflow/runs/search",
        json={"experiment_ids": ids(server), "filter": f"tags.`tracelet.run_id` = '{run}'"}, timeout=30,
    ).json()["runs"]  # fmt: skip
    assert len(found) == 1
    return dict(found[0])


def ids(server: MlflowServer) -> list[str]:
    """All experiments."""
    found = requests.post(f"{server.url}/api/2.0/mlflow/experiments/search", json={"max_results": 100}, timeout=30)
    return [experiment["experiment_id"] for experiment in found.json()["experiments"]]


def history(server: MlflowServer, run: str, key: str) -> list[tuple[int, float]]:
    """Step and value of every point that the server has, in its order."""
    remote = remote_run(server, run)["info"]["run_id"]
    found = mlflow(server, "metrics/get-history", run_id=remote, metric_key=key, max_results=25_000)
    return sorted((int(point["step"]), float(point["value"])) for point in found.get("metrics", []))


def logged(count: int) -> list[tuple[int, float]]:
    """What the training logs."""
    return [(step, 1.0 / (step + 1)) for step in range(count)]


def done(folder: Path) -> bool:
    delivery = delivery_state.read(folder, "mlflow")
    return delivery is not None and delivery.state == "done"


def delivered(folder: Path) -> int:
    """How many points have arrived."""
    delivery = delivery_state.read(folder, "mlflow")
    return delivery.points if delivery is not None else 0


def has_more(folder: Path, before: int) -> bool:
    """Whether more points than these have arrived."""
    return delivered(folder) > before


def has_struck(proxy: FaultyProxy, folder: Path, fault: str, seen: int) -> bool:
    """Whether a delivery has met the fault; a lost answer must have been that to points: they may come twice."""
    if fault == "refuse":  # nobody is there to count requests
        delivery = delivery_state.read(folder, "mlflow")
        return delivery is not None and delivery.state == delivery_state.OFFLINE
    met = [path for mode, _, path in proxy.requests[seen:] if mode == fault]
    return any("log-batch" in path for path in met) if fault == "lost" else bool(met)


def test_every_fault_in_turn(server: MlflowServer, tmp_path: Path) -> None:
    """Errors, garbage, no connection, a lost answer, a call that hangs: all points, once, and none holds the exit."""
    with FaultyProxy(server.url) as proxy:
        config = {"agent_linger": PATIENCE, "track_git": False}
        process = train(
            tmp_path, wait=False, until="enough", pause=0.05, timeout=1.0, config=config,
            backend={"mlflow": {"url": proxy.url, "timeout": 3.0}},
        )  # fmt: skip
        folder = run_folder(tmp_path)
        until(lambda: delivered(folder) > 10, PATIENCE)
        for fault in FAULTS:
            seen = len(proxy.requests)
            proxy.mode = fault
            until(partial(has_struck, proxy, folder, fault, seen), PATIENCE)
            before = delivered(folder)
            proxy.mode = "pass"
            until(partial(has_more, folder, before), PATIENCE)
        proxy.mode = "hang"
        (tmp_path / "enough").touch()
        said = printed(process)
        assert process.returncode == 0
        assert not done(folder)
        proxy.mode = "pass"
        until(lambda: done(folder), PATIENCE)
    assert history(server, folder.name, "loss") == logged(int(said["logged"]))
    assert remote_run(server, folder.name)["info"]["status"] == "FINISHED"


def test_a_server_that_is_away_for_longer_than_the_training(tmp_path: Path) -> None:
    """Killed in the middle and back after the end: the lingering agent delivers what is missing, once."""
    (tmp_path / "server").mkdir()
    with mlflow_server(tmp_path / "server") as server:
        process = train(
            tmp_path, wait=False, count=400, pause=0.02, timeout=0.5, backend={"mlflow": {"url": server.url}},
            config={"agent_linger": PATIENCE},
        )  # fmt: skip
        folder = run_folder(tmp_path)
        until(lambda: delivered(folder) > 10, PATIENCE)
        server.kill()
        printed(process)
        assert agents(tmp_path)
        assert not done(folder)
        server.start()
        until(lambda: done(folder), PATIENCE)
        assert history(server, folder.name, "loss") == logged(400)


@pytest.mark.parametrize("struck", ["agent", "both"])
def test_killed_while_the_server_is_slow(server: MlflowServer, tmp_path: Path, struck: str) -> None:
    """The agent is killed in the middle of a request, alone or with the training: what is on disk arrives, once.

    A killed agent is followed by another one; after a training and its agent `tracelet sync` brings the rest.
    """
    with FaultyProxy(server.url) as proxy:
        process = train(
            tmp_path, wait=False, until="enough", pause=0.02, timeout=PATIENCE, backend={"mlflow": {"url": proxy.url}},
            config={"track_git": False},
        )  # fmt: skip
        folder = run_folder(tmp_path)
        until(lambda: delivered(folder) > 10, PATIENCE)
        seen = len(proxy.requests)
        proxy.mode = "slow"
        until(partial(sends_points, proxy, seen), PATIENCE)
        (agent,) = agents(tmp_path)
        agent.kill()
        if struck == "both":
            process.kill()
        proxy.mode = "pass"
        (tmp_path / "enough").touch()
        printed(process)
        if struck == "both":
            subprocess.run(
                [sys.executable, "-m", "tracelet", "sync", "latest"], cwd=tmp_path, env=environment(), check=True,
                timeout=PATIENCE,
            )  # fmt: skip
        until(lambda: done(folder), PATIENCE)
    series = tracelet.open_store(tmp_path / ".tracelet").run(folder.name).series("loss")
    assert len(series) > 10
    assert history(server, folder.name, "loss") == logged(len(series))
    status = remote_run(server, folder.name)["info"]["status"]
    assert status == ("FINISHED" if struck == "agent" else "KILLED")


def sends_points(proxy: FaultyProxy, seen: int) -> bool:
    """Whether points are on their way, in a request after those that were seen."""
    return any(mode == "slow" and "log-batch" in path for mode, _, path in proxy.requests[seen:])
