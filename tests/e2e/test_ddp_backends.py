"""A training on two ranks in three real backends at once: one remote run each, with the points that Lightning has."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tracelet
from tests.contract import test_backend_mlflow as mlflow
from tests.contract import test_backend_tensorboard as tensorboard
from tests.contract import test_backend_wandb as wandb
from tests.e2e.test_ddp_exact import SETTINGS, TRAINING, Points, oracle
from tests.probes.agents import ended_agents, environment
from tests.servers.mlflow_server import mlflow_server
from tracelet.testing import BackendConformance, Delivered

PROJECT = """
[tool.tracelet]
project = "two"
backend = "mlflow,wandb,tensorboard"
stop_timeout = 200
[tool.tracelet.mlflow]
url = "{url}"
[tool.tracelet.wandb]
mode = "offline"
"""


@pytest.fixture(autouse=True)
def _no_agent_left(tmp_path: Path) -> Iterator[None]:
    with ended_agents(tmp_path):
        yield


def steps_and_values(remote: Delivered) -> dict[str, Points]:
    """What is there, without what tracelet adds itself."""
    return {name: sorted((int(step), float(value)) for step, value, _ in points)
            for name, points in remote.series.items() if not name.startswith(("system/", "gpu/"))}  # fmt: skip


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the SDKs
def test_mlflow_wandb_and_tensorboard_have_each_point_once(tmp_path: Path) -> None:
    """Means, sums, minima and maxima over ranks with unequal last batches, in every backend equal to the oracle."""
    expected = oracle(2)
    (tmp_path / "server").mkdir()
    with mlflow_server(tmp_path / "server") as server:
        Path("pyproject.toml").write_text(PROJECT.format(url=server.url), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, str(TRAINING), "ddp", "2"], capture_output=True, text=True, timeout=280, check=False,
            env=environment(**{**SETTINGS, "TRACELET_DELIVERY": "agent"}),
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        (run,) = tracelet.open_store().runs()
        states = {name: delivery.state for name, delivery in run.deliveries.items()}
        assert states == dict.fromkeys(("mlflow", "wandb", "tensorboard"), "done"), done.stderr
        described = dataclasses.replace(
            BackendConformance(lambda: None, lambda run: Delivered(), tmp_path).description(),  # type: ignore[arg-type, return-value]
            id=run.id, project="two", artifacts_folder=run.path / "artifacts",
        )  # fmt: skip
        assert steps_and_values(mlflow.reader(server.url, "two")(described)) == expected
    assert steps_and_values(wandb.read(described)) == expected
    single = {name: [(step, tensorboard.single(value)) for step, value in points] for name, points in expected.items()}
    (folder,) = (tmp_path / ".tracelet" / "tensorboard" / "two").iterdir()
    os.rename(folder, folder.with_name(f"a_run-{run.id}"))  # the name that the reader knows
    assert steps_and_values(tensorboard.read(described)) == single
