"""The real clients of wandb and clearml, through the agent, against servers that fail, hang and come back."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.probes.agents import agents, ended_agents, environment, printed, run_folder, train, until
from tests.servers.clearml_server import clearml_server
from tests.servers.proxy import FaultyProxy
from tests.servers.wandb_server import wandb_server
from tracelet.store import delivery_state

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
PATIENCE = 150.0
FAULTS = ("500", "429", "garbage", "slow", "refuse", "lost", "hang")
KEYS = {"WANDB_API_KEY": "k" * 40, "CLEARML_API_ACCESS_KEY": "a" * 20, "CLEARML_API_SECRET_KEY": "s" * 40}
Points = list[tuple[int, float]]


class Service(NamedTuple):
    """A stand-in behind a proxy."""

    name: str
    proxy: FaultyProxy
    points: Callable[[], Points]
    """Step and value of every point of `loss` that the server has."""
    ended: Callable[[], object]
    """How the server's one run ended."""

    def options(self) -> dict[str, Any]:
        return {self.name: {"url": self.proxy.url}}


@contextmanager
def wandb() -> Iterator[Service]:
    with wandb_server() as server, FaultyProxy(server.url) as proxy:

        def points() -> Points:
            rows = [row for run in server.runs for row in server.history(run) if "loss" in row]
            return sorted((int(row["trainer/global_step"]), float(row["loss"])) for row in rows)

        yield Service("wandb", proxy, points, lambda: [run["exit"] for run in server.runs.values()] == [0])


@contextmanager
def clearml() -> Iterator[Service]:
    with clearml_server() as server, FaultyProxy(server.url) as proxy:

        def points() -> Points:
            found = [event for event in server.events.values() if event["metric"] == "loss"]
            return sorted((event["iter"], event["value"]) for event in found)

        yield Service(
            "clearml", proxy, points, lambda: [task["status"] for task in server.tasks.values()] == ["completed"]
        )


@pytest.fixture(params=[wandb, clearml])
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    with request.param() as started:
        yield started


@pytest.fixture(autouse=True)
def _no_agent_left(service: Service, tmp_path: Path) -> Iterator[None]:
    with ended_agents(tmp_path):
        yield


def logged(count: int) -> Points:
    """What the training logs."""
    return [(step, 1.0 / (step + 1)) for step in range(count)]


def delivery_of(folder: Path, service: Service) -> delivery_state.Delivery | None:
    return delivery_state.read(folder, service.name)


def delivered(folder: Path, service: Service) -> bool:
    delivery = delivery_of(folder, service)
    return delivery is not None and delivery.state == "done"


def begun(folder: Path, service: Service) -> None:
    until(lambda: (delivery := delivery_of(folder, service)) and delivery.points > 10, PATIENCE)


def test_every_fault_in_turn(service: Service, tmp_path: Path) -> None:
    """Errors, garbage, refused connections, lost answers and calls that hang: all points are there in the end, once."""
    process = train(
        tmp_path, wait=False, env=environment(**KEYS), count=1200, pause=0.02, timeout=1.0, backend=service.options(),
        config={"agent_linger": PATIENCE, "track_git": False},
    )  # fmt: skip
    folder = run_folder(tmp_path)
    begun(folder, service)
    for fault in FAULTS:
        service.proxy.mode = fault
        time.sleep(1.5)
        service.proxy.mode = "pass"
        time.sleep(0.7)
    said = printed(process)
    assert process.returncode == 0
    assert float(said["stop"]) < 5.0
    until(lambda: delivered(folder, service), PATIENCE)
    until(lambda: service.points() == logged(1200))
    assert service.ended()
    assert {mode for mode, _, _ in service.proxy.requests} & set(FAULTS)  # the SDKs pause, so that not each is met


def test_everything_killed_while_the_server_hangs(service: Service, tmp_path: Path) -> None:
    """Training and agent are killed while calls hang; `tracelet sync` delivers the rest once the server is back."""
    process = train(
        tmp_path, wait=False, env=environment(**KEYS), count=100, pause=0.01, end="wait", backend=service.options(),
        config={"track_git": False},
    )  # fmt: skip
    folder = run_folder(tmp_path)
    begun(folder, service)
    service.proxy.mode = "hang"
    time.sleep(2.5)  # all points are logged and flushed, and a call hangs
    for agent in agents(tmp_path):
        for child in agent.children(recursive=True):
            child.kill()
        agent.kill()
    process.kill()
    process.wait()
    service.proxy.mode = "pass"
    sync(tmp_path)
    assert delivered(folder, service)
    until(lambda: service.points() == logged(100))


def sync(folder: Path) -> None:
    """`tracelet sync`, which has to succeed."""
    done = subprocess.run(
        [sys.executable, "-m", "tracelet", "sync", "latest", "--patience", "100"], cwd=folder,
        env=environment(**KEYS), capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_only_the_agent_is_killed(service: Service, tmp_path: Path) -> None:
    """A SIGKILL ends the agent alone: the next one goes on in the same run, and each point is there once."""
    process = train(
        tmp_path, wait=False, env=environment(**KEYS), count=400, pause=0.02, timeout=60.0, backend=service.options(),
        config={"agent_linger": PATIENCE, "track_git": False},
    )  # fmt: skip
    folder = run_folder(tmp_path)
    begun(folder, service)
    (agent,) = agents(tmp_path)
    agent.kill()
    printed(process)
    assert process.returncode == 0
    until(lambda: delivered(folder, service), PATIENCE)
    until(lambda: service.points() == logged(400))
    assert service.ended()
