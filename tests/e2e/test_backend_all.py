"""One training delivered to six backends at once arrives in each of them, point by point."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tracelet
from tests.contract import test_backend_clearml as clearml
from tests.contract import test_backend_jsonl as jsonl
from tests.contract import test_backend_mlflow as mlflow
from tests.contract import test_backend_tensorboard as tensorboard
from tests.contract import test_backend_wandb as wandb
from tests.probes.agents import ended_agents, environment
from tests.servers.mlflow_server import mlflow_server
from tracelet.backends.base import RunDescription
from tracelet.testing import BackendConformance, Delivered

TRAINING = """
import json, sys, warnings
warnings.simplefilter("ignore")
import torch
from lightning import LightningModule, Trainer
import tracelet

class Tiny(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def training_step(self, batch, index):
        loss = self.layer(batch[0]).square().mean()
        self.log("train/loss", loss, on_step=True, on_epoch=True)
        tracelet.log({"odd": float("nan") if index % 7 == 0 else index}, step=self.global_step // 2)
        return loss
    def validation_step(self, batch, index):
        self.log("val/loss", self.layer(batch[0]).abs().mean())
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)

backends = json.loads(sys.argv[1])
config = {"stop_timeout": 200, "delivery": "agent"}
with tracelet.start_logging("a run", project="all", backend=backends, params={"lr": 0.1}, config=config):
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(400, 4)), batch_size=4)
    trainer = Trainer(max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False,
                      enable_progress_bar=False, enable_model_summary=False)
    trainer.fit(Tiny(), data, data)
print(json.dumps(sorted({"mlflow", "wandb", "clearml", "tensorboard", "aim"} & set(sys.modules))))
"""
PRECISION = {"mlflow": 0.002, "clearml": 0.002, "wandb": 1e-6, "aim": 0.002, "tensorboard": 1e-6, "jsonl": 1e-6}
"""Seconds to which each system keeps a time."""
Points = list[tuple[int, str, float]]


@pytest.fixture(autouse=True)
def _no_agent_left(tmp_path: Path) -> Iterator[None]:
    with ended_agents(tmp_path):
        yield


def readers(url: str) -> dict[str, Callable[[RunDescription], Delivered]]:
    """How the contract tests read each system: its REST API, its own files by its own reader, its query API."""
    found = {
        "mlflow": mlflow.reader(url, "all"), "wandb": wandb.read, "clearml": clearml.read,
        "tensorboard": tensorboard.read, "jsonl": jsonl.read,
    }  # fmt: skip
    if importlib.util.find_spec("aim"):  # no packages for every Python
        from tests.contract import test_backend_aim as aim

        found["aim"] = aim.read
    return found


def ordered(points: list[tuple[int, float, float]]) -> Points:
    return sorted((int(step), repr(float(value)), float(time)) for step, value, time in points)


def logged(run: tracelet.Run, single: bool) -> dict[str, Points]:
    """What the store has, without the machine's own figures."""
    found = {}
    for name in (name for name in run.metrics() if not name.startswith(("system/", "gpu/"))):
        series = run.series(name)
        values = [tensorboard.single(value) for value in series.values] if single else series.values
        found[name] = ordered(list(zip(series.steps, values, series.times)))
    return found


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the SDKs
def test_every_backend_at_once(tmp_path: Path) -> None:
    """The series in every backend are those of the store, and the training process has imported no SDK."""
    (tmp_path / "server").mkdir()
    with mlflow_server(tmp_path / "server") as server:
        offline = {"mode": "offline"}
        kinds = readers(server.url)
        backends: dict[str, object] = {name: {} for name in kinds}
        backends.update(mlflow={"url": server.url}, wandb=offline, clearml=offline)
        done = subprocess.run(
            [sys.executable, "-c", TRAINING, json.dumps(backends)], cwd=tmp_path, env=environment(),
            capture_output=True, text=True, timeout=280, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "[]"
        run = tracelet.open_store(tmp_path / ".tracelet").run("latest")
        states = {name: delivery.state for name, delivery in run.deliveries.items()}
        assert states == dict.fromkeys(kinds, "done"), done.stderr
        described = dataclasses.replace(
            BackendConformance(lambda: None, lambda run: Delivered(), tmp_path).description(),  # type: ignore[arg-type, return-value]
            id=run.id, project="all", artifacts_folder=tmp_path / ".tracelet" / "runs" / run.id / "artifacts",
        )  # fmt: skip
        assert len(run.series("odd")) == 200
        for name, read in kinds.items():
            compare(name, read(described).series, logged(run, single=name == "tensorboard"))


def compare(backend: str, there: dict[str, list[tuple[int, float, float]]], wanted: dict[str, Points]) -> None:
    """No point is missing or there twice; steps and values are the same, times as far as the system keeps them."""
    assert {name for name in there if not name.startswith(("system/", "gpu/"))} == set(wanted), backend
    for name, points in wanted.items():
        found = ordered(there[name])
        assert [point[:2] for point in found] == [point[:2] for point in points], (backend, name)
        for one, other in zip(found, points):
            assert abs(one[2] - other[2]) <= PRECISION[backend], (backend, name, one, other)
