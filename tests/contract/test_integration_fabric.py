"""Fabric, in both distributions, and modules that the program drives itself: recorded exactly, trained as without."""

from __future__ import annotations

import importlib
import os
import subprocess
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torchmetrics
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import tracelet
from tests.environments import lightning_python
from tracelet.store.run import Run

SETTINGS = {"track_git": False, "track_env": False, "track_system": False, "delivery": "off", "quiet": True}
FABRICS = ("lightning.fabric", "lightning_fabric")
METHODS = ("setup", "setup_module", "save", "load", "log_dict")


def train(root: str) -> tuple[list[float], list[torch.Tensor]]:
    """A loop of Fabric with loggers, clipping, a checkpoint that is loaded again."""
    module, loggers = importlib.import_module(root), importlib.import_module(f"{root}.loggers")
    fabric = module.Fabric(accelerator="cpu", devices=1, loggers=loggers.TensorBoardLogger("logs"))
    fabric.seed_everything(3, verbose=False)
    fabric.launch()
    net = nn.Linear(4, 1)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.05)
    net, optimizer = fabric.setup(net, optimizer)
    inputs = torch.randn(32, 4)
    batches = fabric.setup_dataloaders(DataLoader(TensorDataset(inputs, inputs.sum(1, keepdim=True)), 8, shuffle=True))
    fabric.logger.log_hyperparams({"width": 4})
    losses = []
    for step, (given, wanted) in enumerate(batches):
        loss = nn.functional.mse_loss(net(given), wanted)
        fabric.backward(loss)
        fabric.clip_gradients(net, optimizer, max_norm=1.0)
        optimizer.step()
        optimizer.zero_grad()
        fabric.log_dict({"loss": loss}, step=step)
        losses.append(loss.item())
    fabric.save("last.ckpt", {"model": net, "optimizer": optimizer, "step": 4})
    fabric.load("last.ckpt", {"model": net, "optimizer": optimizer})
    fabric.logger.finalize("success")
    fabric.logger.experiment.close()
    return losses, [parameter.detach().clone() for parameter in net.parameters()]


def recorded(example: Any) -> tuple[Any, Run]:
    with tracelet.start_logging("fabric", config=SETTINGS) as experiment:
        result = example()
    return result, tracelet.open_store().run(experiment.id)


@pytest.mark.parametrize("root", FABRICS)
def test_exact_and_harmless(root: str) -> None:
    """The loop computes what it computes without tracelet; metrics, phases, checkpoint and setup are recorded once."""
    kind = importlib.import_module(f"{root}.fabric").Fabric
    before = {name: vars(kind)[name] for name in METHODS}
    losses, weights = train(root)
    (again, others), run = recorded(lambda: train(root))
    assert again == losses
    assert all(torch.equal(one, other) for one, other in zip(weights, others, strict=True))
    assert {name: vars(kind)[name] for name in METHODS} == before
    assert run.series("loss").values.tolist() == losses
    assert run.series("loss").steps.tolist() == [0, 1, 2, 3]
    assert set(run.metrics()) == {"loss", "lr-AdamW", "tracelet/grad_norm"}
    assert len(run.spans("training_single_iteration")) == len(run.spans("model_backward")) == 4
    assert len(run.spans("optimizer_update")) == 4
    assert {"width": 4, "setup/world_size": 1, "setup/precision": "32-true"}.items() <= run.params.items()
    (artifact,) = run.artifacts
    assert (artifact.name, artifact.kind, artifact.metadata["step"]) == ("last.ckpt", "checkpoint", 4)
    assert artifact.size == Path("last.ckpt").stat().st_size
    assert len(run.spans("checkpoint_save_sync")) == len(run.spans("checkpoint_load")) == 1


@pytest.mark.parametrize("flavour", ["lightning.pytorch", "pytorch_lightning"])
def test_a_module_without_a_trainer(flavour: str) -> None:
    """Its hyperparameters are the run's, and a torchmetrics object that was only updated has its value so far."""
    library = importlib.import_module(flavour)

    class Module(library.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self, lr: float = 0.1, api_key: str = "sk-secret") -> None:
            super().__init__()
            self.save_hyperparameters()
            self.net = nn.Linear(3, 1)
            self.error = torchmetrics.MeanSquaredError()

        def training_step(self, batch: Any) -> Any:
            output = self.net(batch)
            self.error.update(output, torch.zeros_like(output))
            self.log("error", self.error)
            return output.square().mean()

    def example() -> list[float]:
        module = Module(lr=0.3)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.3)
        found = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Lightning says that nobody takes what is logged
            for _ in range(3):
                module.training_step(torch.ones(2, 3)).backward()
                optimizer.step()
                found.append(float(module.error.compute()))
        return found

    errors, run = recorded(example)
    assert run.series("error").values.tolist() == errors
    assert {"lr": 0.3, "api_key": "***"}.items() <= run.params.items()
    assert len(run.spans("training_single_iteration")) == 3


TWO_RANKS = """
import torch
from lightning.fabric import Fabric
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp")
fabric.launch()
fabric.seed_everything(0, verbose=False)
net = nn.Linear(4, 1)
net, optimizer = fabric.setup(net, torch.optim.SGD(net.parameters(), lr=0.1))
batches = fabric.setup_dataloaders(DataLoader(TensorDataset(torch.randn(32, 4)), 4))
for step, (inputs,) in enumerate(batches):
    loss = net(inputs).square().mean()
    fabric.backward(loss)
    fabric.clip_gradients(net, optimizer, max_norm=1.0)
    optimizer.step()
    optimizer.zero_grad()
fabric.save("last.ckpt", {"model": net, "step": 4})
"""


@pytest.mark.slow
def test_two_ranks_are_one_run(tmp_path: Path) -> None:
    """Both processes that Fabric launches record into one run: phases and rates of each, and one checkpoint."""
    (tmp_path / "two.py").write_text(TWO_RANKS, encoding="utf-8")
    settings = {**os.environ, "TRACELET_DELIVERY": "off", "TRACELET_TRACK_GIT": "false", "TRACELET_QUIET": "true"}
    done = subprocess.run(
        [lightning_python(), "-m", "tracelet", "run", "two.py"], cwd=tmp_path, env=settings, capture_output=True,
        text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = tracelet.open_store(tmp_path / ".tracelet").runs()
    assert (run.info.world_size, run.info.status) == (2, "finished")
    table = run.spans()
    for rank in (0, 1):
        found = [name for name, owner in zip(table.names, table.ranks) if owner == rank]
        phases = ("training_single_iteration", "data_loading", "model_backward", "optimizer_update")
        assert [found.count(name) for name in phases] == [4] * 4
        assert found.count("training_loop") == 1
        assert run.series("lr-SGD", rank=rank).steps.tolist() == [0, 1, 2, 3]
        assert len(run.series("tracelet/grad_norm", rank=rank)) == 4
    assert [(artifact.name, artifact.metadata["step"]) for artifact in run.artifacts] == [("last.ckpt", 4)]
